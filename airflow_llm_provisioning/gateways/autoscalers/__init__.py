"""Node autoscalers: Luna, Karpenter and the clouds' own. One file each, and one line here."""

from collections.abc import Sequence

from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments.kept_nodes import stays_after_trials
from airflow_llm_provisioning.core.trial import NODES_GONE_S
from airflow_llm_provisioning.gateways.autoscalers import luna
from airflow_llm_provisioning.gateways.autoscalers.base import NodeAutoscaler
from airflow_llm_provisioning.gateways.autoscalers.karpenter import Karpenter
from airflow_llm_provisioning.gateways.autoscalers.luna import Luna
from airflow_llm_provisioning.gateways.autoscalers.native import Native
from airflow_llm_provisioning.gateways.clouds.registry import cloud_named

AUTOSCALERS: dict[str, NodeAutoscaler] = {"luna": Luna(), "karpenter": Karpenter(), "native": Native()}


def nodes_gone_s(target: Target) -> float:
    """Return how long a target's nodes are waited for after a delete, in the cluster's clock; 0: not at all. Where a
    buffer may take them back, what is too much is waited for when the next trial opens.
    """
    if target.nodes_gone_s is not None:
        return target.nodes_gone_s
    if stays_after_trials(target.nodes):
        return 0.0
    return NODES_GONE_S if AUTOSCALERS[target.nodes.autoscaler].removes_nodes(target.nodes) else 0.0


def shared_cluster_problems(targets: Sequence[Target]) -> list[str]:
    """Return a sentence for every cluster whose one setting two targets want different, Luna's or the cloud's."""
    found = luna.shared_cluster_problems(targets)
    by_cloud: dict[str, list[Target]] = {}
    for target in targets:
        by_cloud.setdefault(target.cloud, []).append(target)
    for cloud, own in by_cloud.items():
        found += cloud_named(cloud).nodes.shared_cluster_problems(own)
    return found
