"""AKS's nodes for each node autoscaler: Luna, node auto-provisioning (Karpenter), and agent pools.

Sources: Azure/karpenter-provider-azure at 352646f (AKSNodeClass.spec.artifactStreaming, label karpenter.azure.com/sku),
docs.elotl.co/luna v1.5 (azure.enableArtifactStreaming). Azure spells GPUs as their SKUs do (`A10`).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import NodeProfile, Target
from airflow_llm_provisioning.core.manifests import Placement
from airflow_llm_provisioning.gateways.clouds.node_pools import pool_placement, pool_problems, pool_setup
from airflow_llm_provisioning.gateways.clouds.nodes import NativeSetup, not_bottlerocket

_GPU_LABEL: Final = "karpenter.azure.com/sku-gpu"


def wants_streaming(profile: NodeProfile) -> bool:
    """Return whether the profile's images are streamed."""
    return profile.has("image_streaming")


class AksLuna:
    """Nodes by Luna: Artifact Streaming is a switch, said either way."""

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return every reason why this profile cannot work, in sentences."""
        return not_bottlerocket(profile)

    def values(self, profile: NodeProfile, *, planned: bool = False) -> dict[str, str]:
        """Return Luna's settings."""
        return {"azure.enableArtifactStreaming": "true" if wants_streaming(profile) else "false"}


class AksKarpenter:
    """Nodes by node auto-provisioning: an AKSNodeClass."""

    kind = "AKSNodeClass"

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return every reason why this profile cannot work, in sentences."""
        return not_bottlerocket(profile)

    def node_class(self, profile: NodeProfile, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the AKSNodeClass."""
        return {
            "apiVersion": "karpenter.azure.com/v1beta1",
            "kind": self.kind,
            "metadata": dict(metadata),
            "spec": {
                "artifactStreaming": {"enabled": wants_streaming(profile)},
                "osDiskSizeGB": profile.data_volume_gib,
            },
        }

    def requirements(self, profile: NodeProfile, *, gpu: bool) -> list[dict[str, Any]]:
        """Return the requirement on the GPU's name, or on having none."""
        if not gpu:
            return [{"key": f"{_GPU_LABEL}-count", "operator": "DoesNotExist"}]
        return [{"key": f"{_GPU_LABEL}-name", "operator": "In", "values": list(profile.gpu_skus)}]


class AksNative:
    """Agent pools that `set_up_node_pool` makes."""

    removes_nodes = True

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return every reason why this profile cannot work, in sentences."""
        return not_bottlerocket(profile) + pool_problems(profile)

    def setup(self, profile: NodeProfile) -> NativeSetup:
        """Return the pools."""
        return pool_setup(profile, pool_name, streaming=wants_streaming(profile))

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return the selector of the target's pools."""
        return pool_placement(profile, group)


class AksNodes:
    """AKS's nodes, for every autoscaler."""

    luna = AksLuna()
    karpenter = AksKarpenter()
    native = AksNative()

    def shared_cluster_problems(self, targets: Sequence[Target]) -> list[str]:
        """Return nothing: every pool and every node class says itself whether it streams."""
        return []


def pool_name(name: str, kind: str) -> str:
    """Return a pool's name: at most 12 lower-case letters and digits, a letter first."""
    short = re.sub(r"[^a-z0-9]", "", name).lstrip("0123456789") or "pool"
    return f"{short[:9]}{kind}"
