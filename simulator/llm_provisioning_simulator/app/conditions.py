"""What KubeRay 1.7.0 says of a RayCluster: its status, computed from the cluster and its pods. Pure.

Texts, order of conditions and the fields that are absent rather than zero are those of the recordings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from llm_provisioning_simulator.app.services import ENDPOINTS
from llm_provisioning_simulator.kube.quantities import count_sum, cpu_sum, memory_sum

Object = dict[str, Any]
Said = tuple[str, str, str]
"""status, reason and message of a condition."""


def set_condition(conditions: list[Object], type_: str, said: Said, now: str, *, generation: int | None = None) -> None:
    """Set a condition in place; `lastTransitionTime` moves only when its status changes."""
    status, reason, message = said
    known = next((item for item in conditions if item["type"] == type_), None)
    moved = known is None or known["status"] != status
    new = {
        "lastTransitionTime": now if moved or known is None else known["lastTransitionTime"],
        "message": message,
        **({"observedGeneration": generation} if generation is not None else {}),
        "reason": reason,
        "status": status,
        "type": type_,
    }
    if known is None:
        conditions.append(new)
    else:
        known.clear()
        known.update(new)


def desired_workers(spec: Mapping[str, Any]) -> dict[str, int]:
    """Return group -> how many worker pods there should be (replicas within minimum and maximum, times hosts)."""
    groups = spec.get("workerGroupSpecs") or ()
    return {group["groupName"]: _desired(group) for group in groups}


def cluster_status(cluster: Object, head: Object | None, workers: Sequence[Object], now: str) -> Object:
    """Return a RayCluster's next status. `head` is None before it exists (or is seen)."""
    old = cluster.get("status") or {}
    status = _resources(cluster["spec"])
    conditions = [dict(item) for item in old.get("conditions") or ()]
    set_condition(conditions, "HeadPodReady", _head_ready(head), now)
    _provisioned(conditions, cluster["spec"], head, workers, now)
    for type_ in ("RayClusterSuspended", "RayClusterSuspending"):
        set_condition(conditions, type_, ("False", type_, ""), now)
    status["conditions"] = conditions
    status["endpoints"] = {name: str(port) for name, port in ENDPOINTS.items()}
    status["head"] = _head(cluster, head)
    available = sum((item.get("status") or {}).get("phase") == "Running" for item in workers)
    ready = sum(is_ready(item) for item in workers)
    status |= {"availableWorkerReplicas": available} if available else {}
    status |= {"readyWorkerReplicas": ready} if ready else {}
    status["observedGeneration"] = cluster["metadata"]["generation"]
    provisioned = next(item for item in conditions if item["type"] == "RayClusterProvisioned")
    if provisioned["status"] == "True":
        status["state"] = "ready"
        status["stateTransitionTimes"] = old.get("stateTransitionTimes") or {"ready": now}
    unchanged = status == {key: value for key, value in old.items() if key != "lastUpdateTime"}
    status["lastUpdateTime"] = old["lastUpdateTime"] if unchanged else now
    return status


def replica_failure(status: Object, failure: tuple[str, str] | None, now: str) -> None:
    """Set the condition that says why a pod could not be created (reason, message), or take it away."""
    conditions = status["conditions"]
    if failure is not None:
        set_condition(conditions, "ReplicaFailure", ("True", *failure), now)
        return
    status["conditions"] = [item for item in conditions if item["type"] != "ReplicaFailure"]


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod's Ready condition is True."""
    return (_condition(pod, "Ready") or {}).get("status") == "True"


def _condition(pod: Mapping[str, Any], type_: str) -> Object | None:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((item for item in conditions if item["type"] == type_), None)


def _desired(group: Mapping[str, Any]) -> int:
    low, high = group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
    return int(max(low, min(group.get("replicas", 0), high)) * group.get("numOfHosts", 1))


def _resources(spec: Mapping[str, Any]) -> Object:
    requests = [_requests(spec["headGroupSpec"])]
    desired = desired_workers(spec)
    groups = spec.get("workerGroupSpecs") or ()
    for group in groups:
        requests += [_requests(group)] * desired[group["groupName"]]
    status: Object = {
        "desiredCPU": cpu_sum(item.get("cpu", 0) for item in requests),
        "desiredGPU": count_sum(item.get("nvidia.com/gpu", 0) for item in requests),
        "desiredMemory": memory_sum(item.get("memory", 0) for item in requests),
        "desiredTPU": count_sum(item.get("google.com/tpu", 0) for item in requests),
    }
    counts = {
        "desiredWorkerReplicas": sum(desired.values()),
        "minWorkerReplicas": sum(group.get("minReplicas", 0) for group in groups),
        "maxWorkerReplicas": sum(group.get("maxReplicas", 0) for group in groups),
    }
    return status | {key: value for key, value in counts.items() if value}


def _requests(group: Mapping[str, Any]) -> Mapping[str, Any]:
    container = group["template"]["spec"]["containers"][0]
    resources = container.get("resources") or {}
    return {**(resources.get("limits") or {}), **(resources.get("requests") or {})}


def _head_ready(head: Object | None) -> Said:
    if head is None:
        return "False", "HeadPodNotFound", "Head Pod not found"
    ready = _condition(head, "Ready")
    if ready is None:
        return "False", "Unknown", ""
    if ready["status"] == "True":
        return "True", "HeadPodRunningAndReady", ""
    reason, message = ready.get("reason") or "Unknown", ready.get("message") or ""
    for container in (head.get("status") or {}).get("containerStatuses") or ():
        if (waiting := (container.get("state") or {}).get("waiting")) is not None:
            return "False", waiting.get("reason", ""), f"{message}; {container['name']}: {waiting.get('message', '')}"
    return "False", reason, message


def _provisioned(
    conditions: list[Object], spec: Mapping[str, Any], head: Object | None, workers: Sequence[Object], now: str
) -> None:
    known = next((item for item in conditions if item["type"] == "RayClusterProvisioned"), None)
    if known is not None and known["status"] == "True":
        return
    wanted = sum(desired_workers(spec).values())
    everyone = head is not None and is_ready(head) and sum(map(is_ready, workers)) >= wanted
    text = "All Ray Pods are ready for the first time" if everyone else _PROVISIONING
    reason = "AllPodRunningAndReadyFirstTime" if everyone else "RayClusterPodsProvisioning"
    set_condition(conditions, "RayClusterProvisioned", ("True" if everyone else "False", reason, text), now)


_PROVISIONING = "RayCluster Pods are being provisioned for first time"


def _head(cluster: Object, head: Object | None) -> Object:
    shown: Object = {}
    if head is not None:
        address = (head.get("status") or {}).get("podIP")
        shown |= {"podIP": address} if address else {}
        shown["podName"] = head["metadata"]["name"]
        # The head's service is headless, so its address is the pod's.
        shown |= {"serviceIP": address} if address else {}
    shown["serviceName"] = f"{cluster['metadata']['name']}-head-svc"
    return shown
