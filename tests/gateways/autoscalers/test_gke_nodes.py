"""GKE's auto-provisioned nodes, and the one streaming setting that all of a cluster's such nodes follow."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.experiment import NodeProfile, Target
from airflow_llm_provisioning.core.names import LABEL_TARGET
from airflow_llm_provisioning.gateways.autoscalers.native import Native
from airflow_llm_provisioning.gateways.clouds.gke.nodes import GkeNodes

STREAMING = {"image_streaming": True}


def profile(name: str = "t", *, autoscaler: str = "native", auto: bool = True, **fields: Any) -> NodeProfile:
    options = {**({"auto_provisioning": True} if auto else {}), **fields.pop("options", {})}
    known: dict[str, Any] = {"kubernetes_minor": "1.33", "gpu_skus": ("L4",), **fields}
    return NodeProfile(name, "gke", autoscaler, options=options, **known)  # type: ignore[arg-type]


def target(name: str, cluster: str, **fields: Any) -> Target:
    return Target(name, cluster, "c", profile(name, **fields), ("improved",))


def test_auto_provisioning_sets_up_nothing_and_needs_no_machine_type() -> None:
    """Pools are GKE's own business then."""
    assert list(Native().check(profile())) == []
    assert Native().setup(profile()).cloud_pools == ()


def test_a_worker_asks_for_its_gpu_and_for_its_driver() -> None:
    """Without the driver's label an auto-provisioned node never offers its GPU."""
    placed = Native().placement(profile(), "worker")
    assert placed.node_selector["cloud.google.com/gke-accelerator"] == "nvidia-l4"
    assert placed.node_selector["cloud.google.com/gke-gpu-driver-version"] == "latest"
    default = Native().placement(profile(options={"driver_version": "default"}), "worker")
    assert default.node_selector["cloud.google.com/gke-gpu-driver-version"] == "default"


@pytest.mark.parametrize("group", ["head", "worker"])
def test_every_pod_gets_nodes_of_the_target_alone(group: str) -> None:
    """Selector and toleration of the same key: GKE makes nodes with that label and taint."""
    placed = Native().placement(profile("gke-nap"), group)
    (toleration,) = placed.tolerations
    assert placed.node_selector[LABEL_TARGET] == toleration["value"] == "gke-nap"
    assert toleration["key"] == LABEL_TARGET


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gpu_instance_type": "g2-standard-12"}, "chooses machine types itself"),
        ({"cpu_instance_type": "e2-standard-4"}, "chooses machine types itself"),
        ({"gpu_skus": ("A10G",)}, "GKE has no 'A10G'"),
        ({"options": {"driver_version": "LATEST"}}, "latest, default"),
    ],
)
def test_what_auto_provisioning_cannot_do_is_named(fields: dict[str, Any], said: str) -> None:
    """Before anything is made, in a sentence."""
    (problem,) = Native().check(profile(**fields))
    assert said in problem


@pytest.mark.parametrize("kind", [{"auto": True}, {"auto": False, "autoscaler": "luna"}])
def test_a_plain_and_a_streaming_target_cannot_share_the_clusters_setting(kind: dict[str, Any]) -> None:
    """Nodes of Luna and of auto-provisioning follow the cluster: one target each."""
    plain, fast = target("plain", "one", **kind), target("fast", "one", features=STREAMING, **kind)
    (problem,) = GkeNodes().shared_cluster_problems([plain, fast])
    assert "'fast' streams on cluster 'one' and 'plain' does not" in problem
    apart = target("fast", "two", features=STREAMING, **kind)
    assert GkeNodes().shared_cluster_problems([plain, apart]) == []


def test_pools_of_their_own_may_share_a_cluster() -> None:
    """A pool says itself whether it streams."""
    kind: dict[str, Any] = {"auto": False, "gpu_instance_type": "g2-standard-12"}
    assert (
        GkeNodes().shared_cluster_problems([target("a", "one", **kind), target("b", "one", features=STREAMING, **kind)])
        == []
    )
