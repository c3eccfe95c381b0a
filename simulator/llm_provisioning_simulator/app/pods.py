"""The objects KubeRay 1.7.0 makes of a RayService: RayCluster, services, head and worker pods, as recorded.

Pure: dicts in, dicts out. What the API server fills in (defaults, tokens, ids) is not added here.
"""

import base64
import copy
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final

from llm_provisioning_simulator.kube.quantities import quantity

Object = dict[str, Any]

KUBERAY: Final = "v1.7.0"
ENDPOINTS: Final[Mapping[str, int]] = {
    "client": 10001,
    "dashboard": 8265,
    "gcs-server": 6379,
    "metrics": 8080,
    "serve": 8000,
}
_OPERATOR: Final[Mapping[str, str]] = {
    "app.kubernetes.io/created-by": "kuberay-operator",
    "app.kubernetes.io/name": "kuberay",
}
_AGENT_PORT: Final = 52365
HASH: Final = "ray.io/hash-without-replicas-and-workers-to-delete"
NUM_GROUPS: Final = "ray.io/num-worker-groups"
_SHELL: Final = ["/bin/bash", "-c", "--"]
_RAYLET_HEALTH: Final = f"http://localhost:{_AGENT_PORT}/api/local_raylet_healthz"
_WORKER_PROBE: Final = (
    f"wget --tries 1 -T 2 -q -O- {_RAYLET_HEALTH} | grep success && "
    "wget --tries 1 -T 10 -q -O- http://localhost:8000/-/healthz | grep success"
)


def ray_cluster(service: Object, name: str) -> Object:
    """Return the RayCluster of a RayService."""
    spec = copy.deepcopy(service["spec"]["rayClusterConfig"])
    metadata = service["metadata"]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "annotations": {
                **(metadata.get("annotations") or {}),
                HASH: spec_hash(spec),
                "ray.io/kuberay-version": KUBERAY,
                NUM_GROUPS: str(len(spec.get("workerGroupSpecs") or ())),
            },
            "labels": {
                **(metadata.get("labels") or {}),
                "ray.io/originated-from-cr-name": metadata["name"],
                "ray.io/originated-from-crd": "RayService",
            },
            "ownerReferences": [owner(service)],
        },
        "spec": spec,
    }


def spec_hash(spec: Object) -> str:
    """Return the hash KubeRay tells a changed cluster by: 32 letters of base32. Replicas have no part in it, and an
    empty field is none, because it is taken over Go's structures.
    """
    plain = _without_empty(spec)
    for group in plain.get("workerGroupSpecs") or ():
        for field in ("replicas", "minReplicas", "maxReplicas", "scaleStrategy"):
            group.pop(field, None)
    digest = hashlib.sha1(json.dumps(plain, sort_keys=True).encode(), usedforsecurity=False).digest()
    return base64.b32hexencode(digest).decode()


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in ({}, [], None)}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


def owner(obj: Object) -> Object:
    """Return a controlling owner reference."""
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def head_selector(cluster_name: str) -> dict[str, str]:
    """Return the labels by which services find a cluster's head."""
    identifier = {"ray.io/identifier": f"{cluster_name}-head", "ray.io/node-type": "head"}
    return {**_OPERATOR, "ray.io/cluster": cluster_name, **identifier}


def head_service(cluster: Object) -> Object:
    """Return `<cluster>-head-svc`, owned by the RayCluster."""
    name = cluster["metadata"]["name"]
    return _head_service(cluster, f"{name}-head-svc", head_selector(name), name)


def service_head_service(service: Object, cluster_name: str) -> Object:
    """Return `<rayservice>-head-svc`, which follows the active cluster."""
    name = service["metadata"]["name"]
    labels = {"ray.io/identifier": f"{name}-head", "ray.io/node-type": "head", **_originated(name)}
    return _head_service(service, f"{name}-head-svc", labels, cluster_name)


