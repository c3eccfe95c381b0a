"""Finds secrets in a trace before it is shared: what the redactor would change, and where.

`redaction` decides what is stored; this module checks it again when a trace is exported or imported. It reports the
place of a finding and never its content. Credentials of an unlisted format, for example in a log, are not found: this
lowers the risk and does not remove it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_llm_provisioning.core.secrets import redacted_value, shapes_in
from airflow_llm_provisioning.core.trace.format import Line
from airflow_llm_provisioning.core.trace.redaction import redact


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
    """Return everything in a trace's lines that the redactor would change."""
    return tuple(
        Finding(number, str(item.get("resource")), place, what)
        for number, item in enumerate(lines, start=1)
        for place, what in _of_line(item)
    )


def without_secrets(item: Line) -> dict[str, Any]:
    """Return a line that can be shared or stored."""
    rest = {key: value for key, value in item.items() if key != "object"}
    kept: dict[str, Any] = redacted_value(rest)
    obj = {"object": redact(str(item.get("resource")), item["object"])} if "object" in item else {}
    # In the order of the line: equal lines are equal bytes.
    return {key: obj[key] if key == "object" else kept.get(key, value) for key, value in item.items()}


def _of_line(item: Line) -> Iterator[tuple[str, str]]:
    kept = without_secrets(item)
    for key, value in item.items():
        if kept[key] != value:
            yield from _changed(value, kept[key], str(key))


def _changed(told: Any, kept: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(told, Mapping) and isinstance(kept, Mapping):
        for key, value in told.items():
            if key not in kept:
                yield f"{place}.{key}", "a value that redaction drops"
            elif kept[key] != value:
                yield from _changed(value, kept[key], f"{place}.{key}")
    elif isinstance(told, (list, tuple)) and isinstance(kept, (list, tuple)) and len(told) == len(kept):
        for position, (before, after) in enumerate(zip(told, kept, strict=True)):
            if before != after:
                yield from _changed(before, after, f"{place}.{position}")
    else:
        shapes = shapes_in(told) if isinstance(told, str) else []
        yield from ((place, what) for what in shapes or ["a value that redaction drops"])
