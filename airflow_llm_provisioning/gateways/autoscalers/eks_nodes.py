"""Bottlerocket nodes on EKS, whoever makes them: their disks, their user data, and what cannot work.

Shared by Luna, Karpenter and managed node groups, which differ only in how they spell it. Sources: bottlerocket-os
QUICKSTART-EKS.md (parameter paths, /dev/xvda for the system and /dev/xvdb for data),
aws-samples/bottlerocket-images-cache README (only /dev/xvdb carries the snapshot, its size must be at least the
snapshot's), botocore 1.44 (VolumeInitializationRate: 100 to 300 MiB/s, only with a snapshot).
"""

from collections.abc import Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import NodeProfile
from airflow_llm_provisioning.exceptions import ConfigurationError

SYSTEM_DEVICE: Final = "/dev/xvda"
DATA_DEVICE: Final = "/dev/xvdb"
# elotl/GenAI-infra-stack docs/install.md gave both disks 80 GiB; the system disk of Bottlerocket needs far less.
SYSTEM_VOLUME_GIB: Final = 10
MIN_INITIALIZATION_RATE: Final = 100
MAX_INITIALIZATION_RATE: Final = 300


def image_query(minor: str, *, gpu: bool = False, arch: str = "x86_64") -> str:
    """Return the SSM parameter that names the newest Bottlerocket AMI; `minor` may be a placeholder such as `%s`."""
    return f"/aws/service/bottlerocket/aws-k8s-{minor}{'-nvidia' if gpu else ''}/{arch}/latest/image_id"


def block_device_mappings(profile: NodeProfile) -> list[dict[str, Any]]:
    """Return the node's disks as EC2 spells them; the data volume comes from the profile's snapshot if it has one.

    A restored volume inherits the snapshot's encryption, so `Encrypted` is left to the account's default.
    A profile that wants a snapshot and has none yet raises a ConfigurationError.
    """
    if profile.snapshot and not profile.snapshot_id:
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


def user_data(profile: NodeProfile) -> str:
    """Return Bottlerocket's user data (TOML) by which a node finds its cluster.

    From the profile's options `api_server`, `cluster_certificate` (base64, as describe-cluster gives it) and
    `cluster_name`.
    """
    settings = {
        "api-server": profile.options.get("api_server"),
        "cluster-certificate": profile.options.get("cluster_certificate"),
        "cluster-name": profile.options.get("cluster_name"),
    }
    lines = [f'{key} = "{value}"' for key, value in settings.items() if value]
    return "\n".join(["[settings.kubernetes]", *lines]) + "\n"


def problems(profile: NodeProfile) -> list[str]:
    """Return every reason why nodes of this profile cannot work on EKS, in sentences."""
    found = []
    rate, options = profile.volume_initialization_rate_mib_s, profile.options
    snapshot = profile.snapshot or profile.snapshot_id is not None
    if profile.streaming:
        found.append("EKS has no image streaming: use a snapshot of the data volume instead.")
    if rate is not None and not snapshot:
        found.append("volume_initialization_rate_mib_s needs a snapshot: an empty volume has nothing to initialise.")
    if rate is not None and not MIN_INITIALIZATION_RATE <= rate <= MAX_INITIALIZATION_RATE:
        found.append(
            f"volume_initialization_rate_mib_s is {rate}: EC2 takes {MIN_INITIALIZATION_RATE} to "
            f"{MAX_INITIALIZATION_RATE} MiB/s."
        )
    if profile.snapshot_id and not profile.snapshot_id.startswith("snap-"):
        found.append(f"snapshot_id {profile.snapshot_id!r} is no EBS snapshot: it begins with `snap-`.")
    if snapshot and options.get("auto_mode"):
        found.append("EKS Auto Mode cannot start nodes from a snapshot: its NodeClass has no snapshot field.")
    if snapshot and options.get("instance_store_policy"):
        found.append(
            "instance_store_policy moves container storage to the local NVMe disks, where the snapshot's images are "
            "not: use one or the other."
        )
    size = options.get("snapshot_volume_gib")
    if snapshot and size and profile.data_volume_gib < int(size):
        found.append(f"data_volume_gib is {profile.data_volume_gib}, smaller than the snapshot's {size} GiB.")
    return found


def managed_node_group_data(profile: NodeProfile) -> dict[str, Sequence[Any] | str]:
    """Return the launch template data of a managed node group (no instance profile: EKS forbids it there)."""
    return {"BlockDeviceMappings": block_device_mappings(profile)}
