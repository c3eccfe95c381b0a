"""What a DAG run's history says: the changes that its night made it possible to tell."""

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_llm_provisioning.core.alarm import Change, watch
from airflow_llm_provisioning.core.nights import Cell, nights_of


@dataclass(frozen=True, slots=True)
class CellToday:
    """One cell of a run. `changes`: those told by this run's night; `nights_until`: how many more nights the cell needs
    before a change can be told.
    """

    cell: Cell
    changes: tuple[Change, ...]
    nights_until: int


def changes_of_run(
    experiment: str, dag_id: str, run_id: str, results_conn_id: str, *, expected: Sequence[str] = ()
) -> list[CellToday]:
    """Return what is told of every cell that the run measured, in the order of their names."""
    from airflow_llm_provisioning.connections import open_store

    store = open_store(results_conn_id)
    try:
        cells = nights_of(store.trials(experiment=experiment, dag_id=dag_id))
    finally:
        store.close()
    found = []
    for cell, nights in sorted(cells.items(), key=lambda item: (item[0].label, item[0].origin)):
        at = next((at for at, night in enumerate(nights) if night.run_id == run_id), None)
        if at is not None:
            seen = watch(nights[: at + 1], expected=expected)
            found.append(CellToday(cell, tuple(one for one in seen.changes if one.told == at), seen.nights_until))
    return found
