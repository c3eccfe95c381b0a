"""GKE's node auto-provisioning: pools made for pods that none fits, as their selectors and the cluster say."""

from typing import Any

import pytest
from infra_builders import Build, SmallCluster, a_pod

SEPARATE = {"llm-provisioning/target": "nap"}
TOLERATION = {"key": "llm-provisioning/target", "operator": "Equal", "value": "nap", "effect": "NoSchedule"}
GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
DRIVER = {"cloud.google.com/gke-gpu-driver-version": "latest"}


async def a_cluster(small_cluster: Build, *, streaming: bool = False, provisions: bool = True) -> SmallCluster:
    cluster: SmallCluster = await small_cluster("gke", "native", gpu_node_register_s=30)
    cluster.cloud.auto_provisioning, cluster.cloud.streaming = provisions, streaming
    return cluster


def a_worker(**selector: str) -> dict[str, Any]:
    wanted = {**SEPARATE, **L4, **DRIVER} | selector
    return a_pod("gke", nodeSelector=wanted, tolerations=[TOLERATION, GPU_TOLERATION])


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_pool_is_made_that_streams_as_its_cluster_does(small_cluster: Build, streaming: bool) -> None:
    """Label, taint, GPU and machine follow from the pod; streaming from the cluster alone."""
    cluster = await a_cluster(small_cluster, streaming=streaming)
    cluster.apply(a_worker())
    await cluster.until(lambda: cluster.is_running("worker"))
    (pool,) = cluster.cloud.pools.values()
    assert pool.name.startswith("nap-g2-standard-")
    assert (dict(pool.gpu), pool.driver_installed) == ({"L4": 1}, True)
    node = cluster.store.get("nodes", cluster.pod("worker")["spec"]["nodeName"])
    assert node is not None
    assert SEPARATE.items() <= node["metadata"]["labels"].items()
    labelled = node["metadata"]["labels"].get("cloud.google.com/gke-image-streaming") == "true"
    assert labelled is streaming


async def test_without_the_drivers_label_the_gpu_never_comes(small_cluster: Build) -> None:
    """A node is made all the same, and its GPU is not offered."""
    cluster = await a_cluster(small_cluster)
    pod = a_pod("gke", nodeSelector={**SEPARATE, **L4}, tolerations=[TOLERATION, GPU_TOLERATION])
    cluster.apply(pod)
    await cluster.until(lambda: any(cluster.fleet.machines[name].state == "ready" for name in cluster.new_machines()))
    await cluster.clock.sleep(200)
    assert not cluster.is_running("worker")


@pytest.mark.parametrize(
    ("selector", "tolerations"),
    [
        ({**SEPARATE, **DRIVER}, [TOLERATION, GPU_TOLERATION]),
        ({**SEPARATE, **L4, **DRIVER}, [GPU_TOLERATION]),
        ({**SEPARATE, "cloud.google.com/gke-accelerator": "nvidia-b9000"}, [TOLERATION, GPU_TOLERATION]),
    ],
)
async def test_a_pod_that_asks_for_what_cannot_be_made_waits(
    small_cluster: Build, selector: dict[str, str], tolerations: list[dict[str, str]]
) -> None:
    """No GPU named, a label without toleration, a GPU that is not sold: no pool, and a message."""
    cluster = await a_cluster(small_cluster)
    cluster.apply(a_pod("gke", nodeSelector=selector, tolerations=tolerations))
    await cluster.until(lambda: any(reason == "NotTriggerScaleUp" for reason, _ in cluster.events("worker")))
    assert cluster.cloud.pools == {}


async def test_where_it_is_off_nothing_is_made(small_cluster: Build) -> None:
    """An ordinary cluster scales the pools it has."""
    cluster = await a_cluster(small_cluster, provisions=False)
    cluster.apply(a_worker())
    await cluster.until(lambda: any(reason == "NotTriggerScaleUp" for reason, _ in cluster.events("worker")))
    assert cluster.cloud.pools == {}


async def test_a_pool_goes_with_its_last_node(small_cluster: Build) -> None:
    """What auto-provisioning made it also removes, so the next pod's pool is made anew."""
    cluster = await a_cluster(small_cluster)
    cluster.apply(a_worker())
    await cluster.until(lambda: cluster.is_running("worker"))
    cluster.store.delete("pods", "worker", "default")
    await cluster.until(lambda: cluster.cloud.pools == {})
    assert cluster.new_machines() == []
