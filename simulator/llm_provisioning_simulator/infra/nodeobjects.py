"""The Node object of a machine, in the shapes a kubelet 1.34 writes. Pure: instants come in as stamps."""

from collections.abc import Mapping
from typing import Any, Final

from llm_provisioning_simulator.infra.demand import GIB, GPU, allocatable_of
from llm_provisioning_simulator.infra.machines import Machine
from llm_provisioning_simulator.profiles import Profile

NOT_READY_TAINT: Final = "node.kubernetes.io/not-ready"

# type, reason and message of a condition that is well (recorded from kubelet 1.34.9).
_PRESSURES: Final = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)
_OS_IMAGES: Final[Mapping[str, str]] = {
    "bottlerocket": "Bottlerocket OS (aws-k8s)",
    "al2023": "Amazon Linux 2023",
    "cos": "Container-Optimized OS from Google",
    "ubuntu": "Ubuntu 22.04 LTS",
}
_PROVIDER_LABELS: Final[Mapping[str, str]] = {
    "eks": "eks.amazonaws.com/nodegroup",
    "gke": "cloud.google.com/gke-nodepool",
    "aks": "kubernetes.azure.com/agentpool",
}


def provider_label(cloud: str) -> str:
    """Return the label by which a cloud names the pool of a node."""
    return _PROVIDER_LABELS[cloud]


def new_node(machine: Machine, profile: Profile, kubernetes_version: str, at: str) -> dict[str, Any]:
    """Return the object a kubelet registers: not ready, tainted, without GPUs until a device plugin reports."""
    spec = machine.spec
    taints = [dict(taint) for taint in (*spec.taints, *machine.startup_taints)]
    return {
        "metadata": {
            "name": spec.name,
            "labels": _labels(machine),
            "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
        },
        "spec": {
            "providerID": spec.provider_id,
            "taints": [*taints, {"key": NOT_READY_TAINT, "effect": "NoSchedule"}],
        },
        "status": {
            "capacity": _capacity(machine),
            "allocatable": _allocatable(machine, profile),
            "conditions": [
                *(_condition(type_, "False", reason, message, at) for type_, reason, message in _PRESSURES),
                _condition(
                    "Ready",
                    "False",
                    "KubeletNotReady",
                    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
                    "message:Network plugin returns error: cni plugin not initialized",
                    at,
                ),
            ],
            "addresses": [
                {"type": "InternalIP", "address": machine.address},
                {"type": "Hostname", "address": spec.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": "0" * 32,
                "systemUUID": "00000000-0000-0000-0000-000000000000",
                "bootID": "00000000-0000-0000-0000-000000000000",
                "kernelVersion": "6.12.0",
                "osImage": _OS_IMAGES[machine.operating_system],
                "containerRuntimeVersion": "containerd://1.7.28",
                "kubeletVersion": f"v{kubernetes_version.removeprefix('v')}",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        },
    }


def make_ready(node: dict[str, Any], at: str) -> None:
    """Turn Ready to True and note the heartbeat."""
    _heartbeat(node, at)
    for condition in node["status"]["conditions"]:
        if condition["type"] == "Ready":
            condition.update(
                status="True", reason="KubeletReady", message="kubelet is posting ready status", lastTransitionTime=at
            )


def drop_taint(node: dict[str, Any], key: str) -> None:
    """Take a taint away."""
    node["spec"]["taints"] = [taint for taint in node["spec"].get("taints", ()) if taint["key"] != key]
    if not node["spec"]["taints"]:
        del node["spec"]["taints"]


def report(node: dict[str, Any], machine: Machine, at: str, *, gpus: int) -> None:
    """Write what the kubelet's periodic status sync knows: its GPUs and its images."""
    _heartbeat(node, at)
    for part in ("capacity", "allocatable"):
        if gpus:
            node["status"][part][GPU] = str(gpus)
    if machine.images:
        node["status"]["images"] = [
            {
                "names": [f"{local.image.repository}@{local.image.digest}", reference],
                "sizeBytes": local.image.compressed_bytes,
            }
            for reference, local in machine.images.items()
        ]


def _heartbeat(node: dict[str, Any], at: str) -> None:
    for condition in node["status"]["conditions"]:
        condition["lastHeartbeatTime"] = at


def _condition(type_: str, status: str, reason: str, message: str, at: str) -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "lastHeartbeatTime": at,
        "lastTransitionTime": at,
        "reason": reason,
        "message": message,
    }


def _labels(machine: Machine) -> dict[str, str]:
    spec = machine.spec
    labels = {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": spec.name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": spec.instance_type,
        "topology.kubernetes.io/region": spec.region,
        "topology.kubernetes.io/zone": spec.zone,
    }
    if spec.cloud == "gke" and spec.streaming:
        labels["cloud.google.com/gke-image-streaming"] = "true"
    return labels | dict(spec.labels)


def _capacity(machine: Machine) -> dict[str, str]:
    size = machine.size
    return {
        "cpu": str(size.cpu),
        "ephemeral-storage": f"{(machine.spec.data_volume_gib or 100) * 1024 * 1024}Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": f"{int(size.memory_gib * 1024 * 1024)}Ki",
        "pods": "58",
    }


def _allocatable(machine: Machine, profile: Profile) -> dict[str, str]:
    """What is left after the kubelet's share; daemonsets take theirs as pods do, here as one sum."""
    offered = allocatable_of(machine.size, profile)
    storage = (machine.spec.data_volume_gib or 100) * GIB * 9 // 10
    return _capacity(machine) | {
        "cpu": f"{int(offered['cpu'] * 1000)}m",
        "ephemeral-storage": str(storage),
        "memory": f"{int(offered['memory'] / 1024)}Ki",
    }
