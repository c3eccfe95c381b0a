"""Which trials of a store a gate needs: those of the run, and of the runs that may be its reference."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from airflow_llm_provisioning.core.gate_limit import PREVIOUS, GateLimit
from airflow_llm_provisioning.core.measured import Measured

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store import ResultsStore
    from airflow_llm_provisioning.gateways.store.pages import RunRow
    from airflow_llm_provisioning.gateways.store.selection import Selection

# How many earlier runs are searched for one in which the arm counts; how many a wrong name is compared with.
EARLIER_RUNS: Final = 60


def trials_for(
    store: "ResultsStore", limit: GateLimit, *, run_id: str | None, dag_id: str | None, experiment: str | None
) -> Sequence[Measured]:
    """Return what `core.gate_limit.judged` needs to judge a run, the newest one where `run_id` is None.

    Of a run id that does not exist it returns the newest runs, so that the refusal can name the nearest.
    """
    from airflow_llm_provisioning.gateways.store.selection import Selection

    queries, base = store.queries, Selection(dag_id=dag_id, experiment=experiment)
    newest = queries.newest_run(base if run_id is None else replace(base, run_id=run_id))
    if newest is None:
        return _of(queries.runs(base, limit=EARLIER_RUNS).rows, store, base)
    found: list[Measured] = [
        *queries.measured(replace(base, run_id=newest.run_id, dag_id=dag_id if run_id else newest.dag_id))
    ]
    if limit.against == PREVIOUS:
        own = replace(base, dag_id=newest.dag_id)
        return [*found, *_of(queries.runs(own, limit=EARLIER_RUNS, before=newest.newest).rows, store, own)]
    if limit.against is not None and limit.against != newest.run_id:
        other = queries.measured(replace(base, run_id=limit.against))
        found += other or _of(queries.runs(base, limit=EARLIER_RUNS).rows, store, base)
    return list({trial.trial_id: trial for trial in found}.values())


def _of(rows: "Sequence[RunRow]", store: "ResultsStore", base: "Selection") -> Sequence[Measured]:
    if not rows:
        return []
    return store.queries.measured(replace(base, run_id=[row.run_id for row in rows]))
