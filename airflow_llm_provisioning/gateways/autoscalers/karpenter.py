"""Karpenter on EKS and, as node auto-provisioning, on AKS: a node class and two node pools per target.

Several targets live side by side in one cluster, each with pools of its own label. Sources: aws/karpenter-provider-aws
docs v1.14 and pkg/apis/v1/ec2nodeclass.go at 1d92708 (fields and their rules), kubernetes-sigs/karpenter
pkg/apis/v1 (NodePool), Azure/karpenter-provider-azure at 352646f (AKSNodeClass.spec.artifactStreaming).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import NodeProfile
from airflow_llm_provisioning.core.manifests import Placement
from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, LABEL_TARGET, OWNER, label_value
from airflow_llm_provisioning.gateways.autoscalers import eks_nodes
from airflow_llm_provisioning.gateways.autoscalers.base import NodeSetup

GPU_TAINT: Final[Mapping[str, str]] = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
# A node that stays empty for this long goes, so that the next trial starts cold.
EMPTY_FOR: Final = "30s"


class Karpenter:
    """Nodes by Karpenter on EKS or AKS."""

    name = "karpenter"

    def check(self, profile: NodeProfile) -> Sequence[str]:
        """Return every reason why this profile cannot work here, in sentences; empty when it can."""
        if profile.cloud == "eks":
            return [*eks_nodes.problems(profile), *_eks_problems(profile)]
        if profile.cloud == "aks":
            return []
        return [f"Karpenter makes nodes on EKS and AKS, not on {profile.cloud!r}."]

    def setup(self, profile: NodeProfile) -> NodeSetup:
        """Return the node class and the pools for head (CPU) and worker (GPU)."""
        node_class = _ec2_node_class(profile) if profile.cloud == "eks" else _aks_node_class(profile)
        pools = [
            _node_pool(profile, "cpu", node_class, _requirements(profile, gpu=False), []),
            _node_pool(profile, "gpu", node_class, _requirements(profile, gpu=True), [dict(GPU_TAINT)]),
        ]
        return NodeSetup(manifests=[node_class, *pools])

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return the selector of this target's nodes; the GPU pool's taint keeps the head off it."""
        return Placement(node_selector=_labels(profile))

    def node_selector(self, profile: NodeProfile) -> str:
        """Return the label that this target's pools give their nodes."""
        return ",".join(f"{key}={value}" for key, value in _labels(profile).items())

    def presence(self) -> Mapping[str, str]:
        """Return the custom resource that proves Karpenter is installed."""
        return {"crd": "nodepools.karpenter.sh"}


def _eks_problems(profile: NodeProfile) -> list[str]:
    options, found = profile.options, []
    if options.get("auto_mode") and not (profile.snapshot or profile.snapshot_id):
        found.append("EKS Auto Mode brings its own Karpenter: two of them in one cluster would fight over the nodes.")
    if not options.get("role") and not options.get("instance_profile"):
        found.append("An EC2NodeClass needs the nodes' IAM role: set the option role (or instance_profile).")
    if not options.get("discovery"):
        found.append(
            "An EC2NodeClass needs subnets and security groups: set the option discovery to the value of their "
            "karpenter.sh/discovery tag (usually the cluster's name)."
        )
    return found


def _labels(profile: NodeProfile) -> dict[str, str]:
    return {LABEL_TARGET: label_value(profile.name)}


def _metadata(profile: NodeProfile, name: str) -> dict[str, Any]:
    return {"name": name, "labels": {LABEL_MANAGED_BY: OWNER, **_labels(profile)}}


def _ec2_node_class(profile: NodeProfile) -> dict[str, Any]:
    options = profile.options
    terms = [{"tags": {"karpenter.sh/discovery": options.get("discovery", "")}}]
    spec: dict[str, Any] = {
        "amiSelectorTerms": [{"alias": options.get("ami_alias", "bottlerocket@latest")}],
        "subnetSelectorTerms": terms,
        "securityGroupSelectorTerms": [dict(term) for term in terms],
        "blockDeviceMappings": [_karpenter_device(item) for item in eks_nodes.block_device_mappings(profile)],
    }
    for option, key in (
        ("role", "role"),
        ("instance_profile", "instanceProfile"),
        ("user_data", "userData"),
        ("instance_store_policy", "instanceStorePolicy"),
    ):
        if options.get(option):
            spec[key] = options[option]
    return {
        "apiVersion": "karpenter.k8s.aws/v1",
        "kind": "EC2NodeClass",
        "metadata": _metadata(profile, label_value(profile.name)),
        "spec": spec,
    }


def _karpenter_device(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an EC2 block device as Karpenter spells it (`SnapshotId` is `snapshotID`, sizes are quantities)."""
    ebs = dict(item["Ebs"])
    spelled: dict[str, Any] = {
        "volumeSize": f"{ebs['VolumeSize']}Gi",
        "volumeType": ebs["VolumeType"],
        "deleteOnTermination": ebs["DeleteOnTermination"],
    }
    names = {
        "SnapshotId": "snapshotID",
        "VolumeInitializationRate": "volumeInitializationRate",
        "Iops": "iops",
        "Throughput": "throughput",
    }
    spelled |= {names[key]: value for key, value in ebs.items() if key in names}
    return {"deviceName": item["DeviceName"], "ebs": spelled}


def _aks_node_class(profile: NodeProfile) -> dict[str, Any]:
    return {
        "apiVersion": "karpenter.azure.com/v1beta1",
        "kind": "AKSNodeClass",
        "metadata": _metadata(profile, label_value(profile.name)),
        "spec": {"artifactStreaming": {"enabled": profile.streaming}, "osDiskSizeGB": profile.data_volume_gib},
    }


def _requirements(profile: NodeProfile, *, gpu: bool) -> list[dict[str, Any]]:
    requirements = [
        _in("kubernetes.io/arch", ["amd64"]),
        _in("karpenter.sh/capacity-type", [str(profile.options.get("capacity_type", "on-demand"))]),
    ]
    instance_type = profile.gpu_instance_type if gpu else profile.cpu_instance_type
    if instance_type:
        return [*requirements, _in("node.kubernetes.io/instance-type", [instance_type])]
    vendor = "karpenter.k8s.aws/instance" if profile.cloud == "eks" else "karpenter.azure.com/sku"
    if gpu:
        # AWS knows its GPUs by lower-case names ("l4"), Azure by the SKU's own ("A10").
        skus = [sku.lower() if profile.cloud == "eks" else sku for sku in profile.gpu_skus]
        return [*requirements, _in(f"{vendor}-gpu-name", skus)]
    return [*requirements, {"key": f"{vendor}-gpu-count", "operator": "DoesNotExist"}]


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
        "kind": "NodePool",
        "metadata": _metadata(profile, f"{label_value(profile.name)}-{kind}"),
        "spec": {
            "template": {"metadata": {"labels": _labels(profile)}, "spec": template},
            "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": EMPTY_FOR},
            "limits": {"cpu": str(profile.options.get("cpu_limit", 200))},
        },
    }
