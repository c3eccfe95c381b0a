"""Defaults and checks by OpenAPI v3 structural schemas, in the words of the API server's CRD validation.

Only the part of the language that KubeRay's and Karpenter's CRDs use on values that clients write; CEL rules
(`x-kubernetes-validations`) are not evaluated, and unknown fields are kept rather than pruned, unless a client asks for
strict validation.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from llm_provisioning_simulator.kube.changes import copy_tree

Schema = dict[str, Any]
Cause = tuple[str, str, str]
"""reason, field, message."""


def fill_defaults(value: Any, schema: Schema) -> None:
    """Set, in place, the defaults of fields that are absent, wherever their parent is present."""
    if isinstance(value, dict):
        for name, below in (schema.get("properties") or {}).items():
            if name not in value and "default" in below:
                default = below["default"]
                value[name] = copy_tree(default) if isinstance(default, (dict, list)) else default
            if value.get(name) is not None:
                fill_defaults(value[name], below)
    elif isinstance(value, list) and "items" in schema:
        for item in value:
            fill_defaults(item, schema["items"])


_BLOCKING: Final = frozenset(
    {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
)
_UNCHECKED: Final = (
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation"
)


def checked(value: Any, schema: Schema) -> list[Cause]:
    """Return what is wrong with a whole object. After some errors the server does not evaluate the CEL rules, and says
    so in one error more (apiextensions-apiserver, customresource/strategy.go, hasBlockingErr; recorded).
    """
    found = list(check(value, schema))
    blocked = any(reason in _BLOCKING for reason, _, _ in found) and _has_rules(schema)
    return [*found, ("FieldValueInvalid", "<nil>", _UNCHECKED)] if blocked else found


def _has_rules(schema: Any) -> bool:
    if isinstance(schema, dict):
        return "x-kubernetes-validations" in schema or any(map(_has_rules, schema.values()))
    return isinstance(schema, list) and any(map(_has_rules, schema))


def unknown_fields(value: Any, schema: Schema, field: str = "") -> Iterator[str]:
    """Yield the paths of fields that a schema does not know; it knows all where it names none."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_fields(item, schema.get("items") or {}, f"{field}[{index}]")
        return
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    if not isinstance(value, dict):
        return
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or not properties
    for name, item in value.items():
        below = properties.get(name) or (extra if isinstance(extra, dict) else None)
        if below is not None:
            yield from unknown_fields(item, below, _join(field, name))
        elif not open_ended and not extra:
            yield _join(field, name)


def check(value: Any, schema: Schema, field: str = "") -> Iterator[Cause]:
    """Yield what is wrong with a value, as (reason, field, message)."""
    if value is None and schema.get("nullable"):
        return
    expected = None if schema.get("x-kubernetes-int-or-string") else schema.get("type")
    if expected and not _is(value, expected):
        found = type_name(value)
        message = f'Invalid value: "{found}": {field} in body must be of type {expected}: "{found}"'
        yield "FieldValueTypeInvalid", field, message
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from check(item, schema.get("items") or {}, f"{field}[{index}]")
    elif isinstance(value, dict):
        yield from _check_fields(value, schema, field)
    else:
        yield from _check_scalar(value, schema, field)


def _check_scalar(value: Any, schema: Schema, field: str) -> Iterator[Cause]:
    if isinstance(value, str):
        yield from _check_text(value, schema, field)
    elif isinstance(value, (int, float)):
        yield from _check_number(value, schema, field)


def _check_fields(value: dict[str, Any], schema: Schema, field: str) -> Iterator[Cause]:
    for name in schema.get("required") or ():
        if name not in value:
            yield "FieldValueRequired", _join(field, name), "Required value"
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    for name, item in value.items():
        below = properties.get(name) or (extra if isinstance(extra, dict) else None)
        if below is not None:
            yield from check(item, below, _join(field, name))


def _check_text(value: str, schema: Schema, field: str) -> Iterator[Cause]:
    longest, shortest, pattern = schema.get("maxLength"), schema.get("minLength", 0), schema.get("pattern")
    if longest is not None and len(value) > longest:
        yield "FieldValueTooLong", field, f"Too long: may not be more than {longest} bytes"
    if len(value) < shortest:
        shown = f'Invalid value: "{value}"'
        yield "FieldValueInvalid", field, f"{shown}: {field} in body should be at least {shortest} chars long"
    if pattern and not _compiled(pattern).search(value):
        yield "FieldValueInvalid", field, f"Invalid value: \"{value}\": {field} in body should match '{pattern}'"
    allowed = schema.get("enum")
    if allowed and value not in allowed:
        listed = ", ".join(f'"{item}"' for item in allowed)
        yield "FieldValueNotSupported", field, f'Unsupported value: "{value}": supported values: {listed}'
    if schema.get("format") == "date-time" and not _is_instant(value):
        message = f'Invalid value: "{value}": {field} in body must be of type date-time: "{value}"'
        yield "FieldValueInvalid", field, message


def _check_number(value: float, schema: Schema, field: str) -> Iterator[Cause]:
    least, most = schema.get("minimum"), schema.get("maximum")
    shown = f"Invalid value: {value}: {field} in body"
    if least is not None and value < least:
        yield "FieldValueInvalid", field, f"{shown} should be greater than or equal to {least}"
    if most is not None and value > most:
        yield "FieldValueInvalid", field, f"{shown} should be less than or equal to {most}"


def _is(value: Any, expected: str) -> bool:
    if expected == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if expected == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    types: dict[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool}
    return isinstance(value, types[expected])


def type_name(value: Any) -> str:
    """Return a value's type in the words of JSON."""
    if value is None:
        return "null"
    names = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"))
    return next(name for kind, name in names if isinstance(value, kind))


def _is_instant(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


@lru_cache(maxsize=500)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
