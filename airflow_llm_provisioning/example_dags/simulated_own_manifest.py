"""A user's own RayService beside a built-in workload, on a cluster of the simulator: the same DAG measures both.

The connections it names are made by `make ui`; its cluster says itself that it is simulated.

What to look at: the log of a trial's `wait` tells how far the deployment is and what blocks it. `close` has its phases
and verdicts as a table, `compare` the variants, `changes` what got slower, `judge` whether the run passed. Every task
links to the page "LLM deployments".
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_llm_provisioning.dag_factory import load_experiment, preparation, trials

experiment = load_experiment(Path(__file__).parent / "experiments" / "own_manifest.yaml")

with DAG(
    dag_id="simulated_own_manifest",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    tags=["llm-provisioning", "simulated"],
    doc_md=__doc__,
):
    plan, _ = trials(experiment)
    preparation(experiment) >> plan
