"""What a finished recording says about capacity: what was refused, where, for how long, and whether it was the end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.capacity.refusals import Refusal, Refusals
from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.trace.format import Line
from airflow_llm_provisioning.core.trace.view import TraceView

# A trial that waited so long for refused capacity measures the cloud's stock. A refusal that is answered sooner, as by
# another instance type, changes its total by less than nodes of one type differ.
WAITED_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """`ended`: whether the trial ended because of it. `waited_s`: from the first refusal until every pod that had no
    node then had one, or until the end. `wanted`, `placed`: the trial's pods, and those with a node at the end.
    """

    ended: bool
    waited_s: float
    wanted: int
    placed: int
    refusals: tuple[Refusal, ...]

    @property
    def last(self) -> Refusal:
        """The refusal that stood last."""
        return max(self.refusals, key=lambda one: one.last_at)

    @property
    def zones(self) -> tuple[str, ...]:
        """The zones that refused, as far as they are told."""
        return tuple(dict.fromkeys(zone for one in self.refusals for zone in one.zones))

    @property
    def told(self) -> str:
        """It in a sentence."""
        last, times = self.last, sum(one.count for one in self.refusals)
        where = f" in {', '.join(self.zones)}" if self.zones else ""
        partly = f"; {self.placed} of {self.wanted} pods had a node" if 0 < self.placed < self.wanted else ""
        counted = f"{times} refusals" if times > 1 else "1 refusal"
        said = f"{last.about_kind} {last.about}, {last.reason}: {last.sentence.rstrip('.')}"
        return f"{last.kind}{where}, {counted}, {self.waited_s:.0f} s waited{partly}. {said}."

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON: {ended, kind, zones, waited_s, wanted, placed, sentence, refusals: [..]}."""
        return {
            "ended": self.ended,
            "kind": self.last.kind,
            "zones": list(self.zones),
            "waited_s": round(self.waited_s, 3),
            "wanted": self.wanted,
            "placed": self.placed,
            "sentence": self.told,
            "refusals": [one.as_dict() for one in self.refusals],
        }


def capacity_of(view: TraceView, lines: Iterable[Line], *, until: datetime | None, ended: bool) -> Capacity | None:
    """Return what a recording says about capacity; None without a refusal that concerns the trial.

    `until`: when the endpoint was ready, or when the recording or the deployment ended; later refusals concern no
    trial. `ended`: whether nothing else kept the deployment from proceeding at the end.
    """
    if until is None:
        return None
    reader = Refusals(text(dig(view.trial, "arm", "stratum", "region")) or None)
    dated = ((parse_instant(mapping(line).get("received_at")), line) for line in lines)
    for at, line in sorted(((at, line) for at, line in dated if at and at <= until), key=lambda pair: pair[0]):
        _feed(reader, line, at)
    waits = _waits(view, until)
    clusters = {cluster.name for cluster in view.rayclusters}
    found = tuple(
        one
        for one in reader.concerning([wait.name for wait in waits])
        if (one.about in clusters if one.about_kind == "RayCluster" else _had_to_wait(one, waits))
    )
    if not found:
        return None
    placed = sum(wait.placed for wait in waits)
    return Capacity(ended, _waited_s(found, waits, until), len(waits), placed, found)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A pod of the trial: from when to when it had no node. `placed`: whether it had one at the end."""

    name: str
    since: datetime
    until: datetime
    placed: bool


def _feed(reader: Refusals, line: Line, at: datetime) -> None:
    obj = mapping(line.get("object"))
    match line.get("resource"):
        case "pods":
            reader.feed_pod(obj)
        case "nodeclaims":
            reader.feed_claim(obj, at, deleted=line.get("type") == "DELETED")
        case "events" | "events.events.k8s.io" if line.get("type") != "DELETED":
            reader.feed_event(obj, at)


def _waits(view: TraceView, until: datetime) -> list[_Waiting]:
    found = []
    for pod in view.pods:
        since = pod.created.at if pod.created else pod.versions[0].received_at
        match = pod.first_match(lambda obj: bool(dig(obj, "spec", "nodeName")))
        placed = match is not None and match.seen_at <= until
        if since <= until and (placed or pod.deleted is None or pod.deleted.received_at >= until):
            found.append(_Waiting(pod.name, since, match.seen_at if match and placed else until, placed))
    return found


def _had_to_wait(one: Refusal, waits: Sequence[_Waiting]) -> bool:
    """Return whether a pod of the trial had no node when this was refused, within the second of the cluster's stamps;
    a node that was taken back concerns the pod that follows.
    """
    return any((one.first_at - wait.until).total_seconds() < 1 for wait in waits)


def _waited_s(found: Sequence[Refusal], waits: Sequence[_Waiting], until: datetime) -> float:
    since = min(one.first_at for one in found)
    ends = [wait.until for wait in waits if wait.until > since]
    # Pods that a quota keeps from being created appear later, or not at all.
    if any(one.about_kind == "RayCluster" for one in found):
        later = [wait.since for wait in waits if wait.since > since]
        ends.append(max(later) if later else until)
    return max(0.0, (max(ends) - since).total_seconds()) if ends else 0.0
