"""The pods that KubeRay 1.7.0 makes of a RayCluster, head and workers, and the autoscaler's account, as recorded.

Pure: dicts in, dicts out. What the API server fills in (defaults, tokens, ids) is not added here.
"""

import copy
from typing import Any, Final

from llm_provisioning_simulator.app.clusters import HASH, KUBERAY, OPERATOR, owner
from llm_provisioning_simulator.app.raystart import AGENT_PORT, SHELL, env_field, finish_main, start_command

Object = dict[str, Any]

_RAYLET_HEALTH: Final = f"http://localhost:{AGENT_PORT}/api/local_raylet_healthz"
_WORKER_PROBE: Final = (
    f"wget --tries 1 -T 2 -q -O- {_RAYLET_HEALTH} | grep success && "
    "wget --tries 1 -T 10 -q -O- http://localhost:8000/-/healthz | grep success"
)


def autoscaler_account(cluster: Object) -> dict[str, Object]:
    """Return what the autoscaler needs to patch its RayCluster: resource -> object, in the order of creation."""
    name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
    metadata = {"name": name, "namespace": namespace, "labels": dict(OPERATOR) | {"ray.io/cluster": name}}
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
    command = start_command(main, group, flags)
    tags = f"kuberay_version={KUBERAY};kuberay_crd=RayService"
    finish_main(main, command, "127.0.0.1:6379", [("RAY_USAGE_STATS_EXTRA_TAGS", tags)])
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


def worker_pod(cluster: Object, group: Object, index: int, *, waits: bool = True) -> Object:
    """Return a worker pod of a group. `waits`: with the init container that waits for the head's GCS."""
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
    if waits:
        pod["spec"]["initContainers"] = [*(pod["spec"].get("initContainers") or ()), _wait_gcs_ready(main, host)]
    flags = {"address": f"{host}:6379"}
    finish_main(main, start_command(main, group, flags), f"{host}:6379", [])
    _http_probes(main, liveness_timeout_s=2)
    main["readinessProbe"] = {
        "exec": {"command": ["bash", "-c", _WORKER_PROBE]},
        **_probe_times(initial_s=10, timeout_s=2, failures=1),
    }
    pod["spec"].setdefault("volumes", []).append(_shared_memory(main))
    return pod


def _pod(cluster: Object, group: Object, node_type: str, group_name: str, prefix: str) -> Object:
    name = cluster["metadata"]["name"]
    template = copy.deepcopy(group["template"])
    metadata = template.get("metadata") or {}
    labels = {
        **(metadata.get("labels") or {}),
        **OPERATOR,
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


def _shared_memory(main: Object) -> Object:
    limit = ((main.get("resources") or {}).get("limits") or {}).get("memory")
    medium: Object = {"medium": "Memory", **({"sizeLimit": limit} if limit else {})}
    return {"name": "shared-mem", "emptyDir": medium}


def _probe_times(*, initial_s: int, timeout_s: int, failures: int) -> Object:
    times = {"initialDelaySeconds": initial_s, "timeoutSeconds": timeout_s, "periodSeconds": 5}
    return {**times, "successThreshold": 1, "failureThreshold": failures}


def _http_probes(main: Object, *, liveness_timeout_s: int = 5) -> None:
    get = {"httpGet": {"path": "/api/healthz", "port": AGENT_PORT, "scheme": "HTTP"}}
    main.setdefault("livenessProbe", get | _probe_times(initial_s=30, timeout_s=liveness_timeout_s, failures=120))
    main.setdefault("readinessProbe", get | _probe_times(initial_s=10, timeout_s=5, failures=10))


def _autoscaler(cluster: Object, main: Object) -> Object:
    options = cluster["spec"].get("autoscalerOptions") or {}
    command = "ray kuberay-autoscaler --cluster-name $(RAY_CLUSTER_NAME) --cluster-namespace $(RAY_CLUSTER_NAMESPACE)"
    env = [
        env_field("RAY_CLUSTER_NAME", "metadata.labels['ray.io/cluster']"),
        env_field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
        env_field("RAY_HEAD_POD_NAME", "metadata.name"),
        {"name": "KUBERAY_CRD_VER", "value": "v1"},
        {"name": "KUBERAY_GEN_AUTOSCALER_START_CMD", "value": command},
        *copy.deepcopy(options.get("env") or []),
    ]
    amounts = {"cpu": "500m", "memory": "512Mi"}
    container: Object = {
        "name": "autoscaler",
        "image": options.get("image") or main["image"],
        "command": list(SHELL),
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
        "command": list(SHELL),
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
