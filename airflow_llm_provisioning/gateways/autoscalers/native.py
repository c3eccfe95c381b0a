"""The cloud's own node autoscaler, or none: node pools that live in the cloud's API, chosen by a label.

On GKE and AKS the pools are set up by the cloud's gateway, unless GKE's auto-provisioning makes them; on EKS a managed
node group is the user's, and the data of its launch template is emitted; elsewhere the nodes are simply there.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import NodeProfile
from airflow_llm_provisioning.core.manifests import Placement
from airflow_llm_provisioning.core.names import LABEL_TARGET, label_value
from airflow_llm_provisioning.gateways.autoscalers import eks_nodes, gke_nodes
from airflow_llm_provisioning.gateways.autoscalers.base import NodeSetup

GPU_TAINT: Final[Mapping[str, str]] = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
MAX_NODES: Final = 4


class Native:
    """Nodes by the cloud's own autoscaler."""

    name = "native"

    def check(self, profile: NodeProfile) -> Sequence[str]:
        """Return every reason why this profile cannot work here, in sentences; empty when it can."""
        if profile.cloud == "eks":
            found = eks_nodes.problems(profile)
            if not profile.options.get("node_selector"):
                found.append(
                    "A managed node group is yours to create (its launch template data is emitted): set the option "
                    "node_selector to the labels of its nodes."
                )
            return found
        if gke_nodes.auto_provisions(profile):
            return gke_nodes.problems(profile)
        if profile.cloud in ("gke", "aks") and not profile.gpu_instance_type:
            return [
                "A node pool has one machine type: set gpu_instance_type (and cpu_instance_type for the head's pool)."
            ]
        return []

    def setup(self, profile: NodeProfile) -> NodeSetup:
        """Return the pools for the cloud's `set_up_node_pool`: the GPU pool, and the head's where it has a type."""
        if profile.cloud == "eks":
            return NodeSetup(
                files={"launch-template-data.json": json.dumps(_launch_template(profile), indent=2) + "\n"}
            )
        if profile.cloud not in ("gke", "aks") or gke_nodes.auto_provisions(profile):
            return NodeSetup()
        cpu = [_pool(profile, gpu=False)] if profile.cpu_instance_type else []
        return NodeSetup(cloud_pools=[_pool(profile, gpu=True), *cpu])

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return the selector of this target's pools, or the one the user named."""
        selector = profile.options.get("node_selector")
        if selector is not None:
            return Placement(node_selector={str(key): str(value) for key, value in dict(selector).items()})
        if gke_nodes.auto_provisions(profile):
            return gke_nodes.placement(profile, group)
        if profile.cloud not in ("gke", "aks") or (group == "head" and not profile.cpu_instance_type):
            return Placement()
        return Placement(node_selector={LABEL_TARGET: label_value(profile.name)})

    def node_selector(self, profile: NodeProfile) -> str | None:
        """Return what both head and worker select, else what the worker does; None where pods select nothing."""
        worker, head = (self.placement(profile, group).node_selector for group in ("worker", "head"))
        labels = {key: value for key, value in worker.items() if head.get(key) == value} or worker
        return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or None

    def presence(self) -> Mapping[str, str]:
        """Return nothing: a cloud's own autoscaler leaves no object to look for."""
        return {}


def _launch_template(profile: NodeProfile) -> dict[str, Any]:
    return dict(eks_nodes.managed_node_group_data(profile))


def _pool(profile: NodeProfile, *, gpu: bool) -> dict[str, Any]:
    """Return a pool as the clouds' `set_up_node_pool` takes it."""
    pool: dict[str, Any] = {
        "name": _pool_name(profile, gpu=gpu),
        "machine_type": profile.gpu_instance_type if gpu else profile.cpu_instance_type,
        "min_nodes": 0,
        "max_nodes": int(profile.options.get("max_nodes", MAX_NODES)),
        "labels": {LABEL_TARGET: label_value(profile.name)},
        "taints": [dict(GPU_TAINT)] if gpu else [],
        "streaming": profile.streaming,
        "disk_gib": profile.data_volume_gib,
    }
    if gpu:
        pool |= {"gpu_sku": profile.gpu_skus[0] if profile.gpu_skus else None, "gpu_count": 1}
    for option in ("node_service_account", "driver_version", "os_sku"):
        if profile.options.get(option):
            pool[option] = profile.options[option]
    return pool


def _pool_name(profile: NodeProfile, *, gpu: bool) -> str:
    """Return the pool's name: GKE takes 40 characters, AKS 12 lower-case letters and digits."""
    name = str(profile.options.get("pool_name") or profile.name).lower()
    if profile.cloud == "aks":
        short = re.sub(r"[^a-z0-9]", "", name).lstrip("0123456789") or "pool"
        return f"{short[:9]}{'gpu' if gpu else 'cpu'}"
    clean = re.sub(r"[^a-z0-9-]", "-", name).strip("-")
    return f"{clean[:36].rstrip('-')}-{'gpu' if gpu else 'cpu'}"
