"""Which clock wrote a stamp, and every stamp of a trace that bounds the offset of its clock.

A stamp cannot be later than its receipt. A stamp that was absent when a poll began cannot be earlier than that poll.
`clocks` computes the offsets from both. This module knows no milestones.
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

# The quickest message of a clock, and the reply of a poll, take no longer than this. In recordings, operator events
# arrive 3 to 35 ms after their stamp.
_PROMPT: Final = timedelta(seconds=0.25)
# Upper limit: a simulated clock that runs faster than this makes all bounds useless.
_FASTEST: Final = 1000.0

_COMPONENTS: Final[Mapping[str, str]] = {
    "rayservice-controller": OPERATOR,
    "raycluster-controller": OPERATOR,
    "default-scheduler": SCHEDULER,
}
_STORED: Final = ("rayservices", "rayclusters", "pods", "services", "endpointslices", "nodes", "nodeclaims")


@dataclass(frozen=True, slots=True)
class Sample:
    """A stamp with its receipt. `prompt`: the stamp may have been received within moments of being written.

    `not_before`: the stamp was absent then, so it was written later.
    """

    stamp: Stamp
    received_at: datetime
    prompt: bool
    not_before: datetime | None = None

    @property
    def offset(self) -> timedelta:
        """Lower bound of its clock's offset from the recorder's clock."""
        return self.stamp.at - self.received_at

    @property
    def most(self) -> timedelta | None:
        """Upper bound of its clock's offset from the recorder's clock; None without a bound."""
        return None if self.not_before is None else self.stamp.until - self.not_before


def promptness(view: TraceView) -> timedelta:
    """Return the time within which a message or a reply counts as prompt; longer with a faster simulated clock."""
    speed = number(dig(view.header, "clock", "speed")) or 1.0
    return _PROMPT * min(max(1.0, speed), _FASTEST)


def node_clock(node_name: str) -> str:
    """Name the clock of a node; its kubelet uses it."""
    return f"node {node_name}"


def ray_clock(pod: History | None) -> str:
    """Name the clock of Ray's own processes in a pod: raylet and autoscaler."""
    return f"ray {pod.name}" if pod else "unknown"


def serve_clock(pod: History | None) -> str:
    """Name the clock of Serve's processes in a pod: controller, replica and the engine in it."""
    return f"serve {pod.name}" if pod else "unknown"


def event_clock(event: Event) -> str:
    """Name the clock that stamped an event."""
    if event.component == "kubelet" and event.host:
        return node_clock(event.host)
    return _COMPONENTS.get(event.component, event.component or "unknown")


def nodes_of_clocks(view: TraceView) -> dict[str, str]:
    """Return the node's clock for every clock in a pod.

    Containers read the kernel clock of their node, so the two clocks are probably the same. This is not proven, so no
    bound depends on it.
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
    """Yield the stamps that kubelets wrote into statuses.

    A kubelet writes statuses with a delay, so these stamps are lower bounds of its clock's offset only.
    """
    for node in view.objects("nodes"):
        for version in node.versions:
            # The node controller may have written a status other than True when the kubelet was silent.
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
    """Yield each of Serve's stamps with the first answer that contained it and the last one that did not."""
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
