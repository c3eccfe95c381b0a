"""A stored trace -> the same bytes of analysis, whenever and wherever it is computed again; and what differs if not.

An analysis is kept as text, with the name of the code that computed it. Two texts that are the same byte for byte are
the same result; of two that are not, every value that changed is named. Knows no file, store or terminal.
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

# What of a whole phase, milestone or verdict is told when it appears or vanishes.
_GIST: Final[Mapping[str, str]] = {
    "phases": "duration_s",
    "milestones": "at",
    "verdicts": "value",
    "treatments": "value",
}
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not what it was. `path`: where, as `("phases", "worker_image_pull", "duration_s")`; `old`,
    `new`: None on the side where it is not.
    """

    path: tuple[str, ...]
    change: Change
    old: Any
    new: Any

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"path": list(self.path), "change": self.change, "old": self.old, "new": self.new}


def replay(data: bytes | Sequence[bytes], treatments: Sequence[str] | None = None) -> str:
    """Return the analysis of a trace (.jsonl or .jsonl.gz, or its stored chunks) as JSON text; the same trace and the
    same code give the same text. `treatments`: names; None: those of the trace's own header.

    A TraceError says that it is no trace, or one of a newer format.
    """
    chunks = [data] if isinstance(data, bytes) else list(data)
    decode_trace(chunks)
    return result_text(judge_trace(chunks, treatments).as_dict())


def result_text(document: Mapping[str, Any]) -> str:
    """Return a result as the text that is kept: the only place where its form is decided."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def trace_bytes(trial_id: str, chunks: Sequence[bytes]) -> bytes:
    """Return a stored trace as one file's bytes: gzip members may simply follow one another."""
    if not chunks:
        raise TraceError(f"There is no file and no stored trace named {trial_id!r}.")
    return b"".join(chunks)


def differences(old: Computed, new: Computed) -> tuple[Difference, ...]:
    """Return every value in which two analyses differ; none means that their texts are the same byte for byte."""
    if old.text == new.text:
        return ()
    found = tuple(_differences((), old.document, new.document))
    # The same values in another order or notation are still not the same bytes.
    return found or (Difference(("text",), "changed", "the same values", "written in another order or form"),)


def row_differences(row: TrialResult, document: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return in what a trial's row, which tables and comparisons are made of, departs from an analysis of its trace."""
    kept = _row_document(row)
    verdicts = [*document.get("verdicts", ()), *document.get("treatments", ())]
    told = {**document, "verdicts": verdicts}
    return tuple(_differences((), kept, _same_shape(kept, {key: told.get(key) for key in kept})))


def _row_document(row: TrialResult) -> dict[str, Any]:
    """Return a row in an analysis' words, as far as it has them."""
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
    """Drop the fields of phases and milestones that a row has no column for."""
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
            yield Difference(here, "appeared", None, _gist(path, after))
        elif after is _ABSENT:
            yield Difference(here, "vanished", _gist(path, before), None)
        else:
            yield from _differences(here, before, after)


def _keyed(entries: list[Any]) -> dict[str, Any]:
    """Name a list's entries, so that one that was put in does not look like a change of all that follow."""
    found: dict[str, Any] = {}
    for entry in entries:
        name = entry.get("name") or entry.get("claim") if isinstance(entry, Mapping) else entry
        key, count = str(name), 1
        while key in found:
            count += 1
            key = f"{name} ({count})"
        found[key] = entry
    return found


def _gist(path: tuple[str, ...], entry: Any) -> Any:
    if path and isinstance(entry, Mapping) and path[-1] in _GIST:
        return entry.get(_GIST[path[-1]])
    # An entry that is its own name has nothing more to say.
    return None if isinstance(entry, str) and path else entry
