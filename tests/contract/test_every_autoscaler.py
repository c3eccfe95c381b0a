"""The same claims against every node autoscaler, on every cloud that it is offered on."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from cluster_in_background import BackgroundCluster, ClusterThread, kubernetes_connection
from node_profiles import offered, profile

from airflow_llm_provisioning.connections import open_cluster
from airflow_llm_provisioning.core.experiment import NodeProfile
from airflow_llm_provisioning.core.manifests import GPU_TOLERATION
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
from llm_provisioning_simulator.world import NodePool

NAMES = sorted(AUTOSCALERS)
each = pytest.mark.parametrize(("autoscaler", "given"), offered())
each_alone = pytest.mark.parametrize("autoscaler", NAMES)


def test_each_is_offered_and_known_by_its_name() -> None:
    """No autoscaler is without these claims."""
    assert {parameter.values[0] for parameter in offered()} == set(NAMES)
    assert [AUTOSCALERS[name].name for name in NAMES] == NAMES


@each
def test_what_is_offered_has_no_problem_and_a_setup(autoscaler: str, given: NodeProfile) -> None:
    """Every manifest is a named object and JSON, a ConfigMap's values are text, and something is set up or emitted;
    only GKE's auto-provisioning needs nothing.
    """
    nodes = AUTOSCALERS[autoscaler]
    assert list(nodes.check(given)) == []
    setup = nodes.setup(given)
    for manifest in json.loads(json.dumps([dict(item) for item in setup.manifests])):
        assert manifest["apiVersion"]
        assert manifest["kind"]
        assert manifest["metadata"]["name"]
        assert all(isinstance(value, str) for value in manifest.get("data", {}).values())
    json.dumps([dict(pool) for pool in setup.cloud_pools])
    nothing = not (setup.manifests or setup.cloud_pools or setup.files)
    assert nothing == bool(given.options.get("auto_provisioning"))


@each
def test_what_is_rendered_is_the_same_every_time(autoscaler: str, given: NodeProfile) -> None:
    """Two renderings are equal: applying again changes nothing."""
    nodes = AUTOSCALERS[autoscaler]
    assert nodes.setup(given) == nodes.setup(given)
    assert nodes.placement(given, "worker") == nodes.placement(given, "worker")
    assert nodes.node_selector(given) == nodes.node_selector(given)


@each_alone
def test_an_unsupported_cloud_is_refused_by_name(autoscaler: str) -> None:
    """A profile for a cloud that this autoscaler does not know is refused in a sentence naming both; nodes that are
    simply there, as elsewhere than on the three clouds, are not refused.
    """
    known = {parameter.values[1].cloud for parameter in offered() if parameter.values[0] == autoscaler}
    for cloud in {"eks", "gke", "aks", "generic"} - known:
        problems = list(AUTOSCALERS[autoscaler].check(profile(cloud, autoscaler)))
        assert len(problems) == (0 if autoscaler == "native" else 1)
        assert all(cloud in item and autoscaler in item.lower() for item in problems)


@each_alone
def test_a_planned_snapshot_is_checked_before_and_demanded_at_setup(autoscaler: str) -> None:
    """A profile may want a snapshot that is not made yet; its nodes are not set up without one."""
    given = profile("eks", autoscaler, features={"image_snapshot": True}, volume_initialization_rate_mib_s=200)
    assert not [item for item in AUTOSCALERS[autoscaler].check(given) if "snapshot" in item]
    with pytest.raises(ConfigurationError, match="run the preparation"):
        AUTOSCALERS[autoscaler].setup(given)


REFUSED = [
    ({"volume_initialization_rate_mib_s": 200}, "needs a snapshot"),
    ({"snapshot_id": "snap-1", "volume_initialization_rate_mib_s": 400}, "100 to 300"),
    ({"snapshot_id": "vol-1"}, "begins with `snap-`"),
    ({"snapshot_id": "snap-1", "options": {"auto_mode": True}}, "Auto Mode cannot start nodes from a snapshot"),
    ({"snapshot_id": "snap-1", "options": {"instance_store_policy": "RAID0"}}, "one or the other"),
    ({"snapshot_id": "snap-1", "options": {"snapshot_volume_gib": 100}}, "smaller than the snapshot's 100 GiB"),
    ({"features": {"image_streaming": True}}, "no image streaming"),
]


@each_alone
@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_impossible_disks_are_refused(autoscaler: str, fields: dict[str, Any], words: str) -> None:
    """The EKS rules hold for every node autoscaler."""
    problems = AUTOSCALERS[autoscaler].check(profile("eks", autoscaler, **fields))
    assert any(words in problem for problem in problems)


@each
def test_pods_that_are_placed_get_nodes_that_its_selector_finds(
    autoscaler: str, given: NodeProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set up as it says, asked by pods that are placed as it says: it makes their nodes, and its selector finds those
    and no node that was there before. What proves that it is installed is in the cluster.
    """
    with ClusterThread(cloud=given.cloud, autoscaler=autoscaler) as cluster:
        monkeypatch.setenv("AIRFLOW_CONN_SIM", kubernetes_connection(cluster.url))
        before = set(cluster.names("nodes"))
        asyncio.run(set_up(cluster, given))
        for group in ("head", "worker"):
            cluster.create("pods", pod(given, group))
        cluster.until(lambda: all(item["spec"].get("nodeName") for item in cluster.objects("pods", "default")), 60)
        found = asyncio.run(selected(given))
        placed = {item["spec"]["nodeName"] for item in cluster.objects("pods", "default")}
        assert before
        assert placed.isdisjoint(before)
        assert placed <= found
        assert found.isdisjoint(before)


