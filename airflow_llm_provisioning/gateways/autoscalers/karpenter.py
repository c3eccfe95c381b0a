"""Karpenter: a node class and two node pools per target, where the target's cloud has a node class.

Several targets can be in one cluster, each with pools of its own label. The node class and the labels that choose a GPU
are the cloud's (`gateways/clouds/<cloud>/nodes.py`). Source: kubernetes-sigs/karpenter pkg/apis/v1 (NodePool).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import NodeProfile
from airflow_llm_provisioning.core.manifests import Placement
from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, LABEL_TARGET, OWNER, label_value
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.autoscalers import patches
from airflow_llm_provisioning.gateways.autoscalers.base import ZONE_LABEL, NodeSetup, in_zone, no_marks, not_offered
from airflow_llm_provisioning.gateways.clouds.nodes import KarpenterNodes
from airflow_llm_provisioning.gateways.clouds.registry import cloud_named, each_cloud

GPU_TAINT: Final[Mapping[str, str]] = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
# A node that stays empty for this long goes, so that the next trial starts cold.
EMPTY_FOR: Final = "30s"
_POOL: Final = "NodePool"


class Karpenter:
    """Nodes by Karpenter."""

    name = "karpenter"

    def check(self, profile: NodeProfile) -> Sequence[str]:
        """Return every reason why this profile cannot work here, in sentences; empty when it can."""
        nodes = cloud_named(profile.cloud).nodes.karpenter
        if nodes is None:
            return [_not_offered(profile)]
        return [
            *nodes.problems(profile),
            *no_marks("Karpenter", profile),
            *patches.problems(profile, (nodes.kind, _POOL)),
        ]

    def setup(self, profile: NodeProfile) -> NodeSetup:
        """Return the node class and the pools for head (CPU) and worker (GPU)."""
        nodes = cloud_named(profile.cloud).nodes.karpenter
        if nodes is None:
            raise ConfigurationError(_not_offered(profile))
        node_class = nodes.node_class(profile, _metadata(profile, label_value(profile.name)))
        pools = [
            _node_pool(profile, "cpu", node_class, _requirements(profile, nodes, gpu=False), []),
            _node_pool(profile, "gpu", node_class, _requirements(profile, nodes, gpu=True), [dict(GPU_TAINT)]),
        ]
        return NodeSetup(manifests=patches.patched(profile, [node_class, *pools]))

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return the selector of this target's nodes; the GPU pool's taint keeps the head off it."""
        return in_zone(profile, Placement(node_selector=_labels(profile)))

    def node_selector(self, profile: NodeProfile) -> str:
        """Return the label that this target's pools give their nodes."""
        return ",".join(f"{key}={value}" for key, value in _labels(profile).items())

    def removes_nodes(self, profile: NodeProfile) -> bool:
        """Return that it does."""
        return True

    def presence(self) -> Mapping[str, str]:
        """Return the custom resource that proves Karpenter is installed."""
        return {"crd": "nodepools.karpenter.sh"}


def _not_offered(profile: NodeProfile) -> str:
    return not_offered("Karpenter", [cloud.title for cloud in each_cloud() if cloud.nodes.karpenter], profile.cloud)


def _labels(profile: NodeProfile) -> dict[str, str]:
    return {LABEL_TARGET: label_value(profile.name)}


def _metadata(profile: NodeProfile, name: str) -> dict[str, Any]:
    return {"name": name, "labels": {LABEL_MANAGED_BY: OWNER, **_labels(profile)}}


def _requirements(profile: NodeProfile, nodes: KarpenterNodes, *, gpu: bool) -> list[dict[str, Any]]:
    requirements = [
        _in("kubernetes.io/arch", ["amd64"]),
        _in("karpenter.sh/capacity-type", [str(profile.options.get("capacity_type", "on-demand"))]),
    ]
    if profile.zone is not None:
        requirements.append(_in(ZONE_LABEL, [profile.zone]))
    instance_type = profile.gpu_instance_type if gpu else profile.cpu_instance_type
    if instance_type:
        return [*requirements, _in("node.kubernetes.io/instance-type", [instance_type])]
    return [*requirements, *nodes.requirements(profile, gpu=gpu)]


def _in(key: str, values: list[str]) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": values}


def _node_pool(
    profile: NodeProfile,
    kind: str,
    node_class: Mapping[str, Any],
    requirements: list[dict[str, Any]],
    taints: list[dict[str, str]],
) -> dict[str, Any]:
    group = str(node_class["apiVersion"]).partition("/")[0]
    template: dict[str, Any] = {
        "nodeClassRef": {"group": group, "kind": node_class["kind"], "name": node_class["metadata"]["name"]},
        "requirements": requirements,
        # Never replaced under a running trial.
        "expireAfter": "Never",
    }
    if taints:
        template["taints"] = taints
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": _POOL,
        "metadata": _metadata(profile, f"{label_value(profile.name)}-{kind}"),
        "spec": {
            "template": {"metadata": {"labels": _labels(profile)}, "spec": template},
            "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": EMPTY_FOR},
            "limits": {"cpu": str(profile.options.get("cpu_limit", 200))},
        },
    }
