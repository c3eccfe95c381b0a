"""Every night: preflight, every cell of the experiment, cold, in a drawn order; then the comparison.

The experiment is a YAML file: `[llm_provisioning] experiment_file` in Airflow's configuration, or the example beside
this DAG. Prepare its targets once with `prepare_targets`.

What to look at: the log of a trial's `wait` tells how far the deployment is and what blocks it. `close` has its phases
and verdicts as a table, `compare` the variants, `changes` what got slower, `judge` whether the run passed. Every task
links to the page "LLM deployments".
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_llm_provisioning.dag_factory import configured_experiment, preflight, trials

experiment = configured_experiment(Path(__file__).parent / "experiments" / "example.yaml")

with DAG(
    dag_id="nightly_cold_start",
    schedule="0 1 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # It costs money every night, so a user must unpause it.
    is_paused_upon_creation=True,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=20),
    tags=["llm-provisioning"],
    doc_md=__doc__,
):
    plan, _ = trials(experiment)
    preflight(experiment) >> plan
