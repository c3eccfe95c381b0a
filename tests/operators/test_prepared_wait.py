"""A trial waits until what was prepared for it is ready again, up to a limit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from cluster_in_background import BackgroundCluster, simulated_target
from operator_harness import as_stored, context, experiment, planned, run

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators import PrepareObjects
from airflow_llm_provisioning.operators.trial import OpenTrial
from airflow_llm_provisioning.triggers.prepared_objects import ObjectsReadyWait


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    opened = open_store()
    yield opened
    opened.close()


def buffer() -> dict[str, Any]:
    """Return a Deployment of one small pod on the target's nodes."""
    target = simulated_target()
    marks = AUTOSCALERS[target.nodes.autoscaler].placement(target.nodes, "head")
    labels = {"app": "buffer"}
    container = {"name": "c", "image": "rayproject/ray-ml:2.33.0.914af0-py311", "resources": {"requests": {"cpu": "1"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": {**labels, **marks.labels}, "annotations": dict(marks.annotations)},
                "spec": {"containers": [container], "nodeSelector": dict(marks.node_selector)},
            },
        },
    }


def ask(simulated: BackgroundCluster, cpu: str) -> None:
    """Let the buffer's pod ask for this much."""

    def change(found: dict[str, Any]) -> None:
        found["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] = cpu

    def mutate() -> None:
        objects = simulated.simulated.store
        (item,) = [one for one in objects.list("deployments", "default") if one["metadata"]["name"].startswith("llm-")]
        objects.mutate("deployments", item["metadata"]["name"], "default", change, manager="kubectl")

    simulated.call(mutate)


@pytest.fixture
def refilling(simulated: BackgroundCluster, store: ResultsStore) -> BackgroundCluster:
    """A buffer that was ready, and has no node for its next pod."""
    target = simulated_target().as_dict()
    run(PrepareObjects(task_id="p", target=target, treatment="fast_download", objects=[buffer()]))
    ask(simulated, "9999")
    return simulated


def opening(**fields: Any) -> OpenTrial:
    return OpenTrial(task_id="open", planned=planned(variant="fast_download"), experiment=experiment(), **fields)


def test_it_waits_for_the_next_nodes_and_then_opens(refilling: BackgroundCluster, store: ResultsStore) -> None:
    """Deferred, without a row and without the cluster's lock; then it finds all of it ready."""
    operator = opening()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context())
    wait = as_stored(deferred.value)
    assert isinstance(wait, ObjectsReadyWait)
    assert [item["kind"] for item in wait.arguments["objects"]] == ["Deployment"]
    assert (store.trials(), refilling.names("leases").count("llm-provisioning-trial")) == ([], 0)
    (running,) = store.progress.running()
    assert running.step == "prepared"
    assert "is not ready: " in (running.blocker or "")
    ask(refilling, "2")
    opened = run(opening())
    assert opened["opened"]["prepared"]["steps"]["prepare_fast_download"]["problems"] == []


@pytest.mark.usefixtures("refilling")
def test_the_limit_is_a_sentence_and_a_row(store: ResultsStore) -> None:
    """What was not ready, and for how long it was waited for."""
    with pytest.raises(ClusterError, match=r"What was prepared on .* (not be|is not) ready.*Deployment llm-"):
        run(opening(prepared_wait_s=1))
    (row,) = store.trials()
    assert "was not opened. What was prepared on" in (row.reason or "")


@pytest.mark.usefixtures("refilling")
def test_without_a_wait_it_opens_as_it_is(store: ResultsStore) -> None:
    """The header says what was not ready, and the verdict reads it."""
    opened = run(opening(prepared_wait_s=0))
    (told,) = opened["opened"]["prepared"]["steps"]["prepare_fast_download"]["problems"]
    assert "is not ready: " in told
