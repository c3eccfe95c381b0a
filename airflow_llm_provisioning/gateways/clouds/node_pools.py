"""A node profile as pools that live in a cloud's API: the GPU pool, and the head's where it has a machine type.

For clouds whose `set_up_node_pool` takes such pools. Only how a pool may be named differs between them.
"""

from collections.abc import Callable
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import NodeProfile
from airflow_llm_provisioning.core.manifests import GPU_TOLERATION, Placement
from airflow_llm_provisioning.core.names import LABEL_TARGET, label_value
from airflow_llm_provisioning.gateways.clouds.nodes import NativeSetup

MAX_NODES: Final = 4
_PASSED_ON: Final = ("node_service_account", "driver_version", "os_sku", "disk_image")


def pool_problems(profile: NodeProfile) -> list[str]:
    """Return why no pool can be made of a profile."""
    if profile.gpu_instance_type:
        return []
    return ["A node pool has one machine type: set gpu_instance_type (and cpu_instance_type for the head's pool)."]


def pool_setup(profile: NodeProfile, name: Callable[[str, str], str], *, streaming: bool) -> NativeSetup:
    """Return the pools. `name`: (the profile's name or its option `pool_name`, `gpu` or `cpu`) -> the pool's name."""
    cpu = [_pool(profile, name, gpu=False, streaming=streaming)] if profile.cpu_instance_type else []
    return NativeSetup(pools=[_pool(profile, name, gpu=True, streaming=streaming), *cpu])


def pool_placement(profile: NodeProfile, group: str) -> Placement:
    """Return the selector of the target's pools; a head without a pool of its own goes anywhere."""
    if group == "head" and not profile.cpu_instance_type:
        return Placement()
    return Placement(node_selector={LABEL_TARGET: label_value(profile.name)})


def _pool(profile: NodeProfile, name: Callable[[str, str], str], *, gpu: bool, streaming: bool) -> dict[str, Any]:
    wanted = str(profile.options.get("pool_name") or profile.name).lower()
    pool: dict[str, Any] = {
        "name": name(wanted, "gpu" if gpu else "cpu"),
        "machine_type": profile.gpu_instance_type if gpu else profile.cpu_instance_type,
        "min_nodes": 0,
        "max_nodes": int(profile.options.get("max_nodes", MAX_NODES)),
        "labels": {LABEL_TARGET: label_value(profile.name)},
        "taints": [{"key": GPU_TOLERATION["key"], "value": "present", "effect": "NoSchedule"}] if gpu else [],
        "streaming": streaming,
        "disk_gib": profile.data_volume_gib,
    }
    if profile.zone is not None:
        pool["zones"] = [profile.zone]
    if gpu:
        pool |= {"gpu_sku": profile.gpu_skus[0] if profile.gpu_skus else None, "gpu_count": 1}
    return pool | {option: profile.options[option] for option in _PASSED_ON if profile.options.get(option)}
