"""A node that stays after a deletion is told with what keeps it."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.kept_nodes import kept

SAFE = "cluster-autoscaler.kubernetes.io/safe-to-evict"


def node(**more: Any) -> dict[str, Any]:
    spec, status = more.pop("spec", {}), more.pop("status", {})
    return {"metadata": {"name": "n1", **more}, "spec": spec, "status": status}


def pod(name: str, owner: str = "ReplicaSet", phase: str = "Running", **annotations: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "x", "ownerReferences": [{"kind": owner}], "annotations": annotations}
    return {"metadata": metadata, "spec": {"nodeName": "n1"}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("found", "pods", "why"),
    [
        (node(), [], "empty, and its autoscaler has not removed it yet"),
        (node(), [pod("log", "DaemonSet"), pod("p", "Node"), pod("job", phase="Succeeded")], "empty, and"),
        (node(), [pod(f"d-{number}") for number in range(5)], "other pods are on it: x/d-0, x/d-1, x/d-2 and 2 more"),
        (node(), [pod("a", **{SAFE: "false"})], f"annotation {SAFE} of x/a forbids it; other pods are on it: x/a"),
        (node(), None, "which pods are on it could not be read"),
        (node(annotations={"karpenter.sh/do-not-disrupt": "true"}), [], "karpenter.sh/do-not-disrupt forbids it"),
        (node(spec={"taints": [{"key": "ToBeDeletedByClusterAutoscaler"}]}), [], "it is being drained"),
        (node(deletionTimestamp="T", finalizers=["karpenter.sh/termination"]), [],
         "deleted at T, finalizer karpenter.sh/termination is pending"),
        (node(status={"volumesAttached": [{"name": "kubernetes.io/csi/ebs.csi.aws.com^vol-1"}]}), [],
         "volumes are attached: vol-1"),
    ],
)  # fmt: skip
def test_what_keeps_a_node_is_named(found: dict[str, Any], pods: list[Any] | None, why: str) -> None:
    """Pods of DaemonSets and those that have ended keep no node."""
    (clause,) = kept([found], pods)
    assert clause.startswith("n1 (")
    assert why in clause
