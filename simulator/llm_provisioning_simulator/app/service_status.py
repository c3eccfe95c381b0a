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
_INITIALIZING: Final = ("False", "Initializing", "RayService is initializing")


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What a pass saw. `running`: all applications run, now or before; `endpoints`: ready ones of the serve Service."""

    cluster_name: str
    cluster_status: Mapping[str, Any]
    applications: Mapping[str, Any]
    running: bool
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
    """Return the next status. All of a first deployment stands under `pending` until its applications run."""
    old = service["status"]
    generation = service["metadata"]["generation"]
    here: Object = {
        **({"applicationStatuses": dict(view.applications)} if view.applications else {}),
        "rayClusterName": view.cluster_name,
        "rayClusterStatus": copy_tree(dict(view.cluster_status)) or _no_cluster(),
    }
    nowhere: Object = {"rayClusterStatus": _no_cluster()}
    conditions = [dict(item) for item in old["conditions"]]
    status: Object = {
        "activeServiceStatus": here if view.running else nowhere,
        "conditions": conditions,
        "lastUpdateTime": now,
        "observedGeneration": generation,
        "pendingServiceStatus": nowhere if view.running else here,
    }
    if not view.running:
        return status
    said = ("False", "NoPendingCluster", "Active Ray cluster exists and no pending Ray cluster")
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
