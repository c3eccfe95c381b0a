"""Every ten minutes: delete what expired or what its trial left behind, in every cluster and cloud of the experiment.

Never what a running trial uses, and never what is not ours. A run fails where something is left, with its reason.
`llm-provisioning reap` does the same without Airflow's scheduler.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_llm_provisioning.dag_factory import configured_experiment, reaping

experiment = configured_experiment(Path(__file__).parent / "experiments" / "example.yaml")

with DAG(
    dag_id="reap",
    schedule=timedelta(minutes=10),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # It deletes, so a user must unpause it.
    is_paused_upon_creation=True,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    tags=["llm-provisioning"],
    doc_md=__doc__,
):
    reaping(experiment)