async def set_up(cluster: BackgroundCluster, given: NodeProfile) -> None:
    """Apply what the autoscaler says, as the preparation does, and see that it is there."""
    nodes = AUTOSCALERS[given.autoscaler]
    setup = nodes.setup(given)
    async with open_cluster({"conn_id": "sim"}) as opened:
        for manifest in setup.manifests:
            await opened.apply(manifest)
        signs = nodes.presence()
        if "deployment" in signs:
            namespace, _, name = signs["deployment"].partition("/")
            assert await opened.get("deployments", name, namespace) is not None
        if "crd" in signs:
            assert await opened.get("customresourcedefinitions", signs["crd"]) is not None
    pools = [*setup.cloud_pools, *users_node_group(given)]

    def into_the_cloud() -> None:
        known = cluster.world.clusters["demo"]
        known.auto_provisioning = bool(given.options.get("auto_provisioning"))
        known.pools |= {pool["name"]: world_pool(pool) for pool in pools}

    cluster.call(into_the_cloud)


async def selected(given: NodeProfile) -> set[str]:
    """Return the nodes that the autoscaler's selector finds, asked of the API server."""
    selector = AUTOSCALERS[given.autoscaler].node_selector(given)
    assert selector is not None
    async with open_cluster({"conn_id": "sim"}) as opened:
        items, _ = await opened.list("nodes", labels=selector)
    return {item["metadata"]["name"] for item in items}


def users_node_group(given: NodeProfile) -> list[dict[str, Any]]:
    """Return the managed node groups that a user on EKS makes, by the labels that the profile was told."""
    if (given.cloud, given.autoscaler) != ("eks", "native"):
        return []
    shape = {"min_nodes": 0, "max_nodes": 2, "labels": given.options["node_selector"]}
    gpu_taint = {"key": GPU_TOLERATION["key"], "value": "present", "effect": "NoSchedule"}
    return [
        {"name": "cpu", "machine_type": "m5.2xlarge", "taints": [], **shape},
        {"name": "gpu", "machine_type": "g6.4xlarge", "gpu_sku": "L4", "gpu_count": 1, "taints": [gpu_taint], **shape},
    ]


def world_pool(pool: Mapping[str, Any]) -> NodePool:
    """Return a pool as the cloud's API leaves it."""
    return NodePool(
        name=pool["name"],
        instance_type=pool["machine_type"],
        min_nodes=pool["min_nodes"],
        max_nodes=pool["max_nodes"],
        labels=dict(pool["labels"]),
        taints=tuple(pool["taints"]),
        gpu={pool["gpu_sku"] or "L4": 1} if "gpu_sku" in pool else {},
    )


def pod(given: NodeProfile, group: str) -> dict[str, Any]:
    """Return a pod of a trial, marked as the autoscaler wants it."""
    placement = AUTOSCALERS[given.autoscaler].placement(given, group)
    amounts = {"cpu": "2", "memory": "4Gi"} | ({"nvidia.com/gpu": "1"} if group == "worker" else {})
    own = [dict(GPU_TOLERATION)] if group == "worker" else []
    return {
        "metadata": {
            "name": group,
            "namespace": "default",
            "labels": dict(placement.labels),
            "annotations": dict(placement.annotations),
        },
        "spec": {
            "nodeSelector": dict(placement.node_selector),
            "tolerations": [*own, *map(dict, placement.tolerations)],
            "containers": [{"name": "c", "image": "busybox", "resources": {"requests": amounts, "limits": amounts}}],
        },
    }
