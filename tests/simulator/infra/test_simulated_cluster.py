"""A whole cluster: what stands in it at the start, and that it can be reached over HTTP and stopped."""

import asyncio
from typing import Any

import aiohttp
import pytest

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.infra.cluster import SimulatedCluster
from llm_provisioning_simulator.profiles import load_profile
from llm_provisioning_simulator.world import CloudCluster, World


def a_cluster(cloud: str, autoscaler: str) -> SimulatedCluster:
    world = World()
    described = CloudCluster("demo", cloud, "us-west-2", "1.34.9", autoscaler)  # type: ignore[arg-type]
    world.clusters["demo"] = described
    return SimulatedCluster(described, world, SimClock.start(50), profile=load_profile(cloud, autoscaler), seed=7)


async def read(url: str, path: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(url + path) as answer:
        # An unknown path is answered in plain text.
        known = answer.content_type == "application/json"
        return answer.status, await answer.json() if known else {"text": await answer.text()}


@pytest.mark.parametrize(
    ("cloud", "autoscaler", "installed"),
    [
        ("eks", "luna", "/apis/apps/v1/namespaces/elotl/deployments/elotl-luna-manager"),
        ("eks", "karpenter", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/nodepools.karpenter.sh"),
        ("aks", "luna", "/api/v1/namespaces/elotl/configmaps/elotl-luna"),
        ("gke", "native", "/apis/apps/v1/namespaces/kube-system/daemonsets/nvidia-gpu-device-plugin-medium-cos"),
    ],
)
async def test_a_new_cluster_has_what_a_preflight_looks_for(cloud: str, autoscaler: str, installed: str) -> None:
    """The operator, the device plugin and the node autoscaler are found, and one tainted system node."""
    cluster = a_cluster(cloud, autoscaler)
    url = await cluster.start()
    try:
        assert (await read(url, installed))[0] == 200
        assert (await read(url, "/apis/apps/v1/namespaces/kuberay-operator/deployments/kuberay-operator"))[0] == 200
        _, nodes = await read(url, "/api/v1/nodes")
        assert [taint["key"] for node in nodes["items"] for taint in node["spec"]["taints"]] == ["CriticalAddonsOnly"]
        _, version = await read(url, "/version")
        assert version["simulated"]["cluster"] == "demo"
    finally:
        await cluster.stop()


async def test_karpenters_kinds_are_served_only_where_it_is_installed() -> None:
    """A cluster with Luna answers 404 for NodeClaims: clients must find that out by asking."""
    cluster = a_cluster("eks", "luna")
    url = await cluster.start()
    try:
        assert (await read(url, "/apis/karpenter.sh/v1/nodeclaims"))[0] == 404
    finally:
        await cluster.stop()


async def test_a_stopped_cluster_leaves_no_task_behind() -> None:
    """Stopping ends everything, twice without harm."""
    before = asyncio.all_tasks()
    cluster = a_cluster("aks", "native")
    await cluster.start()
    assert len(asyncio.all_tasks()) > len(before)
    await cluster.stop()
    await cluster.stop()
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == before


async def test_the_cloud_names_the_cluster_s_address_while_it_runs() -> None:
    """The cloud's API hands out the URL of the Kubernetes API, and none once it has stopped."""
    cluster = a_cluster("gke", "luna")
    url = await cluster.start()
    assert url.startswith("http://127.0.0.1:")
    assert cluster.description.server == url
    await cluster.stop()
    assert cluster.description.server is None
