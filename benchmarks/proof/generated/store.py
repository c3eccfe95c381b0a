"""The store of the generated API server: which version was written by which component, at which true instant."""

import copy
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from proof.generated.names import NAMESPACE, Json
from proof.generated.source_clocks import SourceClocks

# Current Kubernetes versions write an event into one store that both APIs read.
EVENT_RESOURCES = ("events", "events.events.k8s.io")


@dataclass(slots=True)
class Write:
    """One stored version. `resourceVersion` is set when all versions are known, because it grows in true order."""

    at: datetime
    resource: str
    kind: str
    object: Json


class Store:
    """Stores versions in any order and returns them in true order."""

    def __init__(self, rng: random.Random, clocks: SourceClocks) -> None:
        self.rng, self.clocks = rng, clocks
        self._writes: list[Write] = []

    def put(self, at: datetime, resource: str, obj: Json, *, kind: str = "MODIFIED") -> None:
        """Store one version."""
        self._writes.append(Write(at, resource, kind, copy.deepcopy(obj)))

    def writes(self) -> list[Write]:
        """Return every version in true order, numbered; an event has one number in both APIs."""
        ordered = sorted(self._writes, key=lambda write: write.at)
        numbers: dict[tuple[datetime, str], int] = {}
        for write in ordered:
            metadata = write.object["metadata"]
            number = numbers.setdefault((write.at, metadata["uid"]), 100 + len(numbers))
            metadata["resourceVersion"] = str(number)
        return ordered

    def event(
        self,
        at: datetime,
        reason: str,
        about: Json,
        by: tuple[str, str],
        message: str,
        *,
        fine: bool,
        host: str = "",
        warning: bool = False,
        repeats: tuple[datetime, ...] = (),
    ) -> None:
        """Store an event in both APIs.

        `by`: (component, source of its clock). `fine`: microseconds of events.k8s.io, otherwise whole seconds of the
        older API. `repeats`: further occurrences.
        """
        uid = f"{about.get('uid') or about['name']}-{reason}-{about.get('fieldPath', '')}-{message}"
        for count, happened in enumerate((at, *repeats), start=1):
            stored = happened + timedelta(seconds=self.rng.uniform(0.001, 0.01))
            for resource in EVENT_RESOURCES:
                obj = self._event(resource == "events", at, happened, count, by, fine=fine, host=host)
                core = resource == "events"
                obj["metadata"] = {"uid": uid, "name": uid, "namespace": NAMESPACE}
                obj["metadata"]["creationTimestamp"] = self.clocks.second(stored, "api")
                obj |= {"reason": reason, "type": "Warning" if warning else "Normal"}
                obj["involvedObject" if core else "regarding"] = about
                obj["message" if core else "note"] = message
                self.put(stored, resource, obj, kind="ADDED" if count == 1 else "MODIFIED")

    def _event(
        self, core: bool, first: datetime, last: datetime, count: int, by: tuple[str, str], *, fine: bool, host: str
    ) -> Json:
        component, clock = by
        names = ("firstTimestamp", "lastTimestamp", "count", "source")
        old = names if core else tuple(f"deprecated{name[0].upper()}{name[1:]}" for name in names)
        reporting = "reportingComponent" if core else "reportingController"
        if fine:
            obj: Json = {"eventTime": self.clocks.micro(first, clock), old[0]: None, old[1]: None, old[3]: {}}
            if count > 1:
                obj["series"] = {"count": count, "lastObservedTime": self.clocks.micro(last, clock)}
            return {**obj, reporting: component}
        stamps = {old[0]: self.clocks.second(first, clock), old[1]: self.clocks.second(last, clock)}
        source = {"component": component, **({"host": host} if host else {})}
        return {"eventTime": None, **stamps, old[2]: count, old[3]: source, reporting: component}


class VersionedObject:
    """One object: each `write` stores its next version."""

    def __init__(self, store: Store, resource: str, name: str, uid: str, **metadata: Any) -> None:
        self.store, self.resource = store, resource
        self.object: Json = {"metadata": {"name": name, "uid": uid, "namespace": NAMESPACE, **metadata}}
        self._stamps: dict[str, str] = {}

    @property
    def about(self) -> Json:
        """The object reference in an event about it."""
        kinds = {"rayservices": "RayService", "rayclusters": "RayCluster", "pods": "Pod", "nodes": "Node"}
        metadata = self.object["metadata"]
        return {"kind": kinds[self.resource], "name": metadata["name"], "uid": metadata["uid"]}

    def write(self, at: datetime, manager: str, *, spec: Json | None = None, status: Json | None = None) -> None:
        """Store the next version; `spec` and `status` are merged on their first level."""
        metadata, second = self.object["metadata"], self.store.clocks.second(at, "api")
        created = "creationTimestamp" not in metadata
        metadata.setdefault("creationTimestamp", second)
        if spec is not None or created:
            metadata["generation"] = metadata.get("generation", 0) + 1
            self.object["spec"] = {**self.object.get("spec", {}), **(spec or {})}
        if status is not None:
            self.object["status"] = {**self.object.get("status", {}), **status}
        self._stamps[manager] = second
        metadata["managedFields"] = [
            {"manager": name, "operation": "Update", "time": stamp} for name, stamp in self._stamps.items()
        ]
        self.store.put(at, self.resource, self.object, kind="ADDED" if created else "MODIFIED")
