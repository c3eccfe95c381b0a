"""What people said of changes of level: acknowledged, or expected. An acknowledged change does not alarm again; a
further one does, and a recovery is told.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from airflow_llm_provisioning.core.alarm import Change, Watch
from airflow_llm_provisioning.core.nights import Cell


class NoteKind(StrEnum):
    """`expected`: the level was declared before, so nothing is told there and the history begins anew."""

    ACKNOWLEDGED = "acknowledged"
    EXPECTED = "expected"


@dataclass(frozen=True, slots=True)
class LevelNote:
    """Who said what of the level that begins at a run of a cell, when and why. `run_id`: of its first night."""

    cell: Cell
    run_id: str
    kind: NoteKind
    by: str
    at: datetime
    why: str


def expected_by(notes: Iterable[LevelNote], cell: Cell) -> frozenset[str]:
    """Return the runs at which notes declare a new level of a cell."""
    return frozenset(note.run_id for note in notes if note.cell == cell and note.kind is NoteKind.EXPECTED)


def acknowledgement(notes: Iterable[LevelNote], cell: Cell, change: Change) -> LevelNote | None:
    """Return the first note that acknowledges a change, or None."""
    fitting = (note for note in notes if (note.cell, note.run_id) == (cell, change.run_id))
    known = (note for note in fitting if note.kind is NoteKind.ACKNOWLEDGED)
    return min(known, key=lambda note: note.at, default=None)


def standing(watched: Watch) -> Change | None:
    """Return the change to the slower level that still holds; None where the level is no slower one, or was wanted."""
    last = watched.changes[-1] if watched.changes else None
    if last is None or last.since != watched.since or last.recovered or last.change_pct <= 0:
        return None
    return last
