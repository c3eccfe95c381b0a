"""Bottlerocket nodes on EKS, for each node autoscaler: their disks, their user data, and what cannot work.

Luna, Karpenter and managed node groups differ only in how they spell it. Sources: bottlerocket-os QUICKSTART-EKS.md
(parameter paths, /dev/xvda for the system and /dev/xvdb for data), aws-samples/bottlerocket-images-cache README (only
/dev/xvdb carries the snapshot, its size must be at least the snapshot's), botocore 1.44 (VolumeInitializationRate: 100
to 300 MiB/s, only with a snapshot), aws/karpenter-provider-aws pkg/apis/v1/ec2nodeclass.go at 1d92708 (the node class),
docs.elotl.co/luna v1.5 and elotl/GenAI-infra-stack docs/install.md at 4792e87 (Luna's values).
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import NodeProfile, Target
from airflow_llm_provisioning.core.manifests import Placement
from airflow_llm_provisioning.core.role_marks import has_selector
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.clouds.eks import user_data
from airflow_llm_provisioning.gateways.clouds.gpus import GPUS, aws_name
from airflow_llm_provisioning.gateways.clouds.nodes import NativeSetup

SYSTEM_DEVICE: Final = "/dev/xvda"
DATA_DEVICE: Final = "/dev/xvdb"
# elotl/GenAI-infra-stack docs/install.md gave both disks 80 GiB; the system disk of Bottlerocket needs far less.
SYSTEM_VOLUME_GIB: Final = 10
MIN_INITIALIZATION_RATE: Final = 100
MAX_INITIALIZATION_RATE: Final = 300
_GPU_LABEL: Final = "karpenter.k8s.aws/instance-gpu"


def wants_snapshot(profile: NodeProfile) -> bool:
    """Return whether the profile's data volume is restored from a snapshot that the preparation makes."""
    return profile.has("image_snapshot")


def wants_streaming(profile: NodeProfile) -> bool:
    """Return whether the profile's images are streamed, which EKS cannot do."""
    return profile.has("image_streaming")


def image_query(minor: str, *, gpu: bool = False, arch: str = "x86_64") -> str:
    """Return the SSM parameter that names the newest Bottlerocket AMI; `minor` may be a placeholder such as `%s`."""
    return f"/aws/service/bottlerocket/aws-k8s-{minor}{'-nvidia' if gpu else ''}/{arch}/latest/image_id"


def block_device_mappings(profile: NodeProfile) -> list[dict[str, Any]]:
    """Return the node's disks as EC2 spells them; the data volume comes from the profile's snapshot if it has one.

    A restored volume inherits the snapshot's encryption, so `Encrypted` is left to the account's default.
    A profile that wants a snapshot and has none yet raises a ConfigurationError.
    """
    if wants_snapshot(profile) and not profile.snapshot_id:
        raise ConfigurationError(
            f"The nodes of {profile.name!r} restore their data volume from a snapshot, and none is named: "
            "run the preparation (SnapshotImage) first, or set snapshot_id."
        )
    data: dict[str, Any] = {
        "VolumeSize": profile.data_volume_gib,
        "VolumeType": "gp3",
        "DeleteOnTermination": True,
    }
    for key in ("iops", "throughput"):
        if key in profile.options:
            data[key.capitalize()] = int(profile.options[key])
    if profile.snapshot_id:
        data["SnapshotId"] = profile.snapshot_id
    if profile.volume_initialization_rate_mib_s:
        data["VolumeInitializationRate"] = profile.volume_initialization_rate_mib_s
    system = {"VolumeSize": SYSTEM_VOLUME_GIB, "VolumeType": "gp3", "DeleteOnTermination": True}
    return [{"DeviceName": SYSTEM_DEVICE, "Ebs": system}, {"DeviceName": DATA_DEVICE, "Ebs": data}]


def problems(profile: NodeProfile) -> list[str]:
    """Return every reason why nodes of this profile cannot work on EKS, in sentences."""
    streaming = ["EKS has no image streaming: use a snapshot of the data volume instead."]
    return [
        *(streaming if wants_streaming(profile) else []),
        *_rate_problems(profile),
        *(_snapshot_problems(profile) if _has_snapshot(profile) else []),
        *user_data.problems(profile),
    ]


