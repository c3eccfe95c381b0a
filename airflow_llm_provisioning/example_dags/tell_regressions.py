"""Runs when a deployment got slower: Airflow schedules it on the asset `regressed` of the experiment.

`nightly_cold_start` emits the event in the night that makes the change certain, and none in other nights. The log of
the task says what changed, since when and in which phase. To send it by mail or to Slack, give the task a
`ResultNotifier` as `on_success_callback`.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_llm_provisioning.dag_factory import configured_experiment
from airflow_llm_provisioning.operators.assets import regressed

experiment = configured_experiment(Path(__file__).parent / "experiments" / "example.yaml")
slower = regressed(experiment.name)

with DAG(
    dag_id="tell_regressions",
    schedule=[slower],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["llm-provisioning"],
    doc_md=__doc__,
):

    @task
    def tell(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """Return the changes of the events that started this run."""
        changes = [change for event in triggering_asset_events[slower] for change in event.extra["changes"]]
        for change in changes:
            print(change["text"])  # noqa: T201 - the task's log
        return changes

    tell()
