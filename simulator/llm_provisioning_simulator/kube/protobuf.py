"""Bodies in Kubernetes' protobuf, as kubectl's typed commands send them: `create configmap`, `create namespace`, `auth
can-i`, ...

Only what those commands write; the numbers are those of generated.proto in k8s.io/api and k8s.io/apimachinery v0.34.
Answers stay JSON, which every client that sends protobuf also reads.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llm_provisioning_simulator.kube.statuses import StatusError

Object = dict[str, Any]

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"

Field = tuple[str, Any]
"""name, and how it is read: "text", "bytes", "flag", "number", "map", "bytes map", a message's fields, or [how] for a
repeated field.
"""
Message = Mapping[int, Field]

_OWNER: Final[Message] = {
    1: ("kind", "text"),
    3: ("name", "text"),
    4: ("uid", "text"),
    5: ("apiVersion", "text"),
    6: ("controller", "flag"),
    7: ("blockOwnerDeletion", "flag"),
}
_METADATA: Final[Message] = {
    1: ("name", "text"),
    2: ("generateName", "text"),
    3: ("namespace", "text"),
    5: ("uid", "text"),
    6: ("resourceVersion", "text"),
    11: ("labels", "map"),
    12: ("annotations", "map"),
    13: ("ownerReferences", [_OWNER]),
    14: ("finalizers", ["text"]),
}
_ATTRIBUTES: Final[Message] = {
    1: ("namespace", "text"),
    2: ("verb", "text"),
    3: ("group", "text"),
    4: ("version", "text"),
    5: ("resource", "text"),
    6: ("subresource", "text"),
    7: ("name", "text"),
}
_MESSAGES: Final[Mapping[str, Message]] = {
    "ConfigMap": {
        1: ("metadata", _METADATA),
        2: ("data", "map"),
        3: ("binaryData", "bytes map"),
        4: ("immutable", "flag"),
    },
    "Secret": {
        1: ("metadata", _METADATA),
        2: ("data", "bytes map"),
        3: ("type", "text"),
        4: ("stringData", "map"),
        5: ("immutable", "flag"),
    },
    "Namespace": {1: ("metadata", _METADATA)},
    "ServiceAccount": {1: ("metadata", _METADATA)},
    "SelfSubjectAccessReview": {
        1: ("metadata", _METADATA),
        2: (
            "spec",
            {
                1: ("resourceAttributes", _ATTRIBUTES),
                2: ("nonResourceAttributes", {1: ("path", "text"), 2: ("verb", "text")}),
            },
        ),
    },
    "SelfSubjectRulesReview": {1: ("metadata", _METADATA), 2: ("spec", {1: ("namespace", "text")})},
    "SelfSubjectReview": {1: ("metadata", _METADATA)},
    "DeleteOptions": {
        1: ("gracePeriodSeconds", "number"),
        2: ("preconditions", {1: ("uid", "text"), 2: ("resourceVersion", "text")}),
        3: ("orphanDependents", "flag"),
        4: ("propagationPolicy", "text"),
        5: ("dryRun", ["text"]),
    },
}
_UNKNOWN: Final[Message] = {1: ("typeMeta", {1: ("apiVersion", "text"), 2: ("kind", "text")}), 2: ("raw", "bytes")}


def decode(body: bytes) -> Object:
    """Return a body as the object it holds; 415 for a kind that is not known here."""
    if not body.startswith(_MAGIC):
        raise _unsupported("no Kubernetes protobuf")
    envelope = _message(body[len(_MAGIC) :], _UNKNOWN)
    about = envelope.get("typeMeta") or {}
    fields = _MESSAGES.get(about.get("kind", ""))
    if fields is None:
        raise _unsupported(f"protobuf of {about.get('kind')}: send application/json")
    return about | _message(envelope.get("raw", b""), fields)


def _unsupported(why: str) -> StatusError:
    message = (
        f"the body of the request was in an unknown format ({why}) - accepted media types include: application/json"
    )
    return StatusError(415, "UnsupportedMediaType", message)


def _message(data: bytes, fields: Message) -> Object:
    found: Object = {}
    for number, value in _wire(data):
        name, how = fields.get(number, ("", None))
        if how in ("map", "bytes map"):
            key, item = _entry(value, how)
            found.setdefault(name, {})[key] = item
        elif isinstance(how, list):
            found.setdefault(name, []).append(_value(value, how[0]))
        elif how is not None:
            found[name] = _value(value, how)
    return {name: value for name, value in found.items() if value != ""}


def _value(value: Any, how: Any) -> Any:
    if isinstance(how, Mapping):
        return _message(value, how)
    if how == "text":
        return value.decode()
    return bool(value) if how == "flag" else value


def _entry(data: bytes, how: str) -> tuple[str, str]:
    parts = dict(_wire(data))
    item = parts.get(2, b"")
    return parts.get(1, b"").decode(), base64.b64encode(item).decode() if how == "bytes map" else item.decode()


def _wire(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (field number, integer or bytes) of a message."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        if key & 7 == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
        elif key & 7 == 2:
            size, place = _varint(data, place)
            yield key >> 3, data[place : place + size]
            place += size
        else:
            raise _unsupported("broken protobuf")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data):
            raise _unsupported("broken protobuf")
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
