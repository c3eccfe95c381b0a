"""The objects that a trace's lines are grouped into: objects with history, events of both APIs, answers, logs, marks.

This module knows the field names of Kubernetes, and no RayServices, milestones or treatments.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.fields import dig, items, mapping, number, text
from airflow_llm_provisioning.core.instants import Stamp, parse_instant, parse_stamp

EVENT_RESOURCES = frozenset({"events", "events.events.k8s.io"})


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object as the recorder received it. `kind`: LISTED, ADDED, MODIFIED, DELETED.

    `after_gap`: its watch had been interrupted, and it was among the first versions after that.
    """

    received_at: datetime
    kind: str
    object: Mapping[str, Any]
    after_gap: bool = False

    @property
    def prompt(self) -> bool:
        """Whether it arrived by watch, moments after it was written; a listed version may be old."""
        return self.kind != "LISTED" and not self.after_gap


@dataclass(frozen=True, slots=True)
class FirstMatch:
    """The first version that shows a state.

    `seen_at`: the earliest receipt that proves the state. `before`: the versions without it, oldest first.
    """

    version: Version
    seen_at: datetime
    before: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class History:
    """One object (one uid) with its versions in the order in which they were written."""

    resource: str
    uid: str
    versions: tuple[Version, ...]

    @property
    def first(self) -> Mapping[str, Any]:
        """The oldest version."""
        return self.versions[0].object

    @property
    def last(self) -> Mapping[str, Any]:
        """The newest version."""
        return self.versions[-1].object

    @property
    def name(self) -> str:
        """The object's name."""
        return text(dig(self.last, "metadata", "name"))

    @property
    def labels(self) -> Mapping[str, Any]:
        """The newest labels."""
        return mapping(dig(self.last, "metadata", "labels"))

    @property
    def annotations(self) -> Mapping[str, Any]:
        """The newest annotations."""
        return mapping(dig(self.last, "metadata", "annotations"))

    @property
    def created(self) -> Stamp | None:
        """`creationTimestamp`: the API server's clock, whole seconds."""
        return parse_stamp(dig(self.last, "metadata", "creationTimestamp"))

    @property
    def deleted(self) -> Version | None:
        """The first version that is being deleted or is deleted, or None."""
        match = self.first_match(lambda obj: bool(dig(obj, "metadata", "deletionTimestamp")))
        if match:
            return match.version
        return next((version for version in self.versions if version.kind == "DELETED"), None)

    def owned_by(self, uid: str) -> bool:
        """Return whether an ownerReference names this uid."""
        return uid in self.owner_uids

    @property
    def owner_uids(self) -> tuple[str, ...]:
        """The uids of its owners."""
        return tuple(text(mapping(ref).get("uid")) for ref in items(dig(self.last, "metadata", "ownerReferences")))

    def first_match(self, holds: Callable[[Mapping[str, Any]], bool]) -> FirstMatch | None:
        """Return the first version for which `holds` is true, or None."""
        for position, version in enumerate(self.versions):
            if holds(version.object):
                seen_at = min(later.received_at for later in self.versions[position:])
                return FirstMatch(version, seen_at, self.versions[:position])
        return None


@dataclass(frozen=True, slots=True)
class Event:
    """One event, merged from both APIs. `first`, `last`: when it happened, in its component's clock.

    `prompt`: the first receipt came by watch and was of the first occurrence, so `received_at` follows `first` by
    moments.
    """

    uid: str
    reason: str
    message: str
    warning: bool
    involved_kind: str
    involved_name: str
    involved_uid: str
    component: str
    host: str
    container: str
    first: Stamp | None
    last: Stamp | None
    count: int
    received_at: datetime
    prompt: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of Serve's or Ray's REST interface.

    `unchanged_until`: the last earlier poll with the same answer; None if the recorder did not write it.
    """

    resource: str
    received_at: datetime
    status_code: int | None
    service: str
    body: Any
    unchanged_until: datetime | None


@dataclass(frozen=True, slots=True)
class LogText:
    """A log file. `pod`, `container` for the output of a container, `node_ip` for a file of Ray."""

    received_at: datetime
    filename: str
    node_ip: str
    pod: str
    container: str
    text: str


@dataclass(frozen=True, slots=True)
class AgentLog:
    """What a container of a preparation has told: one beside the trial, on a node of its pods or anywhere.

    `treatment`: as the pod's label names it; `on_every_node`: whether a DaemonSet made the pod; `ready_at`: since when
    it has been ready, None if it is not; `text`: only the lines that the pod's annotation asks for.
    """

    received_at: datetime
    treatment: str
    pod: str
    container: str
    node: str
    on_every_node: bool
    ready_at: datetime | None
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """An action or observation of the trial itself, in the recorder's clock."""

    name: str
    at: datetime
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CloudEvidence:
    """A cloud's statement about a treatment (`gateways.clouds.base.Evidence`, as stored in the trace)."""

    claim: str
    holds: bool | None
    detail: str
    source: str


