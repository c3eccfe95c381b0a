"""What only GKE's nodes need: those that node auto-provisioning makes, and what holds for all nodes of a cluster.

Auto-provisioning makes node pools by itself, from what pending pods ask for. Such pools follow the cluster's image
streaming and only that (container v1 has no gcfs field in AutoprovisioningNodePoolDefaults), and they get no GPU driver
unless a pod's selector names a version (GoogleCloudPlatform/container-engine-accelerators#402, #407).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from airflow_llm_provisioning.core.experiment import NodeProfile, Target
from airflow_llm_provisioning.core.manifests import Placement
from airflow_llm_provisioning.core.names import LABEL_TARGET, label_value

OPTION: Final = "auto_provisioning"
ACCELERATOR_LABEL: Final = "cloud.google.com/gke-accelerator"
DRIVER_LABEL: Final = "cloud.google.com/gke-gpu-driver-version"
DRIVER_VERSIONS: Final = ("latest", "default")
# GKE's names of the GPUs: cloud.google.com/compute/docs/gpus
ACCELERATORS: Final[Mapping[str, str]] = {
    "L4": "nvidia-l4",
    "T4": "nvidia-tesla-t4",
    "A100": "nvidia-tesla-a100",
    "A100-80GB": "nvidia-a100-80gb",
    "H100": "nvidia-h100-80gb",
}


def auto_provisions(profile: NodeProfile) -> bool:
    """Say whether GKE makes this profile's pools by itself."""
    return profile.cloud == "gke" and bool(profile.options.get(OPTION))


def problems(profile: NodeProfile) -> Sequence[str]:
    """Return every reason why auto-provisioning cannot make this profile's nodes, in sentences."""
    found = []
    if profile.gpu_instance_type or profile.cpu_instance_type:
        found.append(
            "Node auto-provisioning chooses machine types itself: leave gpu_instance_type and cpu_instance_type out."
        )
    sku = profile.gpu_skus[0] if profile.gpu_skus else None
    if sku not in ACCELERATORS:
        found.append(f"Node auto-provisioning is asked for the first of gpu_skus, and GKE has no {sku!r}.")
    version = profile.options.get("driver_version", DRIVER_VERSIONS[0])
    if version not in DRIVER_VERSIONS:
        found.append(f"driver_version is one of {', '.join(DRIVER_VERSIONS)} where pools are auto-provisioned.")
    return found


def placement(profile: NodeProfile, group: str) -> Placement:
    """Return what makes auto-provisioning give a pod nodes of the target's own, and a worker's nodes a GPU that works.

    A selector and a toleration of the same key make GKE create nodes with that label and taint
    (cloud.google.com/kubernetes-engine/docs/how-to/workload-separation), so no trial lands on a node that was there.
    """
    own = label_value(profile.name)
    selector = {LABEL_TARGET: own}
    if group == "worker":
        selector[ACCELERATOR_LABEL] = ACCELERATORS[profile.gpu_skus[0]]
        selector[DRIVER_LABEL] = str(profile.options.get("driver_version", DRIVER_VERSIONS[0]))
    toleration = {"key": LABEL_TARGET, "operator": "Equal", "value": own, "effect": "NoSchedule"}
    return Placement(node_selector=selector, tolerations=[toleration])


def follows_cluster(profile: NodeProfile) -> bool:
    """Say whether a GKE profile's nodes take the cluster's image streaming: pools of its own would not."""
    return profile.cloud == "gke" and (profile.autoscaler == "luna" or auto_provisions(profile))


def shared_cluster_problems(targets: Iterable[Target]) -> list[str]:
    """Return a sentence for each cluster whose one image streaming setting two targets want different."""
    wanted: dict[str, dict[bool, str]] = {}
    for target in targets:
        if follows_cluster(target.nodes):
            wanted.setdefault(target.cluster, {}).setdefault(target.nodes.streaming, target.name)
    return [
        f"On GKE, nodes made by Luna or by auto-provisioning follow their cluster's image streaming, but target "
        f"{found[True]!r} streams on cluster {cluster!r} and {found[False]!r} does not: give each a cluster of its "
        "own, or pools of its own (autoscaler: native with gpu_instance_type)."
        for cluster, found in wanted.items()
        if len(found) > 1
    ]
