"""Acknowledging an alarm: a record of who knows of a slower level, since when and why it stays.

The command line and the page inside Airflow call the same function.
"""

from typing import TYPE_CHECKING

from airflow_llm_provisioning.core.level_notes import LevelNote, NoteKind
from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.decisions.changes import CellHistory, histories
from airflow_llm_provisioning.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store import ResultsStore
    from airflow_llm_provisioning.gateways.store.selection import Selection


def acknowledge(
    store: "ResultsStore",
    cell: str,
    *,
    by: str,
    why: str,
    run_id: str | None = None,
    experiment: str | None = None,
    origin: str | None = None,
    within: "Selection | None" = None,
) -> LevelNote:
    """Record that a change of level is known; it does not alarm again, and a further change does.

    `cell`: `TARGET/WORKLOAD/SETUP/VARIANT`. `run_id`: the first night of the new level, as a change names it; None for
    the level that holds now. `origin`: `measured` or `simulated`, where both have a cell of this name. `within`: the
    trials that count, instead of those of an experiment. Raises ConfigurationError if there is no such cell or change,
    or if `by` or `why` is empty.
    """
    from airflow_llm_provisioning.gateways.store.selection import Selection

    if not by.strip() or not why.strip():
        raise ConfigurationError("An acknowledgement says who gives it and why: neither may be empty.")
    cells = store.queries.history(within or Selection(experiment=experiment))
    found = _one(histories(cells, store.level_notes()), cell, origin)
    return store.note_level(found.cell, _run(found, run_id), NoteKind.ACKNOWLEDGED, by=by.strip(), why=why.strip())


def _one(known: list[CellHistory], name: str, origin: str | None) -> CellHistory:
    fitting = [found for found in known if found.cell.short_name == name and origin in (None, found.cell.origin)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        origins = ", ".join(found.cell.origin for found in fitting)
        raise ConfigurationError(f"There are {len(fitting)} cells {name!r}, of the origins {origins}: choose one.")
    raise ConfigurationError(f"There is no history of {name!r}{nearest(name, [c.cell.short_name for c in known])}.")


def _run(found: CellHistory, run_id: str | None) -> str:
    """Return the first run of the level that is acknowledged."""
    name, changes = found.cell.short_name, [change.run_id for change in found.watched.changes]
    if run_id is not None:
        if run_id not in changes:
            told = f"No change of {name} begins at DAG run {run_id!r}{nearest(run_id, changes)}."
            raise ConfigurationError(f"{told} An acknowledgement names the first run of the new level.")
        return run_id
    alarm = found.open_alarm
    if alarm is None:
        raise ConfigurationError(f"{name} has no open alarm: no slower level holds that was not acknowledged.")
    return alarm.run_id
