"""The first process of a Ray container as KubeRay 1.7.0 writes it: `ray start` with its flags and variables. Pure."""

import math
from collections.abc import Mapping
from typing import Any, Final

from llm_provisioning_simulator.kube.quantities import quantity

Object = dict[str, Any]

AGENT_PORT: Final = 52365
SHELL: Final = ["/bin/bash", "-c", "--"]


def node_resources(group: Mapping[str, Any]) -> dict[str, float]:
    """Return the CPUs and GPUs that Ray schedules on a pod of a group. CPUs that nothing names are not limited."""
    flags = _resource_flags(group["template"]["spec"]["containers"][0], group)
    return {"CPU": _number(flags.get("num-cpus", "inf")), "GPU": _number(flags.get("num-gpus", "0"))}


def _number(text: str) -> float:
    """Return a flag's number; what is none keeps `ray start` from starting, and so the pod has nothing."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _resource_flags(main: Object, group: Mapping[str, Any]) -> dict[str, str]:
    """Return `ray start`'s flags on resources: of the container's limits, overridden by `rayStartParams`."""
    limits = (main.get("resources") or {}).get("limits") or {}
    flags = {}
    if "memory" in limits:
        flags["memory"] = str(round(quantity(limits["memory"])))
    if "cpu" in limits:
        flags["num-cpus"] = str(math.ceil(quantity(limits["cpu"])))
    if "nvidia.com/gpu" in limits:
        flags["num-gpus"] = str(limits["nvidia.com/gpu"])
    return flags | {key: str(value) for key, value in (group.get("rayStartParams") or {}).items()}


def start_command(main: Object, group: Object, flags: Mapping[str, str]) -> str:
    """Return `ray start` with its flags in the order of their names, each between two blanks, as KubeRay writes it."""
    merged = {**flags, "block": "", "dashboard-agent-listen-port": str(AGENT_PORT), "metrics-export-port": "8080"}
    merged |= _resource_flags(main, group)
    first = "ray start --head " if merged.pop("head", None) is not None else "ray start "
    return first + "".join(f" --{key}={value} " if value else f" --{key} " for key, value in sorted(merged.items()))


def finish_main(main: Object, command: str, address: str, more: list[tuple[str, str]]) -> None:
    """Give a Ray container its command, variables, metrics port and shared memory. `more`: variables of its role."""
    # A command of the user's own comes first (KubeRay, common/pod.go: `cmd args && ulimit …; ray start …`).
    own = " ".join([*_unshelled(main.get("command") or []), *(main.get("args") or [])])
    first = f"{own} && " if own else ""
    main["command"] = list(SHELL)
    main["args"] = [f"{first}ulimit -n ${{RAY_START_ULIMIT_OPEN_FILES:-65536}}; {command}"]
    env = list(main.get("env") or ())
    env += [
        env_field("RAY_CLUSTER_NAME", "metadata.labels['ray.io/cluster']"),
        env_field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
        env_field("RAY_CLOUD_INSTANCE_ID", "metadata.name"),
        env_field("RAY_NODE_TYPE_NAME", "metadata.labels['ray.io/group']"),
    ]
    values = [
        ("KUBERAY_GEN_RAY_START_CMD", command),
        ("RAY_PORT", "6379"),
        ("RAY_timeout_ms_task_wait_for_death_info", "0"),
        ("RAY_gcs_server_request_timeout_seconds", "5"),
        ("RAY_SERVE_KV_TIMEOUT_S", "5"),
        ("RAY_ADDRESS", address),
        ("RAY_USAGE_STATS_KUBERAY_IN_USE", "1"),
        *more,
        ("RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE", "1"),
    ]
    main["env"] = env + [{"name": key, "value": value} for key, value in values]
    ports = main.setdefault("ports", [])
    if all(port.get("name") != "metrics" for port in ports):
        ports.append({"name": "metrics", "containerPort": 8080})
    main["volumeMounts"] = [*(main.get("volumeMounts") or ()), {"name": "shared-mem", "mountPath": "/dev/shm"}]  # noqa: S108


def _unshelled(command: list[str]) -> list[str]:
    """Return a command without the shell that would only read its arguments."""
    shell = bool(command) and command[0].rsplit("/", 1)[-1] in ("bash", "sh")
    return [word for word in command[1:] if not word.startswith("-")] if shell else command


def env_field(name: str, path: str) -> Object:
    """Return a variable that is read from a field of the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
