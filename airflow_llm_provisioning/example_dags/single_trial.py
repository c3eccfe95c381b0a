"""One trial by hand, from a form: choose target, set-up and variant, and watch it deploy, measure and tear down.

What to look at: the log of `wait` tells how far the deployment is and what blocks it; `close` has its phases and
verdicts as a table. Every task links to the trial on the page "LLM deployments".
"""

from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG

from airflow_llm_provisioning.dag_factory import configured_experiment, single_trial, single_trial_params

experiment = configured_experiment(
    Path(__file__).parent / "experiments" / "example.yaml", Path(__file__).parent / "experiments" / "simulated.yaml"
)

with DAG(
    dag_id="single_trial",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params=single_trial_params(experiment),
    tags=["llm-provisioning"],
    doc_md=__doc__,
):
    single_trial(experiment)
