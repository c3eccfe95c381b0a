"""Elotl Luna: one configuration for a whole cluster, so one node profile per cluster.

Luna reads a ConfigMap whose keys are the Helm values' dotted names, and reads it only when its deployments start.
Pods are marked by a label and annotations. Sources: docs.elotl.co/luna (Configuration, v1.4 to v1.5),
elotl/GenAI-infra-stack docs/install.md at 4792e87 (the values used on EKS, GKE, AKS), elotl/skyray at 49c25bb (marks).
Luna is closed source and has no custom resources.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import NodeProfile, Target
from airflow_llm_provisioning.core.manifests import Placement
from airflow_llm_provisioning.gateways.autoscalers import eks_nodes
from airflow_llm_provisioning.gateways.autoscalers.base import NodeSetup

NAMESPACE: Final = "elotl"
CONFIG_MAP: Final = "elotl-luna"
DEPLOYMENTS: Final = ("elotl-luna-manager", "elotl-luna-webhook")


class Luna:
    """Nodes by Luna on EKS, GKE or AKS."""

    name = "luna"

    def check(self, profile: NodeProfile) -> Sequence[str]:
        """Return every reason why this profile cannot work here, in sentences; empty when it can."""
        if profile.cloud == "eks":
            return [*eks_nodes.problems(profile), *_luna_eks_problems(profile)]
        if profile.cloud == "gke":
            if profile.streaming and not profile.options.get("node_service_account"):
                reason = "Luna's nodes on GKE stream only with a service account that may read Artifact Registry"
                return [f"{reason}: set the option node_service_account."]
            return []
        if profile.cloud == "aks":
            return []
        return [f"Luna makes nodes on EKS, GKE and AKS, not on {profile.cloud!r}."]

    def setup(self, profile: NodeProfile) -> NodeSetup:
        """Return the ConfigMap, the deployments that must start again to read it, and the same as Helm values."""
        values = _values(profile)
        config_map = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
            "data": values,
        }
        return NodeSetup(
            manifests=[config_map],
            restarts=[(NAMESPACE, deployment) for deployment in DEPLOYMENTS],
            files=_files(values),
        )

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return the label by which Luna takes a pod, and the annotations that choose its instance type."""
        annotations: dict[str, str] = {}
        instance_type = profile.gpu_instance_type if group == "worker" else profile.cpu_instance_type
        if group == "worker" and profile.gpu_skus:
            annotations["node.elotl.co/instance-gpu-skus"] = ",".join(profile.gpu_skus)
        if instance_type:
            annotations["node.elotl.co/instance-type-regexp"] = f"^{instance_type}$"
        return Placement(labels={"elotl-luna": "true"}, annotations=annotations)

    def node_selector(self, profile: NodeProfile) -> str:
        """Return the mark of every node that Luna makes, whatever for (elotl's thrifty-nova manifests match on it)."""
        return "node.elotl.co/created-by=luna"

    def presence(self) -> Mapping[str, str]:
        """Return the deployment that proves Luna is installed."""
        return {"deployment": f"{NAMESPACE}/{DEPLOYMENTS[0]}"}


def shared_cluster_problems(targets: Iterable[Target]) -> list[str]:
    """Return a sentence for each cluster that two different Luna profiles share: its configuration is cluster-wide."""
    configurations: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for target in targets:
        if target.nodes.autoscaler == "luna":
            configurations[target.cluster][_wanted(target.nodes)].append(target.name)
    return [
        f"Luna has one configuration per cluster, but targets {' and '.join(names[0] for names in found.values())} "
        f"want different ones on cluster {cluster!r}: give each a cluster of its own, or use Karpenter."
        for cluster, found in configurations.items()
        if len(found) > 1
    ]


def _wanted(profile: NodeProfile) -> str:
    """Return the configuration as text to compare; a snapshot that is not made yet is still a difference."""
    planned = "snap-planned" if profile.snapshot and not profile.snapshot_id else profile.snapshot_id
    return json.dumps(_values(replace(profile, snapshot_id=planned)), sort_keys=True)


def _luna_eks_problems(profile: NodeProfile) -> list[str]:
    found = []
    if profile.options.get("auto_mode"):
        found.append("Luna and EKS Auto Mode would both make nodes: switch Auto Mode off in this cluster.")
    if not profile.options.get("api_server"):
        found.append(
            "Luna's Bottlerocket nodes find their cluster through user data: set the option api_server "
            "(and cluster_certificate), as `aws eks describe-cluster` prints them."
        )
    return found


def _values(profile: NodeProfile) -> dict[str, str]:
    if profile.cloud == "eks":
        return {
            "aws.isBottlerocketImage": "true",
            "aws.imageSsmQueryGeneric": eks_nodes.image_query("%s"),
            "aws.imageSsmQueryGenericArm": eks_nodes.image_query("%s", arch="arm64"),
            "aws.imageSsmQueryGpu": eks_nodes.image_query("%s", gpu=True),
            "aws.blockDeviceMappings": json.dumps(eks_nodes.block_device_mappings(profile)),
            "aws.userData": eks_nodes.user_data(profile),
        }
    if profile.cloud == "gke":
        account = profile.options.get("node_service_account")
        return {"gcp.nodeServiceAccount": str(account)} if account else {}
    return {"azure.enableArtifactStreaming": "true" if profile.streaming else "false"}


def _files(values: Mapping[str, str]) -> dict[str, str]:
    """Return the Helm values, with the long ones as files of their own (`--set-file`)."""
    long = {"aws.blockDeviceMappings": "block-device-mappings.json", "aws.userData": "user-data.toml"}
    files = {long[key]: value for key, value in values.items() if key in long}
    settings: list[Any] = [
        f"--set-file {key}={long[key]}" if key in long else f"--set {key}={value}" for key, value in values.items()
    ]
    return {**files, "additional-helm-values.txt": " ".join(settings) + "\n"}
