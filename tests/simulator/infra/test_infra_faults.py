"""Faults of nodes and images, switched while the cluster runs, and what each autoscaler says of them."""

import pytest
from infra_builders import Build, SmallCluster, a_pod, a_world
from test_infra_karpenter import an_eks_cluster
from test_infra_native import a_gke_cluster, gpu_pool

from llm_provisioning_simulator.infra.nodes import LaunchRefusedError
from llm_provisioning_simulator.world import NodeSpec, Snapshot


def reasons(cluster: SmallCluster, about: str = "worker") -> list[str]:
    return [reason for reason, _ in cluster.events(about)]


async def test_luna_says_that_the_quota_is_used_up_and_tries_again(small_cluster: Build) -> None:
    """The scheduler's event and Luna's, no machine; when the quota is raised the pod runs after all."""
    cluster = await small_cluster()
    cluster.ctx.faults.quota_refused = True
    cluster.apply(a_pod("eks"))
    await cluster.until(lambda: "NodeCreationFailed" in reasons(cluster))
    assert "FailedScheduling" in reasons(cluster)
    assert "VcpuLimitExceeded" in dict(cluster.events("worker"))["NodeCreationFailed"]
    assert cluster.new_machines() == []
    cluster.ctx.faults.quota_refused = False
    await cluster.until(lambda: cluster.is_running("worker"))


async def test_the_cluster_autoscaler_backs_off_from_a_refused_pool(small_cluster: Build) -> None:
    """FailedToScaleUpGroup on its status ConfigMap, NotTriggerScaleUp on the pod."""
    cluster = await a_gke_cluster(small_cluster, gpu_pool())
    cluster.ctx.faults.quota_refused = True
    cluster.apply(a_pod("gke", nodeSelector={"pool": "gpu"}))
    await cluster.until(lambda: "NotTriggerScaleUp" in reasons(cluster))
    assert dict(cluster.events("worker"))["NotTriggerScaleUp"].endswith("1 in backoff after failed scale-up")
    assert "QUOTA_EXCEEDED" in dict(cluster.events("cluster-autoscaler-status"))["FailedToScaleUpGroup"]


async def test_karpenter_deletes_the_claim_that_was_refused(small_cluster: Build) -> None:
    """An event about the capacity, and no NodeClaim left."""
    cluster = await an_eks_cluster(small_cluster)
    cluster.ctx.faults.quota_refused = True
    cluster.apply(a_pod("eks", nodeSelector={"target": "mine"}))
    await cluster.until(lambda: any(reason == "InsufficientCapacityError" for reason, _ in cluster.events()))
    assert cluster.store.list("nodeclaims") == []


async def test_a_node_that_never_joins_leaves_no_object(small_cluster: Build) -> None:
    """The machine runs and costs, the pod stays pending, and the machine goes once the pod is deleted."""
    cluster = await small_cluster()
    cluster.ctx.faults.node_never_joins = True
    cluster.apply(a_pod("eks"))
    await cluster.clock.sleep(300)
    assert len(cluster.new_machines()) == 1
    assert len(cluster.store.list("nodes")) == 1
    cluster.store.delete("pods", "worker", "default")
    await cluster.until(lambda: cluster.new_machines() == [])


async def test_the_cluster_autoscaler_gives_up_after_a_quarter_of_an_hour(small_cluster: Build) -> None:
    """max-node-provision-time: the machine that did not join is removed."""
    cluster = await a_gke_cluster(small_cluster, gpu_pool())
    cluster.ctx.faults.node_never_joins = True
    cluster.apply(a_pod("gke", nodeSelector={"pool": "gpu"}))
    await cluster.until(lambda: len(cluster.new_machines()) == 1)
    launched_at = cluster.clock.now()
    await cluster.until(lambda: cluster.new_machines() == [])
    assert 850 < (cluster.clock.now() - launched_at).total_seconds() < 1500


async def test_a_missing_image_backs_off_in_repeated_events(small_cluster: Build) -> None:
    """ErrImagePull and ImagePullBackOff take turns in the init container; it runs once the registry answers."""
    cluster = await small_cluster()
    cluster.ctx.faults.image_pull_backoff = True
    cluster.apply(a_pod("eks"))
    await cluster.until(lambda: reasons(cluster).count("BackOff") == 1)
    await cluster.until(
        lambda: any(e["reason"] == "BackOff" and e["count"] >= 2 for e in cluster.store.list("events", "default"))
    )
    failed = [message for reason, message in cluster.events("worker") if reason == "Failed"]
    assert failed[0].startswith("Failed to pull image")
    assert failed[1:] == ["Error: ErrImagePull", "Error: ImagePullBackOff"]
    waiting = {
        item["status"]["initContainerStatuses"][0]["state"].get("waiting", {}).get("reason")
        for _, _, resource, item in cluster.history
        if resource == "pods" and item["status"].get("initContainerStatuses") and item["metadata"]["name"] == "worker"
    }
    assert {"ErrImagePull", "ImagePullBackOff"} <= waiting
    cluster.ctx.faults.image_pull_backoff = False
    await cluster.until(lambda: cluster.is_running("worker"))


async def test_a_registry_that_is_not_attached_refuses_the_nodes_of_aks(small_cluster: Build) -> None:
    """The kubelet's identity has no role there: no pod starts, and the registry's 401 is in the events."""
    cluster = await small_cluster("aks")
    cluster.world.aks_attached.clear()
    cluster.apply(a_pod("aks"))
    await cluster.until(lambda: "BackOff" in reasons(cluster))
    assert any("acme.azurecr.io/oauth2/token: 401 Unauthorized" in message for _, message in cluster.events("worker"))
    cluster.world.aks_attached.add(("demo", "acme.azurecr.io"))
    await cluster.until(lambda: cluster.is_running("worker"))


async def test_a_tag_nobody_pushed_is_missing_without_any_fault(small_cluster: Build) -> None:
    """A reference that no registry knows cannot be pulled."""
    cluster = await small_cluster()
    cluster.world.images.clear()
    cluster.apply(a_pod("eks"))
    await cluster.until(lambda: "BackOff" in reasons(cluster))
    assert any("not found" in message for _, message in cluster.events("worker"))


async def test_a_volume_smaller_than_its_snapshot_is_refused(small_cluster: Build) -> None:
    """EC2 makes no volume below the snapshot's size, and none from a snapshot that is not there."""
    world = a_world("eks")
    world.snapshots["snap-1"] = Snapshot("snap-1", {}, 100)
    cluster = await small_cluster(world=world)
    size = cluster.ctx.profile.instance_type("g6.4xlarge")
    spec = NodeSpec(
        "demo", "n", "eks", "us-west-2", "us-west-2a", size.name, {}, snapshot_id="snap-1", data_volume_gib=80
    )
    with pytest.raises(LaunchRefusedError, match="smaller than snapshot"):
        cluster.fleet.launch(spec, size, "bottlerocket")
    del world.snapshots["snap-1"]
    with pytest.raises(LaunchRefusedError, match=r"InvalidSnapshot\.NotFound"):
        cluster.fleet.launch(spec, size, "bottlerocket")
    assert cluster.new_machines() == []
