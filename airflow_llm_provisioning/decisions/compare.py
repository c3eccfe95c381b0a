"""A DAG run's comparison: computed from the store's rows, and kept beside them."""

from typing import Any


def compare_run(experiment: str, run_id: str, results_conn_id: str) -> list[dict[str, Any]]:
    """Compare what a DAG run measured, keep the rows (see `core.comparison.ComparisonRow`), and return them."""
    from airflow_llm_provisioning.connections import open_store
    from airflow_llm_provisioning.core.comparison import compare

    store = open_store(results_conn_id)
    try:
        rows = [row.as_dict() for row in compare(store.trials(experiment=experiment, run_id=run_id))]
        store.save_comparison(experiment, run_id, rows)
    finally:
        store.close()
    return rows
