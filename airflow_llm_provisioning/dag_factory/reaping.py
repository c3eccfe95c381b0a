"""The reaper as tasks: one lists the places, and one mapped task each looks, deletes and sees things gone."""

from typing import Any

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.operators import ListPlaces, ReapPlace


def reaping(experiment: Experiment, *, wait_s: float = 300.0, results_conn_id: str = DEFAULT_STORE) -> Any:
    """Add the reaper of an experiment's targets: `places` >> one `reap_place` for each of them."""
    places = ListPlaces(task_id="places", experiment=experiment, results_conn_id=results_conn_id)
    mapped = ReapPlace.partial(
        task_id="reap_place",
        map_index_template="{{ task.place['name'] }}",
        wait_s=wait_s,
        results_conn_id=results_conn_id,
    )
    return mapped.expand(place=places.output)
