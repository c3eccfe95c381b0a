"""Karpenter: NodePools and node classes in, NodeClaims with conditions and nodes out."""

import re
from typing import Any

import pytest
from infra_builders import GIB, IMAGES, Build, SmallCluster, a_pod, a_world

from llm_provisioning_simulator.infra.autoscalers.karpenter_nodes import node_spec
from llm_provisioning_simulator.world import Snapshot

Object = dict[str, Any]


def ec2_class(**spec: Any) -> Object:
    return {
        "metadata": {"name": "serving"},
        "spec": {"amiSelectorTerms": [{"alias": "bottlerocket@latest"}], "role": "nodes"} | spec,
    }


def node_pool(name: str = "gpu", *, gpu: bool = True, kind: str = "EC2NodeClass", after: str = "30s") -> Object:
    requirements: list[Object] = [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}]
    if gpu:
        requirements.append({"key": "karpenter.k8s.aws/instance-gpu-name", "operator": "In", "values": ["l4"]})
    else:
        requirements.append({"key": "karpenter.k8s.aws/instance-gpu-count", "operator": "DoesNotExist"})
    group = "karpenter.k8s.aws" if kind == "EC2NodeClass" else "karpenter.azure.com"
    spec: Object = {
        "nodeClassRef": {"group": group, "kind": kind, "name": "serving"},
        "requirements": requirements,
    }
    if gpu:
        spec["taints"] = [{"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}]
    return {
        "metadata": {"name": name},
        "spec": {
            "template": {"metadata": {"labels": {"target": "mine"}}, "spec": spec},
            "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": after},
        },
    }


async def an_eks_cluster(small_cluster: Build, node_class: Object | None = None, **more: Any) -> SmallCluster:
    cluster: SmallCluster = await small_cluster("eks", "karpenter", **more)
    cluster.store.create("ec2nodeclasses", node_class or ec2_class(), manager="test")
    cluster.store.create("nodepools", node_pool(), manager="test")
    cluster.store.create("nodepools", node_pool("cpu", gpu=False), manager="test")
    return cluster


def a_worker(**changes: Any) -> Object:
    return a_pod("eks", nodeSelector={"target": "mine"}, **changes)


async def test_a_claims_conditions_come_in_order_and_initialized_waits_for_the_gpu(small_cluster: Build) -> None:
    """Nominated, then Launched, Registered, Initialized, Ready; Initialized no sooner than the GPU is allocatable."""
    cluster = await an_eks_cluster(small_cluster)
    cluster.apply(a_worker())
    await cluster.until(lambda: cluster.is_running("worker"))
    claims = cluster.store.list("nodeclaims")
    assert len(claims) == 1
    claim = claims[0]
    assert claim["metadata"]["name"].startswith("gpu-")
    assert all(row["status"] == "True" for row in claim["status"]["conditions"])
    nominated = dict(cluster.events("worker"))["Nominated"]
    assert nominated == f"Pod should schedule on: nodeclaim/{claim['metadata']['name']}"
    reasons = [reason for reason, _ in cluster.events(claim["metadata"]["name"])]
    assert [reason for reason in reasons if reason != "Ready"][:3] == ["Launched", "Registered", "Initialized"]
    order = []
    for _, _, resource, item in cluster.history:
        if resource == "nodes" and "nvidia.com/gpu" in item["status"]["allocatable"]:
            order.append("gpu")
        elif resource == "nodeclaims":
            rows = item["status"]["conditions"]
            order += [row["type"] for row in rows if row["type"] == "Initialized" and row["status"] == "True"]
    assert order.index("gpu") < order.index("Initialized")
    assert claim["status"]["nodeName"] == cluster.pod("worker")["spec"]["nodeName"]
    node = cluster.store.get("nodes", claim["status"]["nodeName"])
    assert node is not None
    assert node["metadata"]["labels"]["karpenter.sh/initialized"] == "true"
    assert [taint["key"] for taint in node["spec"]["taints"]] == ["nvidia.com/gpu"]


async def test_the_node_class_is_read_when_the_node_is_made(small_cluster: Build) -> None:
    """A snapshot in /dev/xvdb makes the image present; on the root device it does nothing."""
    world = a_world("eks")
    world.snapshots["snap-1"] = Snapshot("snap-1", {IMAGES["eks"]: world.images[IMAGES["eks"]].digest}, 50, "1.34")
    volume = {"snapshotID": "snap-1", "volumeSize": "80Gi", "volumeInitializationRate": 300}
    node_class = ec2_class(blockDeviceMappings=[{"deviceName": "/dev/xvdb", "ebs": volume}])
    cluster = await an_eks_cluster(small_cluster, node_class, world=world)
    cluster.apply(a_worker())
    await cluster.until(lambda: cluster.is_running("worker"))
    assert "Pulling" not in [reason for reason, _ in cluster.events("worker")]
    machine = cluster.fleet.machines[cluster.pod("worker")["spec"]["nodeName"]]
    assert (machine.spec.snapshot_id, machine.spec.data_volume_gib) == ("snap-1", 80)
    assert machine.spec.volume_initialization_rate_mib_s == 300


async def test_the_instance_store_and_other_systems_bypass_the_snapshot(small_cluster: Build) -> None:
    """RAID0 as instanceStorePolicy is kept on the node; AL2023 has no such data volume."""
    cluster = await an_eks_cluster(small_cluster)
    mappings = [{"deviceName": "/dev/xvdb", "ebs": {"snapshotID": "snap-1", "volumeSize": "80Gi"}}]
    size = cluster.ctx.profile.instance_type("g6.4xlarge")
    raid = ec2_class(blockDeviceMappings=mappings, instanceStorePolicy="RAID0")
    assert node_spec(cluster.ctx, node_pool(), raid, size)[0].instance_store_raid
    al2023 = ec2_class(blockDeviceMappings=mappings, amiSelectorTerms=[{"alias": "al2023@latest"}])
    spec, system = node_spec(cluster.ctx, node_pool(), al2023, size)
    assert (spec.snapshot_id, system) == (None, "al2023")
    root = ec2_class(blockDeviceMappings=[{"deviceName": "/dev/xvda", "ebs": mappings[0]["ebs"]}])
    assert node_spec(cluster.ctx, node_pool(), root, size)[0].snapshot_id is None


async def test_an_aks_node_class_switches_streaming(small_cluster: Build) -> None:
    """AKSNodeClass.spec.artifactStreaming.enabled decides."""
    cluster = await small_cluster("aks", "karpenter")
    size = cluster.ctx.profile.instance_type("Standard_NV36ads_A10_v5")
    pool = node_pool(kind="AKSNodeClass")
    assert node_spec(cluster.ctx, pool, {"spec": {"artifactStreaming": {"enabled": True}}}, size)[0].streaming
    assert not node_spec(cluster.ctx, pool, {"spec": {}}, size)[0].streaming


async def test_head_and_worker_get_nodes_of_their_own_pools(small_cluster: Build) -> None:
    """The taint keeps the head off the GPU pool."""
    cluster = await an_eks_cluster(small_cluster)
    cluster.apply(a_pod("eks", "head", gpu=False, nodeSelector={"target": "mine"}))
    cluster.apply(a_worker())
    await cluster.until(lambda: cluster.is_running("head") and cluster.is_running("worker"))
    pools = {
        pod: cluster.fleet.machines[cluster.pod(pod)["spec"]["nodeName"]].spec.labels["karpenter.sh/nodepool"]
        for pod in ("head", "worker")
    }
    assert pools == {"head": "cpu", "worker": "gpu"}


async def test_an_empty_node_and_its_claim_go_after_the_pools_patience(small_cluster: Build) -> None:
    """spec.disruption.consolidateAfter is read; node and claim end together."""
    cluster = await an_eks_cluster(small_cluster, node_termination_s=30)
    cluster.apply(a_worker())
    await cluster.until(lambda: cluster.is_running("worker"))
    node = cluster.pod("worker")["spec"]["nodeName"]
    cluster.store.delete("pods", "worker", "default")
    deleted_at = cluster.clock.now()
    await cluster.until(lambda: cluster.store.peek("nodes", node) is None and not cluster.store.list("nodeclaims"))
    assert 50 < (cluster.clock.now() - deleted_at).total_seconds() < 400


async def test_a_pod_no_pool_fits_is_told_so(small_cluster: Build) -> None:
    """A selector no pool satisfies: FailedScheduling by Karpenter beside the scheduler's, and no claim."""
    cluster = await an_eks_cluster(small_cluster)
    cluster.apply(a_pod("eks", nodeSelector={"target": "another"}))
    await cluster.until(lambda: any("no nodepool matched" in message for _, message in cluster.events("worker")))
    assert cluster.store.list("nodeclaims") == []


def bottlerocket_settings(snapshotter: str = "soci", mode: str = "parallel-pull-unpack", unpacks: str = "12") -> str:
    """Bottlerocket's user data as aws-samples/karpenter-blueprints has it."""
    plugin = "[settings.container-runtime-plugins.soci-snapshotter"
    return (
        f'[settings.container-runtime]\nsnapshotter = "{snapshotter}"\n'
        f'{plugin}]\npull-mode = "{mode}"\n'
        f"{plugin}.parallel-pull-unpack]\nmax-concurrent-unpacks-per-image = {unpacks}\n"
    )


NODE_CONFIG = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  featureGates:\n    FastImagePull: {gate}\n"
MIME = (
    'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="//"\n\n'
    "--//\nContent-Type: text/x-shellscript\n\n#!/bin/bash\ntrue\n"
    f"--//\nContent-Type: {{kind}}\n\n{NODE_CONFIG.format(gate='true')}--//--\n"
)


@pytest.mark.parametrize(
    ("alias", "user_data", "unpacks"),
    [
        ("bottlerocket@latest", bottlerocket_settings(), 12),
        ("bottlerocket@v1.44.0", bottlerocket_settings(), 12),
        # Bottlerocket's own default unpacks one layer after the other, as containerd does.
        ("bottlerocket@latest", bottlerocket_settings().partition("max-")[0], 1),
        ("al2023@latest", NODE_CONFIG.format(gate="true"), 12),
        ("al2023@v20250821", NODE_CONFIG.format(gate="true"), 12),
        ("al2023@latest", MIME.format(kind="application/node.eks.aws"), 12),
        # From here on nothing is gained: older systems, other settings, the other system's language, nonsense.
        ("bottlerocket@v1.43.2", bottlerocket_settings(), None),
        ("bottlerocket@latest", bottlerocket_settings(snapshotter="overlayfs"), None),
        ("bottlerocket@latest", bottlerocket_settings(mode="lazy"), None),
        ("bottlerocket@latest", bottlerocket_settings(unpacks='"12"'), None),
        ("bottlerocket@latest", NODE_CONFIG.format(gate="true"), None),
        ("bottlerocket@latest", "settings = 1 2", None),
        ("bottlerocket@latest", "", None),
        ("al2023@v20250715", NODE_CONFIG.format(gate="true"), None),
        ("al2023@latest", NODE_CONFIG.format(gate="false"), None),
        ("al2023@latest", NODE_CONFIG.format(gate="true").replace("NodeConfig", "Pod"), None),
        ("al2023@latest", MIME.format(kind="text/x-shellscript"), None),
        ("al2023@latest", bottlerocket_settings(), None),
        ("al2023@latest", "a: [", None),
    ],
)
async def test_socis_parallel_pull_is_read_from_the_node_classes_user_data(
    small_cluster: Build, alias: str, user_data: str, unpacks: int | None
) -> None:
    """The setting counts on a system that knows it, in its own language. Nothing else counts, nor does a name."""
    cluster = await an_eks_cluster(small_cluster)
    size = cluster.ctx.profile.instance_type("g6.4xlarge")
    node_class = ec2_class(amiSelectorTerms=[{"alias": alias}], userData=user_data)
    node_class["metadata"]["name"] = "soci-parallel-pull"

    spec, _ = node_spec(cluster.ctx, node_pool(), node_class, size)

    assert spec.parallel_unpacks == unpacks


async def pull_of_a_node(small_cluster: Build, **spec: Any) -> float:
    """Return the seconds that a worker's pull takes on a node of such a node class, as its events say."""
    device = {"deviceName": "/dev/xvdb", "ebs": {"volumeSize": "80Gi", "throughput": 1000}}
    node_class = ec2_class(**({"blockDeviceMappings": [device]} | spec))
    cluster = await an_eks_cluster(small_cluster, node_class, world=a_world("eks", (GIB // 2,) * 20))
    cluster.apply(a_worker())
    await cluster.until(lambda: cluster.is_running("worker"))
    (text,) = [message for _, message in cluster.events("worker") if message.startswith("Successfully pulled")]
    taken = re.search(r"in (?:(\d+)m)?([\d.]+)s", text)
    assert taken is not None
    return int(taken[1] or 0) * 60 + float(taken[2])


async def test_a_parallel_pull_is_faster_on_a_disk_that_keeps_up_and_only_there(small_cluster: Build) -> None:
    """With the setting a pull takes less than half; on a plain gp3 volume the disk decides, and the gain is gone."""
    plain_volume = [{"deviceName": "/dev/xvdb", "ebs": {"volumeSize": "80Gi"}}]

    plain = await pull_of_a_node(small_cluster)
    fast = await pull_of_a_node(small_cluster, userData=bottlerocket_settings())
    slow_disk = await pull_of_a_node(small_cluster, userData=bottlerocket_settings(), blockDeviceMappings=plain_volume)

    assert fast < 0.5 * plain
    assert slow_disk > 0.9 * plain