def serve_service_name(service: Object) -> str:
    """Return the name of the Service in front of the application: `<rayservice>-serve-svc` unless the user named it."""
    own = (service["spec"].get("serveService") or {}).get("metadata") or {}
    return str(own.get("name") or f"{service['metadata']['name']}-serve-svc")


def serve_service(service: Object, cluster_name: str) -> Object:
    """Return the Service whose first ready endpoint makes the RayService ready.

    A `serveService` of the user's keeps its name, labels, annotations and type; selector and labels of the operator's
    come over it, and of its ports only the one called `serve` counts (KubeRay, common/service.go, BuildServeService).
    """
    name = service["metadata"]["name"]
    own = copy.deepcopy(service["spec"].get("serveService") or {})
    metadata, spec = own.get("metadata") or {}, own.get("spec") or {}
    named = [port for port in spec.get("ports") or () if port.get("name") == "serve"]
    default = {"name": "serve", "protocol": "TCP", "port": ENDPOINTS["serve"], "targetPort": ENDPOINTS["serve"]}
    annotations = {"annotations": metadata["annotations"]} if metadata.get("annotations") else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": serve_service_name(service),
            "namespace": service["metadata"]["namespace"],
            "labels": {**(metadata.get("labels") or {}), **_originated(name), "ray.io/serve": f"{name}-serve"},
            **annotations,
            "ownerReferences": [owner(service)],
        },
        "spec": {
            **spec,
            "ports": named[:1] or [default],
            "selector": {"ray.io/cluster": cluster_name, "ray.io/serve": "true"},
            "type": spec.get("type") or "ClusterIP",
        },
    }


def autoscaler_account(cluster: Object) -> dict[str, Object]:
    """Return what the autoscaler needs to patch its RayCluster: resource -> object, in the order of creation."""
    name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
    metadata = {"name": name, "namespace": namespace, "labels": dict(_OPERATOR) | {"ray.io/cluster": name}}
    metadata["ownerReferences"] = [owner(cluster)]
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": [""], "resources": ["pods/resize"], "verbs": ["patch"]},
        {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "verbs": ["get", "patch"]},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
    rbac = "rbac.authorization.k8s.io/v1"
    return {
        "serviceaccounts": {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        "roles": {"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": rules},
        "rolebindings": {
            "apiVersion": rbac,
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": role,
            "subjects": subjects,
        },
    }


def head_pod(cluster: Object) -> Object:
    """Return the head pod."""
    name = cluster["metadata"]["name"]
    spec = cluster["spec"]
    group = spec["headGroupSpec"]
    scaled = bool(spec.get("enableInTreeAutoscaling"))
    pod = _pod(cluster, group, "head", "headgroup", f"{name}-head-")
    pod["metadata"]["labels"]["ray.io/serve"] = "false"
    pod["metadata"]["annotations"] |= {
        "ray.io/ft-enabled": "false",
        "ray.io/kuberay-version": KUBERAY,
        "ray.io/upgrade-strategy-recreate-hash": cluster["metadata"]["annotations"].get(HASH, ""),
    }
    main = pod["spec"]["containers"][0]
    flags = {"head": "", "dashboard-host": "0.0.0.0"}  # noqa: S104 - inside the pod, as the operator needs it
    if scaled:
        flags["no-monitor"] = ""
    command = _start_command(main, group, flags)
    tags = f"kuberay_version={KUBERAY};kuberay_crd=RayService"
    _finish_main(main, command, "127.0.0.1:6379", [("RAY_USAGE_STATS_EXTRA_TAGS", tags)])
    _http_probes(main)
    volumes = pod["spec"].setdefault("volumes", [])
    volumes.append(_shared_memory(main))
    if not scaled:
        return pod
    # The autoscaler reads the head's session from beside it.
    volumes.append({"name": "ray-logs", "emptyDir": {}})
    main["volumeMounts"].append({"name": "ray-logs", "mountPath": "/tmp/ray"})  # noqa: S108 - a path in the container
    pod["spec"]["serviceAccountName"] = name
    pod["spec"]["containers"].append(_autoscaler(cluster, main))
    return pod


def worker_pod(cluster: Object, group: Object, index: int) -> Object:
    """Return a worker pod of a group, with the init container that waits for the head's GCS."""
    name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
    pod = _pod(cluster, group, "worker", group["groupName"], f"{name}-{group['groupName']}-worker-")
    labels = pod["metadata"]["labels"]
    labels |= {"ray.io/serve": "true", "ray.io/worker-group-replica-index": str(index)}
    if not pod["metadata"]["annotations"]:
        del pod["metadata"]["annotations"]
    host = f"{name}-head-svc.{namespace}.svc.cluster.local"
    main = pod["spec"]["containers"][0]
    address = [{"name": "FQ_RAY_IP", "value": host}, {"name": "RAY_IP", "value": f"{name}-head-svc"}]
    main["env"] = [*(main.get("env") or ()), *address]
    pod["spec"]["initContainers"] = [*(pod["spec"].get("initContainers") or ()), _wait_gcs_ready(main, host)]
    flags = {"address": f"{host}:6379"}
    _finish_main(main, _start_command(main, group, flags), f"{host}:6379", [])
    _http_probes(main, liveness_timeout_s=2)
    main["readinessProbe"] = {
        "exec": {"command": ["bash", "-c", _WORKER_PROBE]},
        **_probe_times(initial_s=10, timeout_s=2, failures=1),
    }
    pod["spec"].setdefault("volumes", []).append(_shared_memory(main))
    return pod


def _head_service(owned_by: Object, name: str, labels: Mapping[str, str], cluster_name: str) -> Object:
    ports = [
        {"name": port, "protocol": "TCP", "appProtocol": "tcp", "port": number, "targetPort": number}
        for port, number in ENDPOINTS.items()
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": owned_by["metadata"]["namespace"],
            "labels": dict(labels),
            "ownerReferences": [owner(owned_by)],
        },
        "spec": {
            "ports": ports,
            "selector": head_selector(cluster_name),
            "clusterIP": "None",
            "type": "ClusterIP",
            "publishNotReadyAddresses": True,
        },
    }


