"""Recomputes the analysis of a stored trace, and lists the values that differ from an earlier analysis.

An analysis is stored as text, with the version of the code that computed it. The same trace and code give the same
bytes. Every changed value of two different texts is named. This module knows no file, store or terminal.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.instants import format_instant
from airflow_llm_provisioning.core.judging import judge_trace
from airflow_llm_provisioning.core.result import Computed, TrialResult
from airflow_llm_provisioning.core.trace import decode_trace
from airflow_llm_provisioning.exceptions import TraceError

Change = Literal["changed", "appeared", "vanished"]

# The field that is reported for a whole phase, milestone or verdict that appears or vanishes.
_REPORTED_FIELD: Final[Mapping[str, str]] = {
    "phases": "duration_s",
    "milestones": "at",
    "verdicts": "value",
    "treatments": "value",
}
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs. `path`: its place, as `("phases", "worker_image_pull", "duration_s")`; `old`, `new`: None
    on the side without the value.
    """

    path: tuple[str, ...]
    change: Change
    old: Any
    new: Any

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"path": list(self.path), "change": self.change, "old": self.old, "new": self.new}


def replay(data: bytes | Sequence[bytes], treatments: Sequence[str] | None = None) -> str:
    """Return the analysis of a trace (.jsonl or .jsonl.gz, or its stored chunks) as JSON text.

    The same trace and the same code give the same text. `treatments`: names; None: those of the trace's header. A
    TraceError means that the data are no trace, or one of a newer format.
    """
    chunks = [data] if isinstance(data, bytes) else list(data)
    decode_trace(chunks)
    return result_text(judge_trace(chunks, treatments).as_dict())


def result_text(document: Mapping[str, Any]) -> str:
    """Return a result as the text that is stored. This function alone decides its format."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def trace_bytes(trial_id: str, chunks: Sequence[bytes]) -> bytes:
    """Return a stored trace as the bytes of one file: gzip members may be concatenated."""
    if not chunks:
        raise TraceError(f"There is no file and no stored trace named {trial_id!r}.")
    return b"".join(chunks)


def differences(old: Computed, new: Computed) -> tuple[Difference, ...]:
    """Return every value that differs between two analyses; empty if their texts are equal byte for byte."""
    if old.text == new.text:
        return ()
    found = tuple(_differences((), old.document, new.document))
    # The same values in another order or notation are not the same bytes.
    return found or (Difference(("text",), "changed", "the same values", "written in another order or form"),)


def row_differences(row: TrialResult, document: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the differences between a trial's row (the source of tables) and an analysis of its trace."""
    kept = _row_document(row)
    verdicts = [*document.get("verdicts", ()), *document.get("treatments", ())]
    told = {**document, "verdicts": verdicts}
    return tuple(_differences((), kept, _same_shape(kept, {key: told.get(key) for key in kept})))


def _row_document(row: TrialResult) -> dict[str, Any]:
    """Return a row in the format of an analysis, as far as the row has its fields."""
    return {
        "submitted_at": format_instant(row.submitted_at) if row.submitted_at else None,
        "ready_at": format_instant(row.ready_at) if row.ready_at else None,
        "total_s": row.total_s,
        "total_low_s": row.total_low_s,
        "total_high_s": row.total_high_s,
        "completion_s": row.completion_s,
        "start": row.start,
        "applied": row.applied,
        "phases": [
            {"name": p.name, "duration_s": p.duration_s, "shortest_s": p.low_s, "longest_s": p.high_s}
            for p in row.phases
        ],
        "milestones": [
            {
                "name": m.name,
                "earliest_at": format_instant(m.earliest_at),
                "latest_at": format_instant(m.latest_at),
                "source": m.source,
            }
            for m in row.milestones
        ],
        "verdicts": [dict(verdict) for verdict in row.verdicts],
    }


def _same_shape(kept: Mapping[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Drop the fields of phases and milestones that have no column in a row."""
    for part in ("phases", "milestones"):
        columns = {key for entry in kept[part] for key in entry} or {"name"}
        told[part] = [{key: entry[key] for key in entry if key in columns} for entry in told[part] or ()]
    return told


def _differences(path: tuple[str, ...], old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _of_entries(path, old, new)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _of_entries(path, _keyed(old), _keyed(new))
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield Difference(path, "changed", old, new)


def _of_entries(path: tuple[str, ...], old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        here = (*path, key)
        if before is _ABSENT:
            yield Difference(here, "appeared", None, _reported_value(path, after))
        elif after is _ABSENT:
            yield Difference(here, "vanished", _reported_value(path, before), None)
        else:
            yield from _differences(here, before, after)


def _keyed(entries: list[Any]) -> dict[str, Any]:
    """Name a list's entries, so that an inserted entry does not appear as a change of all later entries."""
    found: dict[str, Any] = {}
    for entry in entries:
        name = entry.get("name") or entry.get("claim") if isinstance(entry, Mapping) else entry
        key, count = str(name), 1
        while key in found:
            count += 1
            key = f"{name} ({count})"
        found[key] = entry
    return found


def _reported_value(path: tuple[str, ...], entry: Any) -> Any:
    if path and isinstance(entry, Mapping) and path[-1] in _REPORTED_FIELD:
        return entry.get(_REPORTED_FIELD[path[-1]])
    # An entry that consists of its name has no further value.
    return None if isinstance(entry, str) and path else entry
