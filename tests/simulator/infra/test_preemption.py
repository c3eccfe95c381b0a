"""Important pods get their node at the cost of others; only where that helps, and no more of them than needed."""

from typing import Any

import pytest
from infra_builders import Build, SmallCluster, a_pod

from llm_provisioning_simulator.infra.preemption import cheapest, victims_on
from llm_provisioning_simulator.infra.scheduler import obstacles_on

Object = dict[str, Any]


def a_class(name: str, value: int, **fields: Any) -> Object:
    return {"metadata": {"name": name}, "value": value, **fields}


def a_holder(name: str, cpu: str, priority: int) -> Object:
    container = {"name": "main", "resources": {"requests": {"cpu": cpu}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container], "priority": priority}}


NODE = {"metadata": {"name": "n", "labels": {}}, "spec": {}, "status": {"allocatable": {"cpu": "4"}}}


@pytest.mark.parametrize(
    ("here", "victims"),
    [
        ([a_holder("low", "2", -5), a_holder("lower", "2", -10)], ["lower"]),
        ([a_holder("low", "2", -5), a_holder("equal", "2", 0)], ["low"]),
        ([a_holder("equal", "4", 0)], None),
        ([a_holder("low", "1", -5), a_holder("equal", "3", 0)], None),
    ],
)
def test_only_less_important_pods_go_and_no_more_than_needed(here: list[Object], victims: list[str] | None) -> None:
    """The more important of the candidates stay where that is enough; where it does not help, none goes."""
    found = victims_on(a_holder("new", "2", 0), NODE, here, obstacles_on)
    assert (None if found is None else [item["metadata"]["name"] for item in found]) == victims


def test_the_node_whose_victims_matter_least_is_taken() -> None:
    """The highest priority among the victims decides, then their number."""
    low, lower = a_holder("low", "1", -5), a_holder("lower", "1", -10)
    assert cheapest({"a": [low], "b": [lower, lower], "c": [lower]}) == "c"
    assert cheapest({}) is None


async def with_placeholder(build: Build, value: int = -5, **fields: Any) -> SmallCluster:
    """Return a cluster in which a placeholder of the worker's shape runs."""
    cluster: SmallCluster = await build("eks")
    cluster.store.create("priorityclasses", a_class("low", value, **fields), manager="test")
    cluster.apply(a_pod("eks", "placeholder", init=False, priorityClassName="low", terminationGracePeriodSeconds=0))
    await cluster.until(lambda: cluster.is_running("placeholder"))
    return cluster


async def test_a_worker_takes_the_node_and_the_image_of_its_placeholder(small_cluster: Build) -> None:
    """Events and condition are the scheduler's; no second node is asked for, and nothing is pulled again."""
    cluster = await with_placeholder(small_cluster)
    cluster.apply(a_pod("eks"))
    await cluster.until(lambda: cluster.is_running("worker"))
    worker = cluster.pod("worker")
    assert len(cluster.new_machines()) == 1
    preempted = [message for reason, message in cluster.events("placeholder") if reason == "Preempted"]
    assert preempted == [f"Preempted by pod {worker['metadata']['uid']} on node {cluster.new_machines()[0]}"]
    assert "nominatedNodeName" not in worker["status"]
    assert any("already present on machine" in message for _, message in cluster.events("worker"))
    assert not any("Preemption is not helpful" in message for _, message in cluster.events("worker"))


async def test_a_pod_that_is_as_important_keeps_its_node(small_cluster: Build) -> None:
    """The worker gets a node of its own, and the scheduler says that preemption does not help."""
    cluster = await with_placeholder(small_cluster, value=0)
    cluster.apply(a_pod("eks"))
    await cluster.until(lambda: cluster.is_running("worker"))
    assert cluster.is_running("placeholder")
    assert len(cluster.new_machines()) == 2
    assert any("Preemption is not helpful" in message for _, message in cluster.events("worker"))


async def test_a_class_may_forbid_to_preempt(small_cluster: Build) -> None:
    """`preemptionPolicy: Never` of the pod that waits; a class can be everybody's."""
    cluster = await with_placeholder(small_cluster)
    shared = a_class("patient", 10, globalDefault=True, preemptionPolicy="Never")
    cluster.store.create("priorityclasses", shared, manager="test")
    cluster.apply(a_pod("eks"))
    await cluster.until(lambda: cluster.is_running("worker"))
    assert cluster.pod("worker")["spec"]["priority"] == 10
    assert cluster.is_running("placeholder")
