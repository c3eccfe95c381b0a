"""What people said of changes of level, in the results database. Notes are only added: who, when and why stay."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine, insert, select

from airflow_llm_provisioning.core.level_notes import LevelNote, NoteKind
from airflow_llm_provisioning.core.nights import Cell
from airflow_llm_provisioning.core.secrets import redacted_text
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.database import read_from, write_to

_CELL = ("origin", "target", "workload", "setup", "variant")


class SqlLevelNotes:
    """The notes of one results database."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def add(self, note: LevelNote) -> None:
        """Add a note."""
        row = {name: getattr(note.cell, name) for name in _CELL} | {"run_id": note.run_id, "kind": str(note.kind)}
        row |= {"noted_by": note.by, "noted_at": note.at, "why": note.why}
        with write_to(self._engine, f"note on {note.cell.short_name}") as connection:
            connection.execute(insert(tables.level_notes), row)

    def all(self) -> list[LevelNote]:
        """Return every note, oldest first."""
        table = tables.level_notes
        with read_from(self._engine) as connection:
            rows = connection.execute(select(table).order_by(table.c.note_id)).mappings().all()
        return [
            LevelNote(
                Cell(**{name: row[name] for name in _CELL}),
                row["run_id"],
                NoteKind(row["kind"]),
                row["noted_by"],
                row["noted_at"],
                row["why"],
            )
            for row in rows
        ]

    def note(self, cell: Cell, run_id: str, kind: NoteKind, *, by: str, why: str) -> LevelNote:
        """Add a note made now and return it. Its words are a user's, and are redacted."""
        made = LevelNote(cell, run_id, kind, redacted_text(by), self._clock(), redacted_text(why))
        self.add(made)
        return made
