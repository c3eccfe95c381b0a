"""What trials may cost: limits per trial, run and month, in money and GPU hours, and what is spent of them.

A price that is not known counts at the stated upper bound of a node's hour, or is refused. Knows no store and no clock.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

from airflow_llm_provisioning.core.cost import number_of
from airflow_llm_provisioning.core.fields import dig, mapping, objects, text
from airflow_llm_provisioning.core.instants import parse_stamp
from airflow_llm_provisioning.core.prices import PriceBook
from airflow_llm_provisioning.core.trace.format import Line

# Cluster seconds between two looks of a wait at what is spent: one of these and the deletion may be paid too much.
POLL_S: Final = 10.0
PERIODS: Final = ("trial", "run", "month")
_ACCELERATORS: Final = ("/gpu", "/tpu", "/neuron")
_TYPE: Final = "node.kubernetes.io/instance-type"
_REGION: Final = "topology.kubernetes.io/region"
_SPOT: Final = (("karpenter.sh/capacity-type", "spot"), ("cloud.google.com/gke-spot", "true"))


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of both kinds. None: no limit, or not known."""

    money: float | None = None
    gpu_hours: float | None = None

    def as_dict(self) -> dict[str, float]:
        """Return what is there."""
        both = {"money": self.money, "gpu_hours": self.gpu_hours}
        return {key: value for key, value in both.items() if value is not None}

    def within(self, limit: "Amount", currency: str) -> Iterator[str]:
        """Yield how this exceeds a limit, or why it cannot be told."""
        for key, unit in (("money", currency), ("gpu_hours", "GPU hours")):
            most, found = getattr(limit, key), getattr(self, key)
            if most is not None and found is None:
                yield f"{unit} that are not known, of {most:g} {unit}"
            elif most is not None and found > most + 1e-9:
                yield f"{found:.2f} of {most:g} {unit}"

    def __add__(self, other: "Amount") -> "Amount":
        """Return the sum; not known as soon as one part is not."""
        return Amount(_plus(self.money, other.money), _plus(self.gpu_hours, other.gpu_hours))


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of an experiment, in the currency of its prices. `node_hour_at_most`: what an hour of a node counts
    whose price is not known; None: such a node is refused.
    """

    trial: Amount = field(default_factory=Amount)
    run: Amount = field(default_factory=Amount)
    month: Amount = field(default_factory=Amount)
    node_hour_at_most: float | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the section `budget` of an experiment file."""
        periods = {period: Amount(**(data.get(period) or {})) for period in PERIODS}
        return cls(**periods, node_hour_at_most=data.get("node_hour_at_most"))


@dataclass(frozen=True, slots=True)
class Rate:
    """What a trial's nodes cost an hour, as far as its target tells. `unknown`: nodes whose price is not known."""

    money: float | None
    gpus: float
    unknown: tuple[str, ...] = ()

    def for_seconds(self, seconds: float) -> Amount:
        """Return what so many seconds of all nodes cost."""
        money = None if self.money is None else self.money * seconds / 3600
        return Amount(money, self.gpus * seconds / 3600)


def rate_of(
    book: PriceBook,
    cloud: str,
    region: str | None,
    nodes: Mapping[str, tuple[str | None, int, int]],
    at_most: float | None,
) -> Rate:
    """Return the hourly rate of a trial. `nodes`: role -> (instance type or None, how many, GPUs of each)."""
    money, gpus, unknown = 0.0, 0.0, []
    known = True
    for role, (instance_type, count, each) in nodes.items():
        price = book.node_hour(cloud, region, instance_type, spot=False)
        gpus += count * each
        if price is None:
            unknown.append(f"the {role} node ({instance_type or 'of a type that the target does not name'})")
        hour = price.amount if price else at_most
        known = known and hour is not None
        money += count * (hour or 0.0)
    return Rate(money if known else None, gpus, tuple(unknown))