def _has_snapshot(profile: NodeProfile) -> bool:
    return wants_snapshot(profile) or profile.snapshot_id is not None


def _rate_problems(profile: NodeProfile) -> list[str]:
    found, rate = [], profile.volume_initialization_rate_mib_s
    if rate is not None and not _has_snapshot(profile):
        found.append("volume_initialization_rate_mib_s needs a snapshot: an empty volume has nothing to initialise.")
    if rate is not None and not MIN_INITIALIZATION_RATE <= rate <= MAX_INITIALIZATION_RATE:
        found.append(
            f"volume_initialization_rate_mib_s is {rate}: EC2 takes {MIN_INITIALIZATION_RATE} to "
            f"{MAX_INITIALIZATION_RATE} MiB/s."
        )
    return found


def _snapshot_problems(profile: NodeProfile) -> list[str]:
    found, options = [], profile.options
    if profile.snapshot_id and not profile.snapshot_id.startswith("snap-"):
        found.append(f"snapshot_id {profile.snapshot_id!r} is no EBS snapshot: it begins with `snap-`.")
    if options.get("auto_mode"):
        found.append("EKS Auto Mode cannot start nodes from a snapshot: its NodeClass has no snapshot field.")
    if options.get("instance_store_policy"):
        found.append(
            "instance_store_policy moves container storage to the local NVMe disks, where the snapshot's images are "
            "not: use one or the other."
        )
    size = options.get("snapshot_volume_gib")
    if size and profile.data_volume_gib < int(size):
        found.append(f"data_volume_gib is {profile.data_volume_gib}, smaller than the snapshot's {size} GiB.")
    return found


class EksLuna:
    """Nodes by Luna: Bottlerocket AMIs by SSM parameter, disks as JSON, user data as TOML."""

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return every reason why this profile cannot work, in sentences."""
        found = problems(profile)
        if profile.options.get("auto_mode"):
            found.append("Luna and EKS Auto Mode would both make nodes: switch Auto Mode off in this cluster.")
        if not profile.options.get("api_server"):
            found.append(
                "Luna's Bottlerocket nodes find their cluster through user data: set the option api_server "
                "(and cluster_certificate), as `aws eks describe-cluster` prints them."
            )
        return found

    def values(self, profile: NodeProfile, *, planned: bool = False) -> dict[str, str]:
        """Return Luna's settings; `planned`: a snapshot that is not made yet is a placeholder."""
        if planned and wants_snapshot(profile) and not profile.snapshot_id:
            profile = replace(profile, snapshot_id="snap-planned")
        return {
            "aws.isBottlerocketImage": "true",
            "aws.imageSsmQueryGeneric": image_query("%s"),
            "aws.imageSsmQueryGenericArm": image_query("%s", arch="arm64"),
            "aws.imageSsmQueryGpu": image_query("%s", gpu=True),
            "aws.blockDeviceMappings": json.dumps(block_device_mappings(profile)),
            "aws.userData": user_data.user_data(user_data.finds_cluster(profile), user_data.added_settings(profile)),
        }


