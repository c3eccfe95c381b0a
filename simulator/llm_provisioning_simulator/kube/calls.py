"""One request, understood: which resource, which object, which part of it, by whom.

Paths are taken apart by their slashes, in the order the Kubernetes API lays them out; nothing is matched by pattern.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from llm_provisioning_simulator.kube import protobuf
from llm_provisioning_simulator.kube.resources import EVENTS_GROUP, Resource, ResourceTable
from llm_provisioning_simulator.kube.statuses import StatusError, bad_request

_NAMESPACE_PARTS: Final = ("status", "finalize")
_JSON: Final = "application/json"
_YAML: Final = "application/yaml"
_TYPE_META: Final = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)
_TRUE: Final = frozenset({"true", "True", "TRUE", "1", "t", "T"})


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names. `rest`: what follows /proxy, still encoded; None where the path ends before."""

    resource: Resource
    namespace: str | None
    name: str
    subresource: str = ""
    rest: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a resource."""

    method: str
    place: Place
    query: Mapping[str, str]
    query_string: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def verb(self) -> str:
        """The verb as RBAC names it."""
        if self.method in ("GET", "HEAD"):
            if self.flag("watch"):
                return "watch"
            return "get" if self.place.name else "list"
        if self.method == "DELETE":
            return "delete" if self.place.name else "deletecollection"
        return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(self.method, "")

    @property
    def manager(self) -> str:
        """The field manager: as asked, else the first word of the user agent, as the real server does."""
        asked = self.query.get("fieldManager")
        return asked or self.headers.get("User-Agent", "").partition("/")[0] or "unknown"

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored."""
        return self.query.get("dryRun") == "All"

    @property
    def is_events_view(self) -> bool:
        """Whether objects are events in the form of events.k8s.io."""
        return self.place.resource.group == EVENTS_GROUP

    def flag(self, name: str) -> bool:
        """Return a boolean parameter; clients write it in many ways (kubernetes_asyncio: `True`)."""
        return self.query.get(name, "") in _TRUE

    def number(self, name: str) -> int | None:
        """Return an integer parameter, None when absent; 400 when it is no number."""
        text = self.query.get(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error

    def document(self) -> Any:
        """Return the body, JSON or YAML."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        if kind.startswith(protobuf.MEDIA_TYPE):
            return protobuf.decode(self.body)
        patch = self.method == "PATCH"
        if not patch and kind and kind not in (_JSON, _YAML):
            message = "the body of the request was in an unknown format - accepted media types include: "
            raise StatusError(415, "UnsupportedMediaType", f"{message}{_JSON}, {_YAML}, {protobuf.MEDIA_TYPE}")
        if "yaml" in kind:
            return _yaml(self.body)
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise self._unreadable(
                f"invalid character {_first_bad(self.body)} looking for beginning of value"
            ) from error

    def mapping(self) -> dict[str, Any]:
        """Return the body, which must be an object."""
        document = self.document()
        if not isinstance(document, dict):
            found = {list: "array", str: "string", bool: "bool"}.get(type(document), "number")
            raise self._unreadable(f"json: cannot unmarshal {found} into Go value of type {_TYPE_META}")
        return document

    def _unreadable(self, why: str) -> StatusError:
        """400 of a body that is no object (apiserver, endpoints/handlers/rest.go, transformDecodeError)."""
        kind = self.place.resource.kind
        return bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; "
            f"json parse error: {why} ({_summary(self.body)})"
        )


def _first_bad(body: bytes) -> str:
    text = body.decode(errors="replace").lstrip()
    return f"'{text[0]}'" if text else "' '"


def _summary(body: bytes) -> str:
    """Return at most 30 bytes of a body: as they are for what begins as an object, else in hexadecimal."""
    if not body:
        return "<empty>"
    shown = body[:30].decode(errors="replace") if body.startswith(b"{") else body[:30].hex()
    return f"{shown} ..." if len(body) > 30 else shown


def locate(table: ResourceTable, raw_path: str) -> Place | None:
    """Return what a resource's path names; None when it names none."""
    parts = raw_path.strip("/").split("/")
    if parts[0] == "api":
        group, version, rest = "", parts[1] if len(parts) > 1 else "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = None
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in _NAMESPACE_PARTS:
        namespace, rest = unquote(rest[1]), rest[2:]
    resource = table.at(group, version, rest[0]) if rest else None
    if resource is None or (namespace is not None and not resource.namespaced):
        return None
    name = unquote(rest[1]) if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    tail = raw_path.split("/proxy", 1)[1] if subresource == "proxy" else None
    if len(rest) > 3 and tail is None:
        return None
    return Place(resource, namespace, name, subresource, tail)


def _yaml(body: bytes) -> Any:
    import yaml  # server-side apply of kubectl is the only client that sends it

    try:
        return yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding YAML: {error}") from error
