"""A DAG run's comparison: computed from the store's rows, and kept beside them."""

from typing import Any


def compare_run(
    experiment: str, run_id: str, results_conn_id: str, *, dag_id: str | None = None
) -> list[dict[str, Any]]:
    """Compare what a DAG run measured, keep the rows (see `core.comparison.ComparisonRow`), and return them.

    `dag_id`: whose run it is, because the DAGs of one schedule have runs of one id; None: of any DAG.
    """
    from airflow_llm_provisioning.connections import open_store
    from airflow_llm_provisioning.gateways.store.selection import Selection

    selection = Selection(experiment=experiment, run_id=run_id, dag_id=dag_id)
    store = open_store(results_conn_id)
    try:
        rows = [row.as_dict() for row in store.queries.comparison(selection)]
        store.save_comparison(experiment, run_id, rows, dag_id=dag_id or "")
    finally:
        store.close()
    return rows


def capacity_of_run(
    experiment: str, run_id: str, results_conn_id: str, *, dag_id: str | None = None
) -> list[dict[str, Any]]:
    """Return what was refused to a DAG run's trials by zone and hour (see `core.capacity.capacity_rows`)."""
    from airflow_llm_provisioning.connections import open_store
    from airflow_llm_provisioning.core.capacity import capacity_rows

    own = {} if dag_id is None else {"dag_id": dag_id}
    store = open_store(results_conn_id)
    try:
        return capacity_rows(store.trials(experiment=experiment, run_id=run_id, **own))
    finally:
        store.close()


def effects_told(experiment: str, run_id: str, results_conn_id: str, *, dag_id: str | None = None) -> list[str]:
    """Return in lines what each treatment of a factorial plan does, and what follows; empty where the run has no plan.

    `dag_id`: as in `compare_run`.
    """
    from airflow_llm_provisioning.connections import open_store
    from airflow_llm_provisioning.core.factorial_effects import effects_of

    own = {} if dag_id is None else {"dag_id": dag_id}
    store = open_store(results_conn_id)
    try:
        found = effects_of(store.trials(experiment=experiment, run_id=run_id, **own))
    finally:
        store.close()
    lines: list[str] = []
    for effects in found:
        lines += [f"{effects.baseline.arm.stratum.label}: {line}" for line in (*effects.lines(), *effects.sentences)]
    return lines
