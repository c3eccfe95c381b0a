"""Finds secrets in a trace before it is shared: values that redaction would drop, and texts that look like credentials.

`redaction` decides what is stored; this module checks it again when a trace is exported or imported. It reports the
place of a finding and never its content. Credentials of an unlisted format, for example in a log, are not found: this
lowers the risk and does not remove it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow_llm_provisioning.core.trace.format import Line
from airflow_llm_provisioning.core.trace.redaction import REDACTED, redact
from airflow_llm_provisioning.core.trace.secret_shapes import SHAPES

_SHAPES: Final = tuple((shape.what, re.compile(shape.pattern, re.ASCII)) for shape in SHAPES)


@dataclass(frozen=True, slots=True)
class Finding:
    """A value that must not be shared. `line`: its number in the trace, from 1; `place`: the field, as `a.b.0.c`."""

    line: int
    resource: str
    place: str
    what: str

    def __str__(self) -> str:
        return f"line {self.line} ({self.resource}), {self.place}: {self.what}"


def find_secrets(lines: Iterable[Line]) -> tuple[Finding, ...]:
    """Return everything in a trace's lines that redaction would drop, or that looks like a credential."""
    return tuple(
        Finding(number, str(item.get("resource")), place, what)
        for number, item in enumerate(lines, start=1)
        for place, what in _of_line(item)
    )


def without_secrets(item: Line) -> dict[str, Any]:
    """Return a line that can be shared: redacted, and with texts replaced that look like a credential."""
    kept = {**item, "object": redact(str(item.get("resource")), item.get("object"))}
    return {key: _masked(value) for key, value in kept.items()}


def _of_line(item: Line) -> Iterator[tuple[str, str]]:
    told = item.get("object")
    kept = redact(str(item.get("resource")), told)
    if kept != told:
        yield from ((place, "a value that redaction drops") for place in _changed(told, kept, "object"))
    for place, text in _texts(kept, "object"):
        for what, shape in _SHAPES:
            if shape.search(text):
                yield place, what


def _changed(told: Any, kept: Any, place: str) -> Iterator[str]:
    if isinstance(told, Mapping) and isinstance(kept, Mapping):
        for key, value in told.items():
            if key not in kept:
                yield f"{place}.{key}"
            elif kept[key] != value:
                yield from _changed(value, kept[key], f"{place}.{key}")
    elif isinstance(told, (list, tuple)) and isinstance(kept, (list, tuple)) and len(told) == len(kept):
        for position, (before, after) in enumerate(zip(told, kept, strict=True)):
            if before != after:
                yield from _changed(before, after, f"{place}.{position}")
    else:
        yield place


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{place}.{key}")
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            yield from _texts(item, f"{place}.{position}")


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        for _, shape in _SHAPES:
            value = shape.sub(REDACTED, value)
        return value
    if isinstance(value, Mapping):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(item) for item in value]
    return value
