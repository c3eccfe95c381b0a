"""What a DAG run's history says: the changes that its night made it possible to tell, and those that still stand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_llm_provisioning.core.alarm import FEWEST_AFTER, Change, Watch, nights_that_tell, watch, watch_phases
from airflow_llm_provisioning.core.expected import ExpectedChange, expected_runs
from airflow_llm_provisioning.core.level_notes import (
    LevelNote,
    NoteKind,
    acknowledgement,
    expected_by,
    standing,
)
from airflow_llm_provisioning.core.nights import Cell, Night

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store import ResultsStore

FROM_FILE = "experiment file"


@dataclass(frozen=True, slots=True)
class CellToday:
    """One cell of a run. `changes`: those told by this run's night and not acknowledged; `nights_until`: how many more
    nights the cell needs before a change can be told. `standing`: a slower level that an earlier night told, that still
    holds and was not acknowledged. `phases`: phase -> changes told by this run's night that no change of the total
    explains.
    """

    cell: Cell
    changes: tuple[Change, ...]
    nights_until: int
    standing: Change | None = None
    phases: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CellHistory:
    """The history of one cell with what people said of it. `expected`: runs at which a new level was wanted."""

    cell: Cell
    nights: tuple[Night, ...]
    watched: Watch
    expected: frozenset[str]
    notes: tuple[LevelNote, ...]

    def acknowledged(self, change: Change) -> LevelNote | None:
        """Return who acknowledged a change, or None."""
        return acknowledgement(self.notes, self.cell, change)

    @property
    def open_alarm(self) -> Change | None:
        """The slower level that still holds and was not acknowledged, or None."""
        found = standing(self.watched)
        return found if found is not None and self.acknowledged(found) is None else None


def histories(
    cells: Mapping[Cell, Sequence[Night]], notes: Sequence[LevelNote], expected: Sequence[ExpectedChange] = ()
) -> list[CellHistory]:
    """Return the history of every cell, in the order of their names."""
    found = []
    for cell, nights in sorted(cells.items(), key=lambda item: (item[0].label, item[0].origin)):
        wanted = expected_by(notes, cell) | expected_runs(cell, nights, expected)
        own = tuple(note for note in notes if note.cell == cell)
        found.append(CellHistory(cell, tuple(nights), watch(nights, expected=wanted), wanted, own))
    return found


def changes_of_run(
    experiment: str, dag_id: str, run_id: str, results_conn_id: str, *, expected: Sequence[ExpectedChange] = ()
) -> list[CellToday]:
    """Return what is told of every cell that the run measured, in the order of their names.

    Where an expected change begins in a cell's history is kept in the store, so that every reader knows it.
    """
    from airflow_llm_provisioning.connections import open_store
    from airflow_llm_provisioning.gateways.store.selection import Selection

    store = open_store(results_conn_id)
    try:
        own = Selection(experiment=experiment, dag_id=dag_id)
        seen = [cell.key for cell in store.queries.cells(replace(own, run_id=run_id))]
        cells = store.queries.history(replace(own, cell=seen))
        notes = store.level_notes()
        _keep_expected(store, cells, notes, expected)
    finally:
        store.close()
    until = {
        cell: nights[: at + 1]
        for cell, nights in cells.items()
        if (at := next((at for at, night in enumerate(nights) if night.run_id == run_id), None)) is not None
    }
    return [_today(found) for found in histories(until, notes, expected)]


def _keep_expected(
    store: "ResultsStore",
    cells: Mapping[Cell, Sequence[Night]],
    notes: Iterable[LevelNote],
    expected: Sequence[ExpectedChange],
) -> None:
    known = {(note.cell, note.run_id) for note in notes if note.kind is NoteKind.EXPECTED}
    for cell, nights in cells.items():
        for change in expected:
            run_id = change.begins(cell, nights)
            if run_id is not None and (cell, run_id) not in known:
                store.note_level(cell, run_id, NoteKind.EXPECTED, by=FROM_FILE, why=change.why)
                known.add((cell, run_id))


def _today(found: CellHistory) -> CellToday:
    at = len(found.nights) - 1
    new = tuple(change for change in found.watched.changes if change.told == at)
    alarm = found.open_alarm
    return CellToday(
        cell=found.cell,
        changes=tuple(change for change in new if found.acknowledged(change) is None),
        nights_until=found.watched.nights_until,
        standing=alarm if alarm not in new else None,
        phases=_phases(found, at),
    )


def _phases(found: CellHistory, at: int) -> dict[str, tuple[Change, ...]]:
    """Return what phases alone tell tonight: not what began with a change of the total, which names its phases."""
    where = {night.run_id: here for here, night in enumerate(found.nights)}
    told: dict[str, tuple[Change, ...]] = {}
    for name, seen in watch_phases(found.nights, expected=found.expected).items():
        known = nights_that_tell(found.nights, name)
        own = tuple(
            one
            for one in seen.changes
            if known[one.told] is found.nights[at]
            and all(abs(where[one.run_id] - total.since) > FEWEST_AFTER for total in found.watched.changes)
        )
        if own:
            told[name] = own
    return told
