"""Events: one stored object, two views, and the two ways in which components write and repeat them.

Shapes and repeats are those of the recordings of Kubernetes 1.34 and KubeRay 1.7: controllers and the scheduler (the
events.k8s.io recorder, client-go tools/events) set `eventTime` in microseconds and count repeats in `series`; kubelets
and the node controller (the legacy recorder, client-go tools/record) set first and last timestamp in whole seconds and
`count`.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from llm_provisioning_simulator.kube.changes import copy_tree
from llm_provisioning_simulator.kube.stamps import micro_stamp, stamp

if TYPE_CHECKING:
    from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]

LIFETIME: Final = timedelta(hours=1)
"""How long the API server keeps an event that is not repeated (kube-apiserver --event-ttl)."""
SERIES_REFRESH: Final = timedelta(minutes=6)
"""A series that goes on is written again only this often (client-go tools/events, refreshTime)."""


@dataclass(frozen=True, slots=True)
class Source:
    """Who writes: `host` is a kubelet's node. `undated`: a kubelet's style without time stamps."""

    component: str
    style: Literal["kubelet", "controller", "undated"]
    host: str | None = None


@dataclass(slots=True)
class _Written:
    namespace: str
    name: str
    count: int
    written_at: datetime


class EventRecorder:
    """Writes one cluster's events, and forgets them after their lifetime."""

    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._known: dict[tuple[str | None, ...], _Written] = {}
        self._order: deque[tuple[datetime, tuple[str | None, ...]]] = deque()
        self._last_ns = 0

    def record(
        self,
        involved: Mapping[str, Any],
        source: Source,
        reason: str,
        message: str,
        type_: str,
        field_path: str | None,
        action: str,
    ) -> Object:
        """Store an event about `involved` (an object as its writer saw it last), or repeat the one that says the same.

        A controller's repeat is the same reason about the same version of the object, with any message; a kubelet's
        is the same message about the same object, in any version.
        """
        now = self._store.clock.now()
        self._expire(now)
        reference = _reference(involved, field_path)
        key = (source.component, source.host, type_, reason, *_identity(reference, source, message, action))
        known = self._known.get(key)
        repeated = self._repeat(known, source, now) if known else None
        if repeated is not None:
            return repeated
        metadata = {
            "name": f"{reference['name']}.{self._suffix(now)}",
            "namespace": reference.get("namespace") or "default",
        }
        event = {
            "metadata": metadata,
            "involvedObject": reference,
            "reason": reason,
            "message": message,
            **_times(source, now),
            "type": type_,
            **({"action": action} if action else {}),
            "reportingComponent": source.component,
            "reportingInstance": source.host
            or (f"{source.component}-simulated" if source.style == "controller" else ""),
        }
        created = self._store.create("events", event, manager=source.component)
        self._known[key] = _Written(metadata["namespace"], metadata["name"], 1, now)
        self._order.append((now + LIFETIME, key))
        return created

    def _repeat(self, known: _Written, source: Source, now: datetime) -> Object | None:
        """Count a repeat; None when the event is gone and must be written anew."""
        stored = self._store.get("events", known.name, known.namespace)
        if stored is None:
            return None
        known.count += 1
        legacy = source.style != "controller"
        if not legacy and known.count > 2 and now - known.written_at < SERIES_REFRESH:
            return stored
        known.written_at = now

        def change(event: Object) -> None:
            if legacy:
                event["count"] = known.count
                event["lastTimestamp"] = None if source.style == "undated" else stamp(now)
            else:
                event["series"] = {"count": known.count, "lastObservedTime": micro_stamp(now)}

        return self._store.mutate("events", known.name, known.namespace, change, manager=source.component)

    def _expire(self, now: datetime) -> None:
        while self._order and self._order[0][0] <= now:
            _, key = self._order.popleft()
            known = self._known.get(key)
            if known is None:
                continue
            if known.written_at + LIFETIME > now:
                self._order.append((known.written_at + LIFETIME, key))
                continue
            del self._known[key]
            self._store.delete("events", known.name, known.namespace)

    def _suffix(self, now: datetime) -> str:
        """Return the hexadecimal nanoseconds that end an event's name, never the same twice."""
        self._last_ns = max(self._last_ns + 1, int(now.timestamp() * 1e9))
        return f"{self._last_ns:x}"


def events_view(event: Object) -> Object:
    """Return a stored (core) event as events.k8s.io/v1 shows it."""
    renamed = {new: event[old] for old, new in _VIEW.items() if event.get(old, "") != ""}
    kept = {key: event[key] for key in _SAME if key in event}
    return {"kind": "Event", "apiVersion": "events.k8s.io/v1", **kept, **renamed}


def core_event(event: Object) -> Object:
    """Return an events.k8s.io/v1 event as it is stored."""
    renamed = {old: event[new] for old, new in _VIEW.items() if new in event}
    kept = {key: event[key] for key in _SAME if key in event}
    empty: Object = {"source": {}, "firstTimestamp": None, "lastTimestamp": None, "eventTime": None}
    empty |= {"reportingComponent": "", "reportingInstance": ""}
    return {"kind": "Event", "apiVersion": "v1", **empty, **kept, **renamed}


_SAME: Final[tuple[str, ...]] = ("metadata", "eventTime", "series", "action", "reason", "type")
_VIEW: Final = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "reportingInstance": "reportingInstance",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "related": "related",
}
"""Field of the core event -> its name in events.k8s.io."""


def _reference(involved: Mapping[str, Any], field_path: str | None) -> Object:
    """Return the reference an event carries. A ready reference (`name` beside `kind`) is taken as it is: kubelets name
    their own Node by `uid: <name>` and without a version.
    """
    metadata = involved.get("metadata")
    if metadata is None:
        found = copy_tree(dict(involved))
    else:
        fields = ("namespace", "name", "uid")
        found = {"kind": involved["kind"]} | {key: metadata[key] for key in fields if metadata.get(key)}
        found |= {"apiVersion": involved["apiVersion"], "resourceVersion": metadata.get("resourceVersion", "")}
    if field_path:
        found["fieldPath"] = field_path
    return {key: value for key, value in found.items() if value}


def _identity(reference: Object, source: Source, message: str, action: str) -> tuple[str | None, ...]:
    place = (reference["kind"], reference.get("namespace"), reference["name"], reference.get("uid"))
    if source.style != "controller":
        return (*place, reference.get("fieldPath"), message)
    return (*place, action, reference.get("resourceVersion"))


def _times(source: Source, now: datetime) -> Object:
    if source.style == "controller":
        return {"source": {}, "firstTimestamp": None, "lastTimestamp": None, "eventTime": micro_stamp(now)}
    seconds = None if source.style == "undated" else stamp(now)
    writer = {"component": source.component} | ({"host": source.host} if source.host else {})
    return {"source": writer, "firstTimestamp": seconds, "lastTimestamp": seconds, "count": 1, "eventTime": None}