def _originated(service_name: str) -> dict[str, str]:
    return {"ray.io/originated-from-cr-name": service_name, "ray.io/originated-from-crd": "RayService"}


def _pod(cluster: Object, group: Object, node_type: str, group_name: str, prefix: str) -> Object:
    name = cluster["metadata"]["name"]
    template = copy.deepcopy(group["template"])
    metadata = template.get("metadata") or {}
    labels = {
        **(metadata.get("labels") or {}),
        **_OPERATOR,
        "ray.io/cluster": name,
        "ray.io/group": group_name,
        "ray.io/identifier": f"{name}-{node_type}",
        "ray.io/is-ray-node": "yes",
        "ray.io/node-type": node_type,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": prefix,
            "namespace": cluster["metadata"]["namespace"],
            "labels": labels,
            "annotations": dict(metadata.get("annotations") or {}),
            "ownerReferences": [owner(cluster)],
        },
        "spec": template["spec"],
    }


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


def _start_command(main: Object, group: Object, flags: Mapping[str, str]) -> str:
    """Return `ray start` with its flags in the order of their names, each between two blanks, as KubeRay writes it."""
    merged = {**flags, "block": "", "dashboard-agent-listen-port": str(_AGENT_PORT), "metrics-export-port": "8080"}
    merged |= _resource_flags(main, group)
    first = "ray start --head " if merged.pop("head", None) is not None else "ray start "
    return first + "".join(f" --{key}={value} " if value else f" --{key} " for key, value in sorted(merged.items()))


