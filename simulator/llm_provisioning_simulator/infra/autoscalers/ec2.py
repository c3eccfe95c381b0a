"""What EC2's launch settings say about a node's images: the data volume, and SOCI's parallel pull in the user data.

Luna and Karpenter spell block device mappings differently, and both hand user data to EC2. A setting that an operating
system does not know changes nothing here, as it changes nothing there.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from email import message_from_string
from typing import Any, Final

import yaml

DATA_DEVICE: Final = "/dev/xvdb"
"""Bottlerocket's data volume: it holds the images."""
# bottlerocket-os/bottlerocket release 1.44.0, "Add soci-snapshotter support to kubernetes variants"; older ones ignore
# the setting. awslabs/amazon-eks-ami release v20250821 for Amazon Linux 2023.
_BOTTLEROCKET_SINCE: Final = (1, 44)
_AL2023_SINCE: Final = 20250821
# Layers of one image that are unpacked at once where nothing is set: Bottlerocket's settings reference 1.44.x
# (container-runtime-plugins) and aws-samples/karpenter-blueprints @1e0c62b, soci-snapshotter/README.md.
_BOTTLEROCKET_UNPACKS: Final = 1
_AL2023_UNPACKS: Final = 12


def data_volume(devices: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return NodeSpec's fields of the data volume. `devices`: mappings in EC2's spelling or in Karpenter's."""
    for device in devices:
        spelled = {key.lower(): value for key, value in device.items()}
        if spelled.get("devicename") == DATA_DEVICE:
            ebs = {key.lower(): value for key, value in (spelled.get("ebs") or {}).items()}
            # EC2 has numbers of GiB, Karpenter quantities (`100Gi`).
            size = re.match(r"\d+", str(ebs.get("volumesize", "")))
            return {
                "snapshot_id": ebs.get("snapshotid"),
                "data_volume_gib": int(size.group()) if size else None,
                "volume_initialization_rate_mib_s": ebs.get("volumeinitializationrate"),
                "data_volume_throughput_mib_s": ebs.get("throughput"),
            }
    return {}


def launched_with(operating_system: str, alias: str, user_data: str) -> dict[str, Any]:
    """Return NodeSpec's fields of the AMI and the user data, and what they mean for a pull; see `parallel_unpacks`."""
    unpacks = parallel_unpacks(operating_system, alias, user_data)
    return {"ami_alias": alias, "user_data": user_data, "parallel_unpacks": unpacks}


def parallel_unpacks(operating_system: str, alias: str, user_data: str) -> int | None:
    """Return how many layers of an image SOCI's parallel pull unpacks at once; None for containerd's own pull.

    `alias`: the AMI selector's (`bottlerocket@v1.53.0`, `al2023@latest`); a version that it does not name is unknown,
    and nothing is assumed of it.
    """
    if operating_system == "bottlerocket" and _has_soci(alias, _BOTTLEROCKET_SINCE):
        return _bottlerocket_unpacks(user_data)
    if operating_system == "al2023" and _has_soci(alias, (_AL2023_SINCE,)) and _fast_image_pull(user_data):
        return _AL2023_UNPACKS
    return None


def _has_soci(alias: str, since: tuple[int, ...]) -> bool:
    version = alias.partition("@")[2].removeprefix("v")
    if version == "latest":
        return True
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    return numbers[: len(since)] >= since if numbers else False


def _bottlerocket_unpacks(user_data: str) -> int | None:
    try:
        settings = tomllib.loads(user_data).get("settings", {})
    except tomllib.TOMLDecodeError:
        return None
    plugin = _at(settings, "container-runtime-plugins", "soci-snapshotter")
    chosen = _at(settings, "container-runtime").get("snapshotter") == "soci"
    if not chosen or plugin.get("pull-mode") != "parallel-pull-unpack":
        return None
    unpacks = _at(plugin, "parallel-pull-unpack").get("max-concurrent-unpacks-per-image", _BOTTLEROCKET_UNPACKS)
    return unpacks if isinstance(unpacks, int) and unpacks > 0 else None


def _fast_image_pull(user_data: str) -> bool:
    """Tell whether a NodeConfig in the user data, alone or as a part of a MIME message, has the feature gate on."""
    if not user_data.lstrip().startswith("MIME-Version"):
        return _gate(user_data)
    parts = message_from_string(user_data.lstrip()).walk()
    return any(
        part.get_content_type() == "application/node.eks.aws" and _gate(str(part.get_payload())) for part in parts
    )


def _gate(text: str) -> bool:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return False
    configs = [item for item in documents if isinstance(item, dict) and item.get("kind") == "NodeConfig"]
    return any(_at(item, "spec", "featureGates").get("FastImagePull") is True for item in configs)


def _at(tree: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        found = tree.get(key)
        tree = found if isinstance(found, Mapping) else {}
    return tree
