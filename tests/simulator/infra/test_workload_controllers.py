"""Deployments and DaemonSets keep their pods, and say how many are ready."""

import asyncio
from typing import Any

import pytest
from infra_builders import Build, SmallCluster, a_pod

from llm_provisioning_simulator.infra.workloads import WorkloadControllers

Object = dict[str, Any]


async def a_cluster(build: Build) -> SmallCluster:
    cluster: SmallCluster = await build("eks")
    cluster.tasks.start(WorkloadControllers(cluster.ctx).run())
    await asyncio.sleep(0.01)
    return cluster


def template(**spec: Any) -> Object:
    made = a_pod("eks", init=False, terminationGracePeriodSeconds=0, **spec)
    return {"metadata": {key: made["metadata"][key] for key in ("labels", "annotations")}, "spec": made["spec"]}


def a_deployment(replicas: int = 1, **spec: Any) -> Object:
    return {"metadata": {"name": "buffer"}, "spec": {"replicas": replicas, "template": template(**spec)}}


def counts(cluster: SmallCluster, resource: str, *names: str) -> tuple[int, ...]:
    status = cluster.store.peek(resource, "buffer", "default").get("status") or {}  # type: ignore[union-attr]
    return tuple(status.get(name, 0) for name in names)


def pods(cluster: SmallCluster) -> list[Object]:
    return cluster.store.list("pods", "default")


async def test_a_deployment_keeps_as_many_pods_as_it_is_told(small_cluster: Build) -> None:
    """They get nodes like any others; a pod that goes is replaced, and fewer are kept when fewer are wanted."""
    cluster = await a_cluster(small_cluster)
    cluster.store.create("deployments", a_deployment(2), namespace="default", manager="test")
    await cluster.until(lambda: counts(cluster, "deployments", "availableReplicas") == (2,))
    names = {pod["metadata"]["name"] for pod in pods(cluster)}
    assert len(cluster.new_machines()) == 2
    cluster.store.delete("pods", min(names), "default")
    await cluster.until(lambda: counts(cluster, "deployments", "availableReplicas") == (2,) and len(pods(cluster)) == 2)
    assert {pod["metadata"]["name"] for pod in pods(cluster)} - names

    def fewer(item: Object) -> None:
        item["spec"]["replicas"] = 1

    cluster.store.mutate("deployments", "buffer", "default", fewer, manager="test")
    await cluster.until(lambda: len(pods(cluster)) == 1)
    assert counts(cluster, "deployments", "observedGeneration") == (2,)


async def test_its_pods_go_with_it(small_cluster: Build) -> None:
    """The garbage collector follows the owners; a refused pod is told on the ReplicaSet, once."""
    cluster = await a_cluster(small_cluster)
    cluster.store.create("deployments", a_deployment(priorityClassName="absent"), namespace="default", manager="test")
    await asyncio.sleep(1)
    told = [message for reason, message in cluster.events() if reason == "FailedCreate"]
    assert len(told) == 1
    assert "no PriorityClass with name absent was found" in told[0]
    cluster.store.delete("deployments", "buffer", "default")
    cluster.store.create("deployments", a_deployment(), namespace="default", manager="test")
    await cluster.until(lambda: counts(cluster, "deployments", "availableReplicas") == (1,))
    cluster.store.delete("deployments", "buffer", "default")
    await cluster.until(lambda: pods(cluster) == [])


@pytest.mark.parametrize(("selector", "wanted"), [({}, 1), ({"of": "another"}, 0)])
async def test_a_daemonset_has_a_pod_on_each_node_it_selects(
    small_cluster: Build, selector: dict[str, str], wanted: int
) -> None:
    """A node that is ready gets one, and an autoscaler takes the node away in spite of it; the system node's taint
    keeps it off.
    """
    cluster = await a_cluster(small_cluster)
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists"}
    spec = {"template": template(nodeSelector=selector, tolerations=[gpu])}
    for container in spec["template"]["spec"]["containers"]:
        container["resources"] = {}
    cluster.store.create("daemonsets", {"metadata": {"name": "buffer"}, "spec": spec}, namespace="default", manager="t")
    cluster.apply(a_pod("eks"))
    await cluster.until(lambda: cluster.is_running("worker"))
    await cluster.until(
        lambda: counts(cluster, "daemonsets", "desiredNumberScheduled", "numberReady") == (wanted, wanted)
    )
    cluster.store.delete("pods", "worker", "default")
    await cluster.until(lambda: cluster.new_machines() == [])
    await cluster.until(lambda: pods(cluster) == [])
