"""Prepare every target of the experiment: build the image, snapshot or stream and warm it, set up its nodes.

Idempotent: what exists with the same content is reused. Its seconds and its price are kept beside the results.

What to look at: the log of each step tells its state at every change and once a minute, with what earlier ones took.
Every task links to its target on the page "LLM deployments".
"""

from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG

from airflow_llm_provisioning.dag_factory import configured_experiment, preflight, preparation

experiment = configured_experiment(Path(__file__).parent / "experiments" / "example.yaml")

with DAG(
    dag_id="prepare_targets",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["llm-provisioning"],
    doc_md=__doc__,
):
    preflight(experiment) >> preparation(experiment)