class Meter:
    """What a running trial has spent, from the lines of its recording.

    A node counts from the creation of its first pod. A pod without a node counts at `waiting`, because its machine may
    run long before it is seen: on AKS for minutes. GPU hours count from the creation of the node, or of Karpenter's
    claim for it, as soon as it shows its GPUs: one machine for each pod that waits for GPUs, if it is newer than the
    pod. Before that its GPUs are not known, and then they count from the creation of the pod.

    `waiting`: role (`head`, `worker`) -> what an hour of a node counts that such a pod waits for.
    """

    def __init__(
        self,
        limit: Amount,
        book: PriceBook,
        cloud: str,
        *,
        at_most: float | None = None,
        waiting: Mapping[str, float] | None = None,
    ) -> None:
        self.limit, self._book, self._cloud, self._at_most = limit, book, cloud, at_most
        self._waiting = waiting or {}
        # Pod -> its node ("" without one), when it was created, and its role.
        self._pods: dict[str, tuple[str, datetime, str]] = {}
        self._gpu_pods: set[str] = set()
        self._nodes: dict[str, tuple[float | None, int]] = {}
        # Machines with GPUs, by node or claim: since when, and how many GPUs.
        self._came: dict[str, tuple[datetime, int]] = {}
        self._since: dict[str, datetime] = {}
        self._until: dict[str, datetime] = {}

    def feed(self, line: Line) -> None:
        """Process one line. Unreadable lines change nothing."""
        obj, kind = mapping(line.get("object")), line.get("type")
        match line.get("resource"):
            case "pods":
                self._pod(obj, kind)
            case "nodes":
                self._node(obj, kind, line)
            case "nodeclaims":
                self._claim(obj, kind)

    @property
    def currency(self) -> str:
        """The currency of its money."""
        return self._book.currency

    def spent(self, now: datetime, *, waiting: bool = True) -> Amount:
        """Return what the nodes have cost until now; money is None as soon as one of their prices is not known.
        `waiting`: with what may run already for pods that have no node yet.
        """
        money, gpu_hours = 0.0, 0.0
        known = True
        for node, since in self._since.items():
            hour, gpus = self._nodes.get(node, (self._at_most, 0))
            hours = max(0.0, (self._until.get(node, now) - since).total_seconds()) / 3600
            known = known and hour is not None
            money += hours * (hour or 0.0)
            gpu_hours += hours * gpus
        for node, since, role in self._pods.values():
            if waiting and not node:
                money += max(0.0, (now - since).total_seconds()) / 3600 * self._waiting.get(role, self._at_most or 0.0)
        return Amount(money if known else None, gpu_hours + (self._early_gpu_hours(now) if waiting else 0.0))

    def _early_gpu_hours(self, now: datetime) -> float:
        """Return the GPU hours of machines that came for pods which are not on them yet."""
        waits = sorted(since for uid, (node, since, _) in self._pods.items() if uid in self._gpu_pods and not node)
        if not waits:
            return 0.0
        taken = self._since.keys() | self._until.keys()
        came = sorted(found for name, found in self._came.items() if name not in taken and found[0] >= waits[0])
        return sum(
            max(0.0, (now - at).total_seconds()) / 3600 * gpus for _, (at, gpus) in zip(waits, came, strict=False)
        )

    def over(self, now: datetime) -> str | None:
        """Return why the trial must end, or None."""
        told = list(self.spent(now).within(self.limit, self._book.currency))
        return f"The trial's budget is used up: {'; '.join(told)}." if told else None

    def _pod(self, obj: Mapping[str, Any], kind: object) -> None:
        uid, node = text(dig(obj, "metadata", "uid")), text(dig(obj, "spec", "nodeName"))
        created = parse_stamp(dig(obj, "metadata", "creationTimestamp"))
        if created is None or not uid:
            return
        if kind == "DELETED":
            self._pods.pop(uid, None)
            return
        if any(_gpus(dig(container, "resources", "limits")) for container in objects(dig(obj, "spec"), "containers")):
            self._gpu_pods.add(uid)
        self._pods[uid] = (node, created.at, text(dig(obj, "metadata", "labels", "ray.io/node-type")) or "worker")
        if node:
            self._since[node] = min(created.at, self._since.get(node, created.at))

    def _node(self, obj: Mapping[str, Any], kind: object, line: Line) -> None:
        name, labels = text(dig(obj, "metadata", "name")), mapping(dig(obj, "metadata", "labels"))
        stamp = parse_stamp(line.get("received_at"))
        if kind == "DELETED" and stamp is not None:
            self._until[name] = stamp.at
            return
        spot = any(text(labels.get(key)) == value for key, value in _SPOT)
        price = self._book.node_hour(
            self._cloud, text(labels.get(_REGION)) or None, text(labels.get(_TYPE)) or None, spot=spot
        )
        gpus = _gpus(dig(obj, "status", "capacity"))
        self._nodes[name] = (price.amount if price else self._at_most, gpus)
        created = parse_stamp(dig(obj, "metadata", "creationTimestamp"))
        if gpus and created is not None:
            self._came.setdefault(name, (created.at, gpus))

    def _claim(self, obj: Mapping[str, Any], kind: object) -> None:
        """Note a claim until its node is known, then the node since the claim: Karpenter launches it at once."""
        claim, node = f"claim {text(dig(obj, 'metadata', 'name'))}", text(dig(obj, "status", "nodeName"))
        created, gpus = parse_stamp(dig(obj, "metadata", "creationTimestamp")), _gpus(dig(obj, "status", "capacity"))
        self._came.pop(claim, None)
        if kind != "DELETED" and created is not None and gpus:
            self._came[node or claim] = (created.at, gpus)


def _gpus(quantities: object) -> int:
    """Return how many accelerators are among the quantities of a container or a node."""
    named = mapping(quantities).items()
    return sum(int(number_of(value)) for key, value in named if text(key).endswith(_ACCELERATORS))


def left(limit: Amount, spent: Amount) -> Amount:
    """Return what is left of a limit; None where there is no limit. What is spent and not known leaves nothing."""

    def minus(most: float | None, used: float | None) -> float | None:
        if most is None:
            return None
        return 0.0 if used is None else max(0.0, most - used)

    return Amount(minus(limit.money, spent.money), minus(limit.gpu_hours, spent.gpu_hours))


def smallest(*limits: Amount) -> Amount:
    """Return the smallest of several limits, kind by kind."""

    def least(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return min(known, default=None)

    return Amount(least([one.money for one in limits]), least([one.gpu_hours for one in limits]))


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None or not math.isfinite(one + other) else one + other
