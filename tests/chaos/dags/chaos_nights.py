"""One DAG for each experiment file in this folder: the shipped factory, on clusters that the tests disturb."""

from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG

from airflow_llm_provisioning.dag_factory import load_experiment, trials

for path in sorted((Path(__file__).parent / "experiments").glob("*.yaml")):
    with DAG(
        dag_id=f"chaos_{path.stem}", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False
    ) as dag:
        trials(load_experiment(path), time_limit_s=1200)
    globals()[dag.dag_id] = dag