def build_history(resource: str, uid: str, versions: Sequence[Version]) -> History:
    """Order an object's versions as written (by resourceVersion if those are numbers) and drop repeated ones."""
    kept: dict[tuple[str, bool], Version] = {}
    for version in sorted(versions, key=lambda item: item.received_at):
        key = (text(dig(version.object, "metadata", "resourceVersion")), version.kind == "DELETED")
        kept.setdefault(key if key[0] else (f"?{len(kept)}", False), version)
    ordered = list(kept.values())
    if all(key[0].isdecimal() for key in kept):
        ordered.sort(key=lambda v: (v.kind == "DELETED", int(dig(v.object, "metadata", "resourceVersion"))))
    return History(resource, uid, tuple(ordered))


def build_event(versions: Sequence[Version]) -> Event:
    """Merge all versions of one event, from both APIs and all its repeats."""
    by_receipt = sorted(versions, key=lambda version: version.received_at)
    first, newest = by_receipt[0], max(by_receipt, key=lambda version: _count(version.object))
    obj = newest.object
    involved = mapping(obj.get("involvedObject") or obj.get("regarding"))
    source = mapping(obj.get("source") or obj.get("deprecatedSource"))
    field_path = text(involved.get("fieldPath"))
    started, ended = event_stamps(obj)
    return Event(
        uid=text(dig(obj, "metadata", "uid")),
        reason=text(obj.get("reason")),
        message=text(obj.get("message") or obj.get("note")),
        warning=obj.get("type") == "Warning",
        involved_kind=text(involved.get("kind")),
        involved_name=text(involved.get("name")),
        involved_uid=text(involved.get("uid")),
        component=text(source.get("component") or obj.get("reportingComponent") or obj.get("reportingController")),
        host=text(source.get("host")),
        container=field_path[field_path.find("{") + 1 : -1] if field_path.endswith("}") else "",
        first=started,
        last=ended,
        count=_count(obj),
        received_at=first.received_at,
        prompt=first.prompt and _count(first.object) == 1,
    )


def condition(obj: Any, kind: str) -> Mapping[str, Any]:
    """Return an object's status condition of this type, or an empty mapping."""
    for entry in items(dig(obj, "status", "conditions")):
        if mapping(entry).get("type") == kind:
            return mapping(entry)
    return {}


def condition_true(obj: Any, kind: str) -> bool:
    """Return whether a condition exists and is true: a condition counts only with `status: "True"`."""
    return condition(obj, kind).get("status") == "True"


def container_statuses(pod: Any) -> Iterable[Mapping[str, Any]]:
    """Yield a pod's container statuses, init containers first."""
    for key in ("initContainerStatuses", "containerStatuses"):
        yield from map(mapping, items(dig(pod, "status", key)))


def containers(pod: Any) -> Iterable[Mapping[str, Any]]:
    """Yield the containers of a pod's specification, init containers first."""
    for key in ("initContainers", "containers"):
        yield from map(mapping, items(dig(pod, "spec", key)))


def _count(obj: Any) -> int:
    value = mapping(obj)
    counted = value.get("count") or value.get("deprecatedCount") or dig(value, "series", "count")
    return max(int(min(number(counted) or 1, 1e9)), 1)


def event_stamps(obj: Mapping[str, Any]) -> tuple[Stamp | None, Stamp | None]:
    """Return when the event first happened (eventTime, else firstTimestamp, else the creation) and when it last
    happened.
    """
    first = (
        parse_stamp(obj.get("eventTime"))
        or parse_stamp(obj.get("firstTimestamp"))
        or parse_stamp(obj.get("deprecatedFirstTimestamp"))
        or parse_stamp(dig(obj, "metadata", "creationTimestamp"))
    )
    last = (
        parse_stamp(dig(obj, "series", "lastObservedTime"))
        or parse_stamp(obj.get("lastTimestamp"))
        or parse_stamp(obj.get("deprecatedLastTimestamp"))
    )
    return first, last or first


def build_answer(line: Mapping[str, Any], received_at: datetime) -> Answer:
    """Parse the line of a polled answer."""
    code = line.get("status_code")
    return Answer(
        text(line.get("resource")),
        received_at,
        code if isinstance(code, int) else None,
        text(line.get("service")),
        line.get("object"),
        parse_instant(line.get("unchanged_until")),
    )
