"""What KubeRay 1.7.0 says of a RayService: its status, computed from what one pass has seen. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llm_provisioning_simulator.app.conditions import set_condition
from llm_provisioning_simulator.app.serve import ServeController
from llm_provisioning_simulator.kube.changes import copy_tree

Object = dict[str, Any]

_NO_CLUSTER: Final[Mapping[str, Any]] = {
    "desiredCPU": "0",
    "desiredGPU": "0",
    "desiredMemory": "0",
    "desiredTPU": "0",
    "head": {},
}
_ONE_CLUSTER: Final = ("False", "NoPendingCluster", "Active Ray cluster exists and no pending Ray cluster")
_INITIALIZING: Final = ("False", "Initializing", "RayService is initializing")


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What a pass saw. `active`, `pending`: names of the clusters, "" for none, with what each says of itself;
    `applications`: of the pending cluster, else of the active one; `endpoints`: ready ones of the serve Service.
    """

    active: str
    active_status: Mapping[str, Any]
    pending: str
    pending_status: Mapping[str, Any]
    applications: Mapping[str, Any]
    endpoints: int


def first_status(service: Object, cluster_name: str, now: str) -> Object:
    """Return the first status: the name of a cluster that does not exist yet, and nothing else."""
    generation = service["metadata"]["generation"]
    conditions: list[Object] = []
    for type_ in ("Ready", "UpgradeInProgress"):
        set_condition(conditions, type_, _INITIALIZING, now, generation=generation)
    return {
        "activeServiceStatus": {"rayClusterStatus": _no_cluster()},
        "conditions": conditions,
        "lastUpdateTime": now,
        "observedGeneration": generation,
        "pendingServiceStatus": {"rayClusterName": cluster_name, "rayClusterStatus": _no_cluster()},
    }


def service_status(service: Object, view: ServiceView, now: str) -> Object:
    """Return the next status. All of a first deployment stands under `pending` until its applications run; during an
    upgrade the active cluster's applications are not read (recording `llm-twice`).
    """
    old = service["status"]
    generation = service["metadata"]["generation"]
    conditions = [dict(item) for item in old["conditions"]]
    status: Object = {
        "activeServiceStatus": _part(view.active, view.active_status, {} if view.pending else view.applications),
        "conditions": conditions,
        "lastUpdateTime": now,
        "observedGeneration": generation,
        "pendingServiceStatus": _part(view.pending, view.pending_status, view.applications if view.pending else {}),
    }
    if not view.active:
        return status
    both = ("True", "BothActivePendingClustersExist", "Both active and pending Ray clusters exist")
    said = both if view.pending else _ONE_CLUSTER
    set_condition(conditions, "UpgradeInProgress", said, now, generation=generation)
    was_active = bool((old.get("activeServiceStatus") or {}).get("rayClusterName"))
    if was_active and view.endpoints:
        said = ("True", "NonZeroServeEndpoints", "Number of serve endpoints is greater than 0")
        set_condition(conditions, "Ready", said, now, generation=generation)
        status |= {"numServeEndpoints": view.endpoints, "serviceStatus": "Running"}
    elif was_active and old.get("serviceStatus"):
        said = ("False", "ZeroServeEndpoints", "Number of serve endpoints dropped to 0")
        set_condition(conditions, "Ready", said, now, generation=generation)
    return status


def _part(name: str, cluster_status: Mapping[str, Any], applications: Mapping[str, Any]) -> Object:
    return {
        **({"applicationStatuses": dict(applications)} if applications else {}),
        **({"rayClusterName": name} if name else {}),
        "rayClusterStatus": copy_tree(dict(cluster_status)) or _no_cluster(),
    }


def invalid_status(service: Object, error: str, now: str) -> Object:
    """Return the status of a RayService that KubeRay refuses: the condition Ready, and what stood there before."""
    status: Object = copy_tree(service.get("status") or {})
    conditions = status.setdefault("conditions", [])
    generation = status.get("observedGeneration")
    set_condition(conditions, "Ready", ("False", "ValidationFailed", error), now, generation=generation)
    return status | {"lastUpdateTime": now}


def timed_out_status(service: Object, limit_s: float, now: str) -> Object:
    """Return the terminal status of a deployment that took too long: the cluster's name goes, the last error stays."""
    status: Object = copy_tree(service["status"])
    status["pendingServiceStatus"].pop("rayClusterName", None)
    message = f"RayService was not ready within the initializing timeout of {limit_s:g}s"
    said = ("False", "InitializingTimeout", message)
    set_condition(status["conditions"], "Ready", said, now, generation=service["metadata"]["generation"])
    status["lastUpdateTime"] = now
    return status


def unlike(new: Object, old: Object) -> bool:
    """Whether a status says anything new: a change in the cluster's own status alone is not written (recordings)."""
    return _said(new) != _said(old)


def application_statuses(serve: ServeController) -> Object:
    """Return `applicationStatuses` as the operator copies them from Serve; empty messages are left out."""
    statuses: Object = {}
    for name, state in serve.applications.items():
        deployments = {
            key: {"status": item.status, **({"message": item.message} if item.message else {})}
            for key, item in state.deployments.items()
        }
        statuses[name] = {
            "status": state.status,
            **({"message": state.message} if state.message else {}),
            **({"serveDeploymentStatuses": deployments} if deployments else {}),
        }
    return statuses


def _no_cluster() -> Object:
    return {**_NO_CLUSTER, "head": {}}


def _said(status: Object) -> Object:
    plain = {key: value for key, value in status.items() if key != "lastUpdateTime"}
    for part in ("activeServiceStatus", "pendingServiceStatus"):
        plain[part] = {key: value for key, value in (plain.get(part) or {}).items() if key != "rayClusterStatus"}
    return plain
