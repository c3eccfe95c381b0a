"""Luna in a simulated cluster: nodes for marked pods, as its ConfigMap said when it was last restarted."""

import json
from typing import Any

from infra_builders import IMAGES, Build, SmallCluster, a_pod, a_world

from llm_provisioning_simulator.infra.autoscalers import luna
from llm_provisioning_simulator.world import Snapshot


def configure(cluster: SmallCluster, values: dict[str, str]) -> None:
    def change(item: dict[str, Any]) -> None:
        item["data"] = values

    cluster.store.mutate("configmaps", luna.CONFIG_MAP, luna.NAMESPACE, change, manager="test")


def restart(cluster: SmallCluster, at: str = "2026-01-01T00:00:00Z") -> None:
    def change(item: dict[str, Any]) -> None:
        item["spec"]["template"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": at}

    cluster.store.mutate("deployments", luna.DEPLOYMENT, luna.NAMESPACE, change, manager="test")


def bottlerocket(snapshot: str | None) -> dict[str, str]:
    ebs = {"VolumeSize": 80} | ({"SnapshotId": snapshot} if snapshot else {})
    mappings = [{"DeviceName": "/dev/xvda", "Ebs": {}}, {"DeviceName": "/dev/xvdb", "Ebs": ebs}]
    return {"aws.isBottlerocketImage": "true", "aws.blockDeviceMappings": json.dumps(mappings)}


async def test_each_marked_pod_gets_a_node_of_the_size_it_needs(small_cluster: Build) -> None:
    """Head and worker land on two new nodes: the smallest machine that holds each, and the asked-for GPU."""
    cluster = await small_cluster()
    cluster.apply(a_pod("eks", "head", gpu=False))
    cluster.apply(a_pod("eks"))
    await cluster.until(lambda: cluster.is_running("head") and cluster.is_running("worker"), what="both pods running")
    types = {
        pod: cluster.fleet.machines[cluster.pod(pod)["spec"]["nodeName"]].spec.instance_type
        for pod in ("head", "worker")
    }
    assert types == {"head": "m5.xlarge", "worker": "g6.4xlarge"}
    labels = cluster.store.get("nodes", cluster.pod("head")["spec"]["nodeName"])["metadata"]["labels"]
    assert labels["node.elotl.co/created-by"] == "luna"
    assert len(cluster.new_machines()) == 2


async def test_a_pod_without_the_mark_waits_for_ever(small_cluster: Build) -> None:
    """Luna takes pods by their label only, and the system node takes none."""
    cluster = await small_cluster()
    pod = a_pod("eks", "stranger", gpu=False)
    pod["metadata"]["labels"] = {}
    cluster.apply(pod)
    await cluster.clock.sleep(300)
    assert cluster.new_machines() == []
    reasons = cluster.events("stranger")
    assert reasons[0][0] == "FailedScheduling"
    assert "untolerated taint" in reasons[0][1]


async def test_a_configmap_counts_only_after_a_restart(small_cluster: Build) -> None:
    """An edited ConfigMap changes nothing; restarting the deployment makes the next node follow it."""
    world = a_world("eks")
    digest = world.images[IMAGES["eks"]].digest
    world.snapshots["snap-1"] = Snapshot("snap-1", {IMAGES["eks"]: digest}, 50, "1.34")
    cluster = await small_cluster(world=world)
    configure(cluster, bottlerocket("snap-1"))
    cluster.apply(a_pod("eks", "before"))
    await cluster.until(lambda: cluster.is_running("before"))
    assert cluster.fleet.machines[cluster.pod("before")["spec"]["nodeName"]].spec.snapshot_id is None
    assert any(reason == "Pulling" for reason, _ in cluster.events("before"))

    restart(cluster)
    await cluster.clock.sleep(30)
    cluster.apply(a_pod("eks", "after"))
    await cluster.until(lambda: cluster.is_running("after"))
    machine = cluster.fleet.machines[cluster.pod("after")["spec"]["nodeName"]]
    assert machine.spec.snapshot_id == "snap-1"
    assert machine.operating_system == "bottlerocket"
    reasons = [reason for reason, _ in cluster.events("after")]
    assert "Pulling" not in reasons
    assert any("already present on machine" in message for _, message in cluster.events("after"))
    rates = [
        ctx.delivery.first_touch_bytes_s for ctx in cluster.runtime.started if ctx.pod["metadata"]["name"] == "after"
    ]
    assert all(rates)


async def test_a_node_without_pods_goes_five_minutes_later(small_cluster: Build) -> None:
    """The node object is removed after the unneeded time and its termination, and not before."""
    cluster = await small_cluster(scale_down_after_s=300, node_termination_s=30)
    cluster.apply(a_pod("eks", "head", gpu=False))
    await cluster.until(lambda: cluster.is_running("head"))
    node = cluster.pod("head")["spec"]["nodeName"]
    cluster.store.delete("pods", "head", "default")
    await cluster.until(lambda: cluster.store.peek("pods", "head", "default") is None)
    empty_at = cluster.clock.now()
    await cluster.until(lambda: cluster.store.peek("nodes", node) is None)
    assert 250 < (cluster.clock.now() - empty_at).total_seconds() < 900
    assert ("RemovingNode", f"Node {node} event: Removing Node {node} from Controller") in cluster.events(node)
    assert cluster.world.nodes.keys().isdisjoint({"node"})
    assert node not in {spec.name for spec in cluster.world.nodes.values()}


async def test_a_machine_whose_pod_was_deleted_serves_the_next_one(small_cluster: Build) -> None:
    """A booting node is promised again instead of asking for a second one."""
    cluster = await small_cluster()
    cluster.apply(a_pod("eks", "first"))
    await cluster.until(lambda: len(cluster.new_machines()) == 1)
    cluster.store.delete("pods", "first", "default")
    cluster.apply(a_pod("eks", "second"))
    await cluster.until(lambda: cluster.is_running("second"))
    assert len(cluster.new_machines()) == 1


async def test_gke_nodes_stream_only_with_an_account_and_the_clusters_setting(small_cluster: Build) -> None:
    """Luna's GKE nodes take streaming from the cluster, and only when they have an account that may read it."""
    cluster = await small_cluster("gke")
    size = cluster.ctx.profile.instance_type("g2-standard-12")
    account = {"gcp.nodeServiceAccount": "nodes@project.iam.gserviceaccount.com"}
    assert not luna.node_spec(cluster.ctx, size, account)[0].streaming
    cluster.cloud.streaming = True
    assert luna.node_spec(cluster.ctx, size, account)[0].streaming
    assert not luna.node_spec(cluster.ctx, size, {})[0].streaming


async def test_aks_nodes_stream_as_the_configmap_says(small_cluster: Build) -> None:
    """azure.enableArtifactStreaming is what decides."""
    cluster = await small_cluster("aks")
    size = cluster.ctx.profile.instance_type("Standard_NV36ads_A10_v5")
    assert luna.node_spec(cluster.ctx, size, {"azure.enableArtifactStreaming": "true"})[0].streaming
    assert not luna.node_spec(cluster.ctx, size, {"azure.enableArtifactStreaming": "false"})[0].streaming


async def test_a_snapshot_counts_on_bottlerocket_only(small_cluster: Build) -> None:
    """Another system does not keep its images on that volume."""
    cluster = await small_cluster()
    size = cluster.ctx.profile.instance_type("g6.4xlarge")
    values = bottlerocket("snap-1")
    assert luna.node_spec(cluster.ctx, size, values)[0].snapshot_id == "snap-1"
    spec, system = luna.node_spec(cluster.ctx, size, values | {"aws.isBottlerocketImage": "false"})
    assert (spec.snapshot_id, system) == (None, "al2023")


async def test_the_device_plugin_has_a_pod_of_its_own_on_every_gpu_node(small_cluster: Build) -> None:
    """Two GPU nodes of one EKS cluster: two pods of the DaemonSet, told apart by name."""
    cluster: SmallCluster = await small_cluster("eks", "luna")
    cluster.apply(a_pod("eks", "first"))
    cluster.apply(a_pod("eks", "second"))
    await cluster.until(lambda: cluster.is_running("first") and cluster.is_running("second"))
    plugins = [pod for pod in cluster.store.list("pods", "kube-system") if pod["spec"].get("nodeName")]
    assert len({pod["spec"]["nodeName"] for pod in plugins}) == 2
    assert len({pod["metadata"]["name"] for pod in plugins}) == 2