def _finish_main(main: Object, command: str, address: str, more: list[tuple[str, str]]) -> None:
    # A command of the user's own comes first (KubeRay, common/pod.go: `cmd args && ulimit …; ray start …`).
    own = " ".join([*_unshelled(main.get("command") or []), *(main.get("args") or [])])
    first = f"{own} && " if own else ""
    main["command"] = list(_SHELL)
    main["args"] = [f"{first}ulimit -n ${{RAY_START_ULIMIT_OPEN_FILES:-65536}}; {command}"]
    env = list(main.get("env") or ())
    env += [
        _field("RAY_CLUSTER_NAME", "metadata.labels['ray.io/cluster']"),
        _field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
        _field("RAY_CLOUD_INSTANCE_ID", "metadata.name"),
        _field("RAY_NODE_TYPE_NAME", "metadata.labels['ray.io/group']"),
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


def _shared_memory(main: Object) -> Object:
    limit = ((main.get("resources") or {}).get("limits") or {}).get("memory")
    medium: Object = {"medium": "Memory", **({"sizeLimit": limit} if limit else {})}
    return {"name": "shared-mem", "emptyDir": medium}


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _probe_times(*, initial_s: int, timeout_s: int, failures: int) -> Object:
    times = {"initialDelaySeconds": initial_s, "timeoutSeconds": timeout_s, "periodSeconds": 5}
    return {**times, "successThreshold": 1, "failureThreshold": failures}


def _http_probes(main: Object, *, liveness_timeout_s: int = 5) -> None:
    get = {"httpGet": {"path": "/api/healthz", "port": _AGENT_PORT, "scheme": "HTTP"}}
    main.setdefault("livenessProbe", get | _probe_times(initial_s=30, timeout_s=liveness_timeout_s, failures=120))
    main.setdefault("readinessProbe", get | _probe_times(initial_s=10, timeout_s=5, failures=10))


def _autoscaler(cluster: Object, main: Object) -> Object:
    options = cluster["spec"].get("autoscalerOptions") or {}
    command = "ray kuberay-autoscaler --cluster-name $(RAY_CLUSTER_NAME) --cluster-namespace $(RAY_CLUSTER_NAMESPACE)"
    env = [
        _field("RAY_CLUSTER_NAME", "metadata.labels['ray.io/cluster']"),
        _field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
        _field("RAY_HEAD_POD_NAME", "metadata.name"),
        {"name": "KUBERAY_CRD_VER", "value": "v1"},
        {"name": "KUBERAY_GEN_AUTOSCALER_START_CMD", "value": command},
        *copy.deepcopy(options.get("env") or []),
    ]
    amounts = {"cpu": "500m", "memory": "512Mi"}
    container: Object = {
        "name": "autoscaler",
        "image": options.get("image") or main["image"],
        "command": list(_SHELL),
        "args": [command],
        "env": env,
        "resources": copy.deepcopy(options.get("resources")) or {"requests": amounts, "limits": amounts},
        "volumeMounts": [
            *copy.deepcopy(options.get("volumeMounts") or []),
            {"name": "ray-logs", "mountPath": "/tmp/ray"},  # noqa: S108 - a path in the container
        ],
    }
    pull_policy = options.get("imagePullPolicy") or main.get("imagePullPolicy")
    return container | ({"imagePullPolicy": pull_policy} if pull_policy else {})


def _wait_gcs_ready(main: Object, host: str) -> Object:
    container: Object = {
        "name": "wait-gcs-ready",
        "image": main["image"],
        "command": list(_SHELL),
        "args": [_WAIT_SCRIPT.replace("ADDRESS", f"{host}:6379")],
        "env": copy.deepcopy(main["env"]),
        "resources": {
            "limits": {"cpu": "200m", "memory": "256Mi"},
            "requests": {"cpu": "200m", "memory": "256Mi"},
        },
    }
    kept = ("imagePullPolicy", "volumeMounts", "securityContext")
    return container | {key: copy.deepcopy(main[key]) for key in kept if main.get(key)}


_WAIT_SCRIPT: Final = """
SECONDS=0
until ray health-check --address ADDRESS > /dev/null 2>&1; do
  echo "$SECONDS seconds elapsed: Waiting for GCS to be ready."
  sleep 5
done
echo "GCS is ready."
"""
