"""What a pod asks of a node and what a node has: Kubernetes quantities as plain numbers. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llm_provisioning_simulator.profiles import InstanceType, Profile

GPU: Final = "nvidia.com/gpu"
GIB: Final = 1024**3

_SUFFIXES: Final[Mapping[str, float]] = {
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 1024.0,
    "Mi": 1024.0**2,
    "Gi": 1024.0**3,
    "Ti": 1024.0**4,
}


def quantity(text: str | float) -> float:
    """Read a Kubernetes quantity: `500m`, `8Gi`, `2`, 1."""
    if isinstance(text, (int, float)):
        return float(text)
    for length in (2, 1):
        factor = _SUFFIXES.get(text[-length:])
        if factor is not None:
            return float(text[:-length]) * factor
    return float(text)


def pod_demand(pod: Mapping[str, Any]) -> dict[str, float]:
    """Return what the scheduler reserves for a pod: the sum of its containers, or its largest init container."""
    spec = pod["spec"]
    total: dict[str, float] = {}
    for container in spec.get("containers", ()):
        for name, amount in _requests(container):
            total[name] = total.get(name, 0.0) + amount
    for container in spec.get("initContainers", ()):
        for name, amount in _requests(container):
            total[name] = max(total.get(name, 0.0), amount)
    return total


def missing(demand: Mapping[str, float], room: Mapping[str, float]) -> list[str]:
    """Return the resources of which a node has too little, by name."""
    return sorted(name for name, amount in demand.items() if amount > room.get(name, 0.0) + 1e-9)


def room_left(allocatable: Mapping[str, str], pods: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return what is left of a node's allocatable resources beside the pods that are on it."""
    room = {name: quantity(amount) for name, amount in allocatable.items()}
    for pod in pods:
        for name, amount in pod_demand(pod).items():
            room[name] = room.get(name, 0.0) - amount
    return room


def allocatable_of(size: InstanceType, profile: Profile) -> dict[str, float]:
    """Return what a machine size offers to pods, its GPUs included, less what the kubelet and daemonsets keep."""
    kept = profile.value("reserved_cpu") + profile.value("daemon_cpu")
    offered = {
        "cpu": round(size.cpu - kept, 3),
        "memory": size.memory_gib * GIB * (1 - profile.value("reserved_memory_ratio")),
    }
    if size.gpus:
        offered[GPU] = float(size.gpus)
    return offered


def _requests(container: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    resources = container.get("resources") or {}
    merged = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return [(name, quantity(amount)) for name, amount in merged.items()]