class EksKarpenter:
    """Nodes by Karpenter: an EC2NodeClass."""

    kind = "EC2NodeClass"

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return every reason why this profile cannot work, in sentences."""
        options, found = profile.options, problems(profile)
        if options.get("auto_mode") and not _has_snapshot(profile):
            found.append(
                "EKS Auto Mode brings its own Karpenter: two of them in one cluster would fight over the nodes."
            )
        if not options.get("role") and not options.get("instance_profile"):
            found.append("An EC2NodeClass needs the nodes' IAM role: set the option role (or instance_profile).")
        if not options.get("discovery"):
            found.append(
                "An EC2NodeClass needs subnets and security groups: set the option discovery to the value of their "
                "karpenter.sh/discovery tag (usually the cluster's name)."
            )
        sized = [sku for sku in profile.gpu_skus if _memory_mib(sku)]
        if sized and len(profile.gpu_skus) > 1:
            found.append(
                f"gpu_skus names {sized[0]} beside others, and Karpenter tells it from the smaller GPU of that name "
                "only where it is alone: name one of them."
            )
        return found

    def node_class(self, profile: NodeProfile, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Return the EC2NodeClass. Karpenter merges its user data with its own (karpenter.sh, NodeClasses)."""
        options = profile.options
        terms = [{"tags": {"karpenter.sh/discovery": options.get("discovery", "")}}]
        spec: dict[str, Any] = {
            "amiSelectorTerms": [{"alias": options.get("ami_alias", "bottlerocket@latest")}],
            "subnetSelectorTerms": terms,
            "securityGroupSelectorTerms": [dict(term) for term in terms],
            "blockDeviceMappings": [_karpenter_device(item) for item in block_device_mappings(profile)],
        }
        for option, key in (
            ("role", "role"),
            ("instance_profile", "instanceProfile"),
            ("user_data", "userData"),
            ("instance_store_policy", "instanceStorePolicy"),
        ):
            if options.get(option):
                spec[key] = options[option]
        added = user_data.added_settings(profile)
        if added:
            spec["userData"] = user_data.user_data({}, added, str(options.get("user_data") or ""))
        return {
            "apiVersion": "karpenter.k8s.aws/v1",
            "kind": self.kind,
            "metadata": dict(metadata),
            "spec": spec,
        }

    def requirements(self, profile: NodeProfile, *, gpu: bool) -> list[dict[str, Any]]:
        """Return the requirements on the GPU's name, and on its memory where the name alone does not tell."""
        if not gpu:
            return [{"key": f"{_GPU_LABEL}-count", "operator": "DoesNotExist"}]
        found: list[dict[str, Any]] = [
            {"key": f"{_GPU_LABEL}-name", "operator": "In", "values": [aws_name(sku) for sku in profile.gpu_skus]}
        ]
        memory = {_memory_mib(sku) for sku in profile.gpu_skus} - {None}
        if memory:
            found.append({"key": f"{_GPU_LABEL}-memory", "operator": "In", "values": sorted(map(str, memory))})
        return found


class EksNative:
    """Managed node groups, which are the user's: the data of their launch template is emitted."""

    removes_nodes = True

    def problems(self, profile: NodeProfile) -> list[str]:
        """Return every reason why this profile cannot work, in sentences."""
        found = problems(profile)
        if not has_selector(profile.options):
            found.append(
                "A managed node group is yours to create (its launch template data is emitted): set the option "
                "node_selector to the labels of its nodes, as {workers: {label: value}}."
            )
        return found

    def setup(self, profile: NodeProfile) -> NativeSetup:
        """Return the launch template's data as a file."""
        text = json.dumps(managed_node_group_data(profile), indent=2) + "\n"
        return NativeSetup(files={"launch-template-data.json": text})

    def placement(self, profile: NodeProfile, group: str) -> Placement:
        """Return no marks: only the user knows the labels of the node group."""
        return Placement()


class EksNodes:
    """EKS's nodes, for every autoscaler."""

    luna = EksLuna()
    karpenter = EksKarpenter()
    native = EksNative()

    def shared_cluster_problems(self, targets: Sequence[Target]) -> list[str]:
        """Return nothing: no setting of an EKS cluster concerns its nodes' images."""
        return []


def managed_node_group_data(profile: NodeProfile) -> dict[str, Any]:
    """Return the launch template data of a managed node group (no instance profile: EKS forbids it there).

    EKS merges Bottlerocket user data of a launch template without an AMI with its own (EKS user guide, "Customize
    managed nodes with launch templates"); EC2 takes it as base64.
    """
    data: dict[str, Any] = {"BlockDeviceMappings": block_device_mappings(profile)}
    added = user_data.added_settings(profile)
    if added:
        text = user_data.user_data(user_data.finds_cluster(profile), added)
        data["UserData"] = base64.b64encode(text.encode()).decode()
    return data


def _memory_mib(sku: str) -> int | None:
    return GPUS[sku].aws_memory_mib if sku in GPUS else None


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
