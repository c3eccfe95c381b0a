"""Nodes that simulated autoscalers keep: for CapacityBuffers, with what they say of them, and of static pools."""

from typing import Any

from infra_builders import Build, SmallCluster, a_pod

from llm_provisioning_simulator.world import NodePool


def conditions(cluster: SmallCluster) -> dict[str, tuple[str, str]]:
    found: Any = cluster.store.get("capacitybuffers", "spare", "default")
    rows = (found.get("status") or {}).get("conditions") or ()
    return {row["type"]: (row["status"], row["reason"]) for row in rows}


def create(cluster: SmallCluster, resource: str, **fields: Any) -> None:
    cluster.store.create(resource, {"metadata": {"name": "spare"}, **fields}, namespace="default", manager="test")


async def test_a_buffer_keeps_a_node_until_it_is_deleted(small_cluster: Build) -> None:
    """The cluster autoscaler's word says nothing of a node; the node comes, stays although no pod is on it, and goes
    when the buffer is gone. No pod and no event of it is in the API.
    """
    cluster = await small_cluster("gke", "native", gpu_node_register_s=60)
    cluster.cloud.feature_gates = frozenset({"CapacityBuffer"})
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    cluster.cloud.pools["gpu"] = NodePool("gpu", "g2-standard-12", 0, 2, {}, (taint,), {"L4": 1})
    create(cluster, "capacitybuffers", spec={"podTemplateRef": {"name": "spare"}, "replicas": 1})
    await cluster.until(lambda: "ReadyForProvisioning" in conditions(cluster))
    assert conditions(cluster) == {"ReadyForProvisioning": ("False", "error")}
    create(cluster, "podtemplates", template={"spec": a_pod("gke")["spec"]})
    await cluster.until(lambda: conditions(cluster).get("Provisioning") == ("True", "FakePodsInjected"))
    assert len(cluster.store.list("nodes")) == 1
    await cluster.until(lambda: len(cluster.store.list("nodes")) == 2)
    await cluster.clock.sleep(1800)
    assert len(cluster.fleet.machines) == 2
    assert not cluster.store.list("pods", "default")
    assert not any("scale-up" in message for _, message in cluster.events())
    cluster.store.delete("capacitybuffers", "spare", "default")
    await cluster.until(lambda: len(cluster.fleet.machines) == 1)


async def test_a_static_pool_keeps_its_number_and_serves_no_pod(small_cluster: Build) -> None:
    """Its nodes come without a pod and stay empty; a pod that fits on none of them gets no node of the pool."""
    cluster = await small_cluster("eks", "karpenter")
    cluster.store.create("ec2nodeclasses", {"metadata": {"name": "c"}, "spec": {}}, manager="test")
    size = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m5.xlarge"]}
    template = {"spec": {"nodeClassRef": {"kind": "EC2NodeClass", "name": "c"}, "requirements": [size]}}
    pool = {"metadata": {"name": "static"}, "spec": {"replicas": 2, "template": template}}
    cluster.store.create("nodepools", pool, manager="test")
    await cluster.clock.sleep(600)
    assert len(cluster.fleet.machines) == 1
    cluster.cloud.feature_gates = frozenset({"StaticCapacity"})
    await cluster.until(lambda: len(cluster.store.list("nodes")) == 3)
    cluster.apply(a_pod("eks", "worker"))
    await cluster.clock.sleep(1800)
    assert len(cluster.fleet.machines) == 3
    cluster.store.mutate("nodepools", "static", None, lambda item: item["spec"].update(replicas=1), manager="test")
    await cluster.until(lambda: len(cluster.fleet.machines) == 2)
