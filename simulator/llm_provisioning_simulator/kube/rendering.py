"""How a client wants its objects: whole, as a Table, or metadata only; and which of an event's two views."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from llm_provisioning_simulator.kube.calls import Call
from llm_provisioning_simulator.kube.changes import Change
from llm_provisioning_simulator.kube.events import events_view
from llm_provisioning_simulator.kube.resources import EVENTS_GROUP, Resource
from llm_provisioning_simulator.kube.tables import partial, table

if TYPE_CHECKING:
    from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
_NODE_INFO: Final = (
    *("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion"),
    *("kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture"),
)
# Zero values that Go writes although they are empty, as the recordings' bookmarks show them.
_ZEROS: Final[dict[str, Object]] = {
    "pods": {"spec": {"containers": None}, "status": {}},
    "nodes": {
        "spec": {},
        "status": {
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
            "nodeInfo": dict.fromkeys(_NODE_INFO, ""),
        },
    },
    "services": {"spec": {}, "status": {"loadBalancer": {}}},
    "endpointslices": {"addressType": "", "endpoints": None, "ports": None},
}


# What is stored is JSON data without cycles: it came from JSON, or through marshal.
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)


def encode(value: Any) -> bytes:
    """Return compact JSON."""
    return _ENCODER.encode(value).encode()


@dataclass(frozen=True, slots=True)
class Rendering:
    """The form of the answers to one request."""

    kind: Resource
    store: "ObjectStore"
    form: Literal["whole", "table", "partial"]
    include: str = "Metadata"

    @classmethod
    def asked(cls, call: Call, store: "ObjectStore") -> "Rendering":
        """Read the Accept header: the first form in it that is ours."""
        for part in call.headers.get("Accept", "").split(","):
            options = dict(item.strip().partition("=")[::2] for item in part.split(";")[1:])
            wanted = options.get("as", "")
            if "json" not in part or (wanted and options.get("g") != "meta.k8s.io"):
                continue
            if wanted == "Table":
                include = call.query.get("includeObject", "Metadata")
                return cls(call.place.resource, store, "table", include)
            form: Literal["whole", "partial"] = "partial" if wanted.startswith("PartialObject") else "whole"
            return cls(call.place.resource, store, form)
        return cls(call.place.resource, store, "whole")

    def one(self, item: Object) -> Object:
        """Return one object."""
        if self.form == "table":
            version = int(item["metadata"]["resourceVersion"])
            return table(self.kind, [item], self.store, version=version, include=self.include)
        if self.form == "partial":
            return partial(item)
        return events_view(item) if self.kind.group == EVENTS_GROUP else item

    def many(self, items: Sequence[Object], version: int) -> Object:
        """Return a list. Items of built-in kinds carry no kind and apiVersion of their own, as Go's typed lists."""
        if self.form == "table":
            return table(self.kind, items, self.store, version=version, include=self.include)
        metadata = {"resourceVersion": str(version)}
        if self.form == "partial":
            found = [partial(item) for item in items]
            return {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": found,
            }
        shown = [self.one(item) for item in items]
        if self.kind.builtin:
            shown = [{key: item[key] for key in item if key not in ("kind", "apiVersion")} for item in shown]
        return {
            "kind": f"{self.kind.kind}List",
            "apiVersion": self.kind.api_version,
            "metadata": metadata,
            "items": shown,
        }

    def line(self, type_: str, change: Change) -> bytes:
        """Return one line of a watch; the whole form is serialised once for all watchers."""
        if self.form == "whole":
            body = change.lines.get(self.kind.group)
            if body is None:
                body = change.lines[self.kind.group] = encode(self.one(change.object))
        else:
            body = encode(self.one(change.object))
        return b'{"type":"' + type_.encode() + b'","object":' + body + b"}\n"

    def bookmark(self, version: int, *, initial_end: bool = False) -> bytes:
        """Return a bookmark: an object with a version and hardly anything else."""
        metadata: Object = {"resourceVersion": str(version)}
        if initial_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        item: Object = {"kind": self.kind.kind, "apiVersion": self.kind.api_version, "metadata": metadata}
        if self.form == "table":
            item = table(self.kind, [], self.store, version=version, include=self.include)
            item["rows"] = [{"cells": [], "object": {"kind": "PartialObjectMetadata", "metadata": metadata}}]
        elif self.form == "partial":
            item = partial({"metadata": metadata})
        else:
            item |= _ZEROS.get(self.kind.plural, {})
        return encode({"type": "BOOKMARK", "object": item}) + b"\n"
