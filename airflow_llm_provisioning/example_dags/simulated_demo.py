"""The whole experiment against the simulator: prepare three clouds, run every cell, compare. Needs no account.

The connections it names are made by `make demo` and `make ui`; its clusters say themselves that they are simulated.

What to look at: the log of a trial's `wait` tells how far the deployment is and what blocks it. `close` has its phases
and verdicts as a table, `compare` the variants, `changes` what got slower, `judge` whether the run passed. Every task
links to the page "LLM deployments".
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from airflow_llm_provisioning.dag_factory import load_experiment, preparation, trials

shipped = Path(__file__).parent / "experiments" / "simulated.yaml"
# `make demo TREATMENTS=...` writes an experiment with more variants.
experiment = load_experiment(Path(os.environ.get("LLM_PROVISIONING_EXPERIMENT", shipped))).on_clouds(
    os.environ.get("LLM_PROVISIONING_CLOUDS", "eks,gke,aks").split(",")
)

with DAG(
    dag_id="simulated_demo",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    params={
        "seed": Param(
            None,
            type=["null", "integer"],
            title="Seed",
            description="Draws the order of the trials; empty: the DAG run's own, stored with every trial.",
        )
    },
    tags=["llm-provisioning", "simulated"],
    doc_md=__doc__,
):
    prepared = preparation(experiment)
    plan, _ = trials(experiment, seed="{{ params.seed }}")
    prepared >> plan
