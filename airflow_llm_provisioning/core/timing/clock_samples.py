"""Whose clock wrote a stamp, and every stamp of a trace that says something about its clock.

A stamp that came with a receipt cannot be later than it; a stamp that was not there yet when a poll began cannot be
earlier than that. What follows from both stands in `clocks`. Knows nothing of milestones.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, number, objects
from airflow_llm_provisioning.core.instants import Stamp, from_epoch_s, parse_stamp
from airflow_llm_provisioning.core.trace.objects import (
    Answer,
    Event,
    History,
    condition,
    condition_true,
    container_statuses,
)
from airflow_llm_provisioning.core.trace.redaction import newest_managed_stamp
from airflow_llm_provisioning.core.trace.view import TraceView, replicas_of

API: Final = "api-server"
OPERATOR: Final = "kuberay-operator"
SCHEDULER: Final = "scheduler"
KARPENTER: Final = "karpenter"

# The quickest of a clock's messages takes no longer, nor does a poll's reply. Recordings: operator events arrive 3 to
# 35 ms after their stamp.
_PROMPT: Final = timedelta(seconds=0.25)
# A simulated clock that runs faster blurs everything anyhow.
_FASTEST: Final = 1000.0

_COMPONENTS: Final[Mapping[str, str]] = {
    "rayservice-controller": OPERATOR,
    "raycluster-controller": OPERATOR,
    "default-scheduler": SCHEDULER,
}
_STORED: Final = ("rayservices", "rayclusters", "pods", "services", "endpointslices", "nodes", "nodeclaims")


@dataclass(frozen=True, slots=True)
class Sample:
    """A stamp with what the recorder knew of it. `prompt`: it may have come within moments of being written.

    `not_before`: it was not there yet then, so it was written later.
    """

    stamp: Stamp
    received_at: datetime
    prompt: bool
    not_before: datetime | None = None

    @property
    def lead(self) -> timedelta:
        """How far its clock is ahead of the recorder's, at least."""
        return self.stamp.at - self.received_at

    @property
    def most(self) -> timedelta | None:
        """How far its clock is ahead of the recorder's, at most; None where nothing bounds it."""
        return None if self.not_before is None else self.stamp.until - self.not_before


def promptness(view: TraceView) -> timedelta:
    """Return within what time a message or a reply counts as prompt; longer by a simulated clock that runs faster."""
    speed = number(dig(view.header, "clock", "speed")) or 1.0
    return _PROMPT * min(max(1.0, speed), _FASTEST)


def node_clock(node_name: str) -> str:
    """Name the clock of a node, by which its kubelet writes."""
    return f"node {node_name}"


def ray_clock(pod: History | None) -> str:
    """Name the clock by which Ray's own processes in a pod write: its raylet, its autoscaler."""
    return f"ray {pod.name}" if pod else "unknown"


def serve_clock(pod: History | None) -> str:
    """Name the clock by which Serve writes in a pod: its controller, a replica, the engine in it."""
    return f"serve {pod.name}" if pod else "unknown"


def event_clock(event: Event) -> str:
    """Name the clock that stamped an event."""
    if event.component == "kubelet" and event.host:
        return node_clock(event.host)
    return _COMPONENTS.get(event.component, event.component or "unknown")


def nodes_of_clocks(view: TraceView) -> dict[str, str]:
    """Return the node's clock for every clock in a pod: containers read their node's kernel, so the two are likely one.

    Likely is not proven: bounds do not rest on it.
    """
    return {
        clock: node_clock(view.node_name_of(pod)) for pod in view.pods for clock in (ray_clock(pod), serve_clock(pod))
    }


def samples_of(view: TraceView) -> dict[str, list[Sample]]:
    """Return the samples of every clock."""
    found: dict[str, list[Sample]] = {}
    for clock, sample in _samples(view):
        found.setdefault(clock, []).append(sample)
    return found


def _samples(view: TraceView) -> Iterator[tuple[str, Sample]]:
    for event in view.events:
        if event.first is not None:
            yield event_clock(event), Sample(event.first, event.received_at, event.prompt)
    yield from _object_samples(view)
    for sample in _claim_samples(view):
        yield KARPENTER, sample
    yield from _kubelet_samples(view)
    for sample in _polled(view.polls(), promptness(view)):
        yield serve_clock(view.head), sample


def _object_samples(view: TraceView) -> Iterator[tuple[str, Sample]]:
    for resource in _STORED:
        for item in view.objects(resource):
            first = item.versions[0]
            if item.created is not None:
                yield API, Sample(item.created, first.received_at, first.kind == "ADDED" and first.prompt)
            for version in item.versions:
                written = newest_managed_stamp(version.object)
                if written is not None and version.kind != "DELETED":
                    yield API, Sample(written, version.received_at, version.prompt)


def _claim_samples(view: TraceView) -> Iterator[Sample]:
    for version in (version for claim in view.objects("nodeclaims") for version in claim.versions):
        for entry in objects(version.object, "status", "conditions"):
            stamp = parse_stamp(entry.get("lastTransitionTime"))
            if stamp is not None:
                yield Sample(stamp, version.received_at, prompt=False)


def _kubelet_samples(view: TraceView) -> Iterator[tuple[str, Sample]]:
    """Yield what kubelets wrote into statuses: written in its own time, so it bounds their clocks from below alone."""
    for node in view.objects("nodes"):
        for version in node.versions:
            # Another status than True may be the node controller's word on a silent kubelet.
            ready = parse_stamp(condition(version.object, "Ready").get("lastTransitionTime"))
            if ready is not None and condition_true(version.object, "Ready"):
                yield node_clock(node.name), Sample(ready, version.received_at, prompt=False)
    for pod in view.pods:
        clock = node_clock(view.node_name_of(pod))
        for version in pod.versions:
            for stamp in _of_containers(version.object):
                yield clock, Sample(stamp, version.received_at, prompt=False)


def _of_containers(pod: Mapping[str, Any]) -> Iterator[Stamp]:
    told = [condition(pod, "Ready").get("lastTransitionTime") if condition_true(pod, "Ready") else None]
    for status in container_statuses(pod):
        states = [mapping(dig(status, "state", state)) for state in ("running", "terminated")]
        told += [state.get(field) for state in states for field in ("startedAt", "finishedAt")]
    yield from (stamp for value in told if (stamp := parse_stamp(value)))


def _polled(polls: Iterable[Answer], reply: timedelta) -> Iterator[Sample]:
    """Yield each of Serve's stamps with the first answer that had it and the last that had not."""
    seen: set[datetime] = set()
    without: datetime | None = None
    for answer in polls:
        without = answer.unchanged_until or without
        for value in _serve_stamps(answer.body):
            stamp = from_epoch_s(value)
            if stamp and stamp.at not in seen:
                seen.add(stamp.at)
                yield Sample(stamp, answer.received_at, False, without)
        without = answer.received_at - reply


def _serve_stamps(body: object) -> Iterator[object]:
    for application in mapping(dig(body, "applications")).values():
        yield dig(application, "last_deployed_time_s")
        for replica in replicas_of(application):
            yield replica.get("start_time_s")
