"""GKE's nodes for each node autoscaler, and what holds for all nodes of a cluster.

Node auto-provisioning makes node pools by itself, from what pending pods ask for. Such pools follow the cluster's image
streaming and only that (container v1 has no gcfs field in AutoprovisioningNodePoolDefaults), and they get no GPU driver
unless a pod's selector names a version (GoogleCloudPlatform/container-engine-accelerators#402, #407).
"""

import re
from collections.abc import Sequence
from typing import Final

from airflow_llm_provisioning.core.experiment import NodeProfile, Target
from airflow_llm_provisioning.core.manifests import Placement
from airflow_llm_provisioning.core.names import LABEL_TARGET, label_value
from airflow_llm_provisioning.gateways.clouds.gpus import google_accelerators
from airflow_llm_provisioning.gateways.clouds.node_pools import pool_placement, pool_problems, pool_setup
from airflow_llm_provisioning.gateways.clouds.nodes import NativeSetup, not_bottlerocket

AUTO_PROVISIONING: Final = "auto_provisioning"
ACCELERATOR_LABEL: Final = "cloud.google.com/gke-accelerator"
DRIVER_LABEL: Final = "cloud.google.com/gke-gpu-driver-version"
DRIVER_VERSIONS: Final = ("latest", "default")


def wants_streaming(profile: NodeProfile) -> bool:
    """Return whether the profile's images are streamed; GKE reads images from a secondary boot disk only then."""
    return profile.has("image_streaming") or wants_disk(profile)


def wants_disk(profile: NodeProfile) -> bool:
    """Return whether the profile's pools have a secondary boot disk that holds the image."""
    return profile.has("preloaded_disk")


def auto_provisions(profile: NodeProfile) -> bool:
    """Return whether GKE makes this profile's pools by itself."""
    return bool(profile.options.get(AUTO_PROVISIONING))


def follows_cluster(profile: NodeProfile) -> bool:
    """Return whether a profile's nodes take the cluster's image streaming; pools of their own do not."""
    return profile.autoscaler == "luna" or auto_provisions(profile)


class GkeLuna:
    """Nodes by Luna: they stream if the cluster does, and if their service account may read the registry."""

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return every reason why this profile cannot work, in sentences."""
        found = not_bottlerocket(profile)
        if wants_streaming(profile) and not profile.options.get("node_service_account"):
            reason = "Luna's nodes on GKE stream only with a service account that may read Artifact Registry"
            found.append(f"{reason}: set the option node_service_account.")
        return found

    def values(self, profile: NodeProfile, *, planned: bool = False) -> dict[str, str]:
        """Return Luna's settings (elotl/GenAI-infra-stack docs/install.md at 4792e87)."""
        account = profile.options.get("node_service_account")
        return {"gcp.nodeServiceAccount": str(account)} if account else {}


class GkeNative:
    """Node pools that `set_up_node_pool` makes, or that node auto-provisioning makes."""

    removes_nodes = True

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return every reason why this profile cannot work, in sentences."""
        found = not_bottlerocket(profile)
        return found + (_auto_problems(profile) if auto_provisions(profile) else pool_problems(profile))

    def setup(self, profile: NodeProfile) -> NativeSetup:
        """Return the pools; with auto-provisioning there is nothing to set up. Before its disk image is prepared, a
        pool that wants one names an empty one, and `set_up_node_pool` refuses that.
        """
        if auto_provisions(profile):
            return NativeSetup()
        setup = pool_setup(profile, pool_name, streaming=wants_streaming(profile))
        if not wants_disk(profile):
            return setup
        return NativeSetup(pools=[{"disk_image": "", **pool} for pool in setup.pools])

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return the selector of the target's pools, or what makes auto-provisioning create them."""
        return _auto_placement(profile, group) if auto_provisions(profile) else pool_placement(profile, group)


class GkeNodes:
    """GKE's nodes, for every autoscaler; Karpenter does not run there."""

    luna = GkeLuna()
    karpenter = None
    native = GkeNative()

    def shared_cluster_problems(self, targets: Sequence[Target]) -> list[str]:
        """Return a sentence for each cluster whose one image streaming setting two targets want different."""
        wanted: dict[str, dict[bool, str]] = {}
        for target in targets:
            if follows_cluster(target.nodes):
                wanted.setdefault(target.cluster, {}).setdefault(wants_streaming(target.nodes), target.name)
        return [
            f"On GKE, nodes made by Luna or by auto-provisioning follow their cluster's image streaming, but target "
            f"{found[True]!r} streams on cluster {cluster!r} and {found[False]!r} does not: give each a cluster of its "
            "own, or pools of its own (autoscaler: native with gpu_instance_type)."
            for cluster, found in wanted.items()
            if len(found) > 1
        ]


def pool_name(name: str, kind: str) -> str:
    """Return a pool's name: at most 40 lower-case letters, digits and inner hyphens."""
    clean = re.sub(r"[^a-z0-9-]", "-", name).strip("-")
    return f"{clean[:36].rstrip('-')}-{kind}"


def _auto_problems(profile: NodeProfile) -> list[str]:
    found = []
    if profile.gpu_instance_type or profile.cpu_instance_type:
        found.append(
            "Node auto-provisioning chooses machine types itself: leave gpu_instance_type and cpu_instance_type out."
        )
    sku = profile.gpu_skus[0] if profile.gpu_skus else None
    if sku not in google_accelerators():
        found.append(f"Node auto-provisioning is asked for the first of gpu_skus, and GKE has no {sku!r}.")
    version = profile.options.get("driver_version", DRIVER_VERSIONS[0])
    if version not in DRIVER_VERSIONS:
        found.append(f"driver_version is one of {', '.join(DRIVER_VERSIONS)} where pools are auto-provisioned.")
    return found


def _auto_placement(profile: NodeProfile, group: str) -> Placement:
    """Return what makes auto-provisioning give a pod nodes of the target's own, and a worker's nodes a GPU that works.

    A selector and a toleration of the same key make GKE create nodes with that label and taint
    (cloud.google.com/kubernetes-engine/docs/how-to/workload-separation), so no trial lands on a node that was there.
    """
    own = label_value(profile.name)
    selector = {LABEL_TARGET: own}
    if group == "worker":
        selector[ACCELERATOR_LABEL] = google_accelerators()[profile.gpu_skus[0]][0]
        selector[DRIVER_LABEL] = str(profile.options.get("driver_version", DRIVER_VERSIONS[0]))
    toleration = {"key": LABEL_TARGET, "operator": "Equal", "value": own, "effect": "NoSchedule"}
    return Placement(node_selector=selector, tolerations=[toleration])
