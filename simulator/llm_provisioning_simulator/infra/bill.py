"""What the simulated cloud charges: every machine from the moment it runs until it is ended, by the second.

Kept from the machines' lives alone, at the rates of the simulated cloud. It knows no Kubernetes object, no pod and no
trial, so that an estimate made from those can be held against it.
"""

from dataclasses import dataclass
from datetime import datetime

from llm_provisioning_simulator.infra.machines import Machine


@dataclass(slots=True)
class Charge:
    """One machine. `ended_at`: None while it runs. Instants in the simulator's clock."""

    machine: str
    instance_type: str
    zone: str
    usd_hour: float
    began_at: datetime
    ended_at: datetime | None = None

    def seconds(self, now: datetime) -> float:
        """Return for how long it is charged until now."""
        return ((self.ended_at or now) - self.began_at).total_seconds()

    def usd(self, now: datetime) -> float:
        """Return what it costs until now."""
        return self.seconds(now) / 3600 * self.usd_hour


class Bill:
    """The charges of one cluster's machines, in the order in which they began."""

    def __init__(self) -> None:
        self.charges: list[Charge] = []

    def begin(self, machine: Machine, now: datetime) -> None:
        """Charge a machine from now on: it runs."""
        spec, size = machine.spec, machine.size
        self.charges.append(Charge(machine.name, size.name, spec.zone, size.usd_hour, now))

    def end(self, machine: Machine, now: datetime) -> None:
        """Charge a machine no longer; one that never ran was not charged."""
        for charge in self.charges:
            if charge.machine == machine.name and charge.ended_at is None:
                charge.ended_at = now

    def usd(self, now: datetime) -> float:
        """Return what all of them cost until now."""
        return sum(charge.usd(now) for charge in self.charges)

    def usd_until(self, at: datetime) -> float:
        """Return what had been charged at an instant."""
        ends = ((charge, min(charge.ended_at or at, at)) for charge in self.charges if charge.began_at <= at)
        return sum((end - charge.began_at).total_seconds() / 3600 * charge.usd_hour for charge, end in ends)
