"""What arms cost and save in money, from the results store, with the prices that the newest trial was planned with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.core.break_even import cost_rows
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.prices import PriceBook

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore
    from airflow_llm_provisioning.gateways.store.selection import Selection


def cost_table(
    store: "ResultsStore", selection: "Selection", trials: Sequence[Measured] | None = None
) -> list[dict[str, Any]]:
    """Return one row for each arm of a selection (see `core.break_even.cost_rows`). `trials`: its trials, where they
    were read before.
    """
    from airflow_llm_provisioning.gateways.prices import prices_of

    queries = store.queries
    own = queries.pricing(selection).get("prices")
    book = prices_of(PriceBook.from_dict(own) if own else None)
    found = queries.measured(selection) if trials is None else trials
    return cost_rows(found, queries.costs(selection), store.preparations(), book)


def cost_of_run(
    experiment: str, run_id: str, results_conn_id: str, *, dag_id: str | None = None
) -> list[dict[str, Any]]:
    """Return the rows of a DAG run."""
    from airflow_llm_provisioning.connections import open_store
    from airflow_llm_provisioning.gateways.store.selection import Selection

    store = open_store(results_conn_id)
    try:
        return cost_table(store, Selection(experiment=experiment, run_id=run_id, dag_id=dag_id))
    finally:
        store.close()


def cost_text(row: dict[str, Any]) -> str:
    """Return a row in a sentence, for a log."""
    who = f"{row['cloud']} {row['setup']} {row['variant']}"
    # Rows of an older store have no such column.
    who += f" on the fallback {row['fallback']}" if row.get("fallback") else ""
    if row["cost"] is None:
        return f"{who}: what a deployment costs is not known"
    unit = row["currency"]
    told = f"{who}: {row['cost']:.2f} {unit} a deployment"
    if row["saved"] is not None:
        told += f", {row['saved']:+.2f} {unit} saved"
    if row["break_even_a_day"] is not None:
        return f"{told}, pays from {row['break_even_a_day']:.1f} deployments a day on"
    return f"{told}; {row['why']}" if row["why"] else told
