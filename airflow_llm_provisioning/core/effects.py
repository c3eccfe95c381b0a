"""What a treatment does to the phases of a start: which phase, and by which bytes, rates or range.

A mechanism, not a result: it is what `what-if` uses where the user has measured nothing. Every range names its outside
source or says that it is assumed. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from airflow_llm_provisioning.core.timing.milestones import PHASES

How = Literal["becomes", "adds", "times", "beside"]


@dataclass(frozen=True, slots=True)
class Between:
    """A number that is known by its bounds. `source`: where they were read, or `assumed: ` and why.

    Ranges of one source are one unknown: they are drawn together.
    """

    low: float
    high: float
    source: str

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"{self.low} is not below {self.high}: {self.source}")
        if not self.source:
            raise ValueError(f"{self.low} to {self.high}: say where it was read, or why it is assumed.")

    def at(self, place: float) -> float:
        """Return the number at a place from 0 (low) to 1 (high): evenly in its logarithm, because rates and times are
        known by a factor; evenly in itself where it may be zero or less.
        """
        if self.low <= 0:
            return self.low + place * (self.high - self.low)
        return float(self.low * (self.high / self.low) ** place)


@dataclass(frozen=True, slots=True)
class PhaseChange:
    """One phase with a treatment. `phase`: a name of `core.timing.milestones.PHASES`; without `head_` or `worker_` it
    means both. `amount`: seconds; for `times` a factor; for `beside` whether what is under way when it is needed is
    lost, from 0 (it goes on) to 1 (it begins again). `at_most_before`: it is never longer than without the treatment.
    """

    phase: str
    how: How
    amount: Between
    at_most_before: bool = False

    def of(self, seconds: float, place: float) -> float:
        """Return the phase's seconds with the treatment. `seconds`: without it; `place`: in the range, 0 to 1."""
        if self.how == "beside":
            # It takes what it takes; when it begins is another matter (`core.what_if.starts`).
            return seconds
        amount = self.amount.at(place)
        changed = {"becomes": amount, "adds": seconds + amount, "times": seconds * amount}[self.how]
        return max(0.0, min(changed, seconds) if self.at_most_before else changed)

    def touches(self, phase: str) -> bool:
        """Return whether it changes this phase, which may be a role's own."""
        return phase in self.named()

    def named(self) -> tuple[str, ...]:
        """Return the phases that it changes, by their full names."""
        return roles_of(self.phase)


@dataclass(frozen=True, slots=True)
class Effect:
    """All that a treatment does to phases. `assumptions`: what it rests on beside its ranges, in sentences."""

    changes: tuple[PhaseChange, ...] = ()
    assumptions: tuple[str, ...] = ()

    def on(self, phase: str) -> Iterator[PhaseChange]:
        """Yield the changes of one phase, in their order."""
        return (change for change in self.changes if change.touches(phase))


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectFacts:
    """What a treatment may read to say what it does. All of it comes from stored trials; None: not known.

    `treatments`: the variant that is asked about; `measured`: the variant whose phases are at hand. `seconds`: phase ->
    mean seconds of the latter, of head and worker, whether it decided or not. `image_bytes`: compressed.
    """

    cloud: str
    setup: str
    autoscaler: str | None = None
    treatments: frozenset[str] = frozenset()
    measured: frozenset[str] = frozenset()
    seconds: Mapping[str, float] = field(default_factory=dict)
    image_bytes: int | None = None
    weight_bytes: int | None = None
    head_instance_type: str | None = None
    worker_instance_type: str | None = None


def becomes(phase: str, seconds: Between, *, at_most_before: bool = False) -> PhaseChange:
    """Return that a phase takes these seconds, and not what it took before; `at_most_before`: and never longer."""
    return PhaseChange(phase, "becomes", seconds, at_most_before)


def beside(phase: str, lost: Between) -> PhaseChange:
    """Return that a phase begins with the submission, and not when its pod is there: it runs beside what comes before
    the pod. `lost`: see `PhaseChange.amount`.
    """
    return PhaseChange(phase, "beside", lost)


def adds(phase: str, seconds: Between) -> PhaseChange:
    """Return that a phase takes these seconds more, or less where they are negative."""
    return PhaseChange(phase, "adds", seconds)


def times(phase: str, factor: Between) -> PhaseChange:
    """Return that a phase takes this many times as long."""
    return PhaseChange(phase, "times", factor)


def gone(phase: str, why: str) -> PhaseChange:
    """Return that a phase does not occur any more."""
    return PhaseChange(phase, "becomes", Between(0.0, 0.0, why))


def seconds_for(size_bytes: float | Between, rate: Between) -> Between:
    """Return how long these bytes take at a rate in bytes per second; the source is the rate's."""
    size = size_bytes if isinstance(size_bytes, Between) else Between(size_bytes, size_bytes, rate.source)
    told = rate.source if size.source == rate.source else f"{size.source}; {rate.source}"
    return Between(size.low / rate.high, size.high / rate.low, told)


def roles_of(phase: str) -> tuple[str, ...]:
    """Return the full names that a phase's name means: its own, or the head's and the worker's."""
    return (phase,) if phase in PHASES else (f"head_{phase}", f"worker_{phase}")
