"""Label and field selectors, read once for each request and then asked for every object."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_provisioning_simulator.kube.resources import EVENTS_GROUP, Resource
from llm_provisioning_simulator.kube.statuses import bad_request

Object = dict[str, Any]
Test = Callable[[Object], bool]

_SET: Final = re.compile(r"^(?P<key>[^\s!=,()]+)\s+(?P<operator>in|notin)\s+\((?P<values>[^()]*)\)$")
_EQUALS: Final = re.compile(r"^(?P<key>[^\s!=,()]+)\s*(?P<operator>==?|!=)\s*(?P<value>[^\s!=,()]*)$")
_EXISTS: Final = re.compile(r"^(?P<not>!?)\s*(?P<key>[^\s!=,()]+)$")
_OPERATORS: Final = frozenset({"=", "==", "!=", "!", "(", ")", ","})
_TOKEN: Final = re.compile(r"==|!=|[=!(),]|[^\s=!(),]+")
_COMMA: Final = re.compile(r",(?![^()]*\))")

# What the API server can select by, beside name and namespace (pkg/apis/core/v1/conversion.go, v1.34).
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "pods": frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        }
    ),
    "nodes": frozenset({"spec.unschedulable"}),
    "namespaces": frozenset({"status.phase"}),
    "secrets": frozenset({"type"}),
    "services": frozenset({"spec.clusterIP", "spec.type"}),
    "jobs": frozenset({"status.successful"}),
    "events": frozenset(
        {
            *(f"involvedObject.{field}" for field in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")),
            "involvedObject.resourceVersion",
            "reason",
            "reportingComponent",
            "source",
            "type",
        }
    ),
}
_EVENT_VIEW: Final[Mapping[str, str]] = {"regarding": "involvedObject", "reportingController": "reportingComponent"}


def selector(labels: str, fields: str, resource: Resource) -> Test | None:
    """Return the test both selectors make together, or None when there is nothing to select by."""
    tests = [*_label_tests(labels), *_field_tests(fields, resource)]
    if not tests:
        return None
    return lambda item: all(test(item) for test in tests)


def _label_tests(text: str) -> list[Test]:
    return [_label_test(part.strip()) for part in _COMMA.split(text) if part.strip()]


def _label_test(part: str) -> Test:
    found = _SET.match(part)
    if found:
        values = {value.strip() for value in found["values"].split(",")}
        return _among(found["key"], values, wanted=found["operator"] == "in")
    found = _EQUALS.match(part)
    if found:
        return _among(found["key"], {found["value"]}, wanted=found["operator"] != "!=")
    found = _EXISTS.match(part)
    if not found:
        raise bad_request(f"unable to parse requirement: {_unexpected(part)}")
    key, wanted = found["key"], not found["not"]
    return lambda item: (key in _labels(item)) is wanted


def _unexpected(part: str) -> str:
    """Return what the parser stumbles over, as the real one words it (apimachinery, pkg/labels/selector.go)."""
    found = _TOKEN.findall(part)
    key, rest = (found[0], found[1:]) if found else ("", [])
    if key in _OPERATORS:
        return f"found '{key}', expected: !, identifier, or 'end of string'"
    if rest and rest[0] in ("=", "==", "!=") and len(rest) > 1 and rest[1] in _OPERATORS:
        return f"found '{rest[1]}', expected: identifier"
    if rest and rest[0] in ("in", "notin"):
        return f"found '{rest[1] if len(rest) > 1 else ''}', expected: '('"
    shown = rest[0] if rest else ""
    return f"found '{shown}', expected: in, notin, =, ==, !=, gt, lt"


def _among(key: str, values: set[str], *, wanted: bool) -> Test:
    if wanted:
        return lambda item: _labels(item).get(key) in values
    return lambda item: _labels(item).get(key) not in values


def _labels(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def _field_tests(text: str, resource: Resource) -> list[Test]:
    tests = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        field, operator, value = re.split(r"(!=|==?)", part, maxsplit=1) if "=" in part else (part, "", "")
        if not operator:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        tests.append(_field_test(_stored_field(field, resource), value, wanted=operator != "!="))
    return tests


def _stored_field(field: str, resource: Resource) -> list[str]:
    """Return the path of a field that can be selected by; 400 for another, as the real server answers."""
    if resource.group == EVENTS_GROUP:
        head, dot, tail = field.partition(".")
        field = f"{_EVENT_VIEW.get(head, head)}{dot}{tail}"
    if field not in ("metadata.name", "metadata.namespace") and field not in _FIELDS.get(resource.plural, ()):
        raise bad_request(f"field label not supported: {field}")
    return ["source", "component"] if field == "source" else field.split(".")


def _field_test(path: list[str], value: str, *, wanted: bool) -> Test:
    def test(item: Object) -> bool:
        found: Any = item
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        shown = str(found).lower() if isinstance(found, bool) else str(found or "")
        return (shown == value) is wanted

    return test
