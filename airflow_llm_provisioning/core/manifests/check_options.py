"""Options of a RayService that contradict each other, for which KubeRay creates no RayCluster.

The source is KubeRay 1.7 (controllers/ray/utils/validation.go). What older versions take, as `labels` among the start
parameters, or what depends on a feature gate, as a suspended group, is left to the operator to refuse.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, objects
from airflow_llm_provisioning.core.manifests.groups import CLUSTER, HEAD, WORKERS
from airflow_llm_provisioning.core.manifests.tree import Path, found, path_text, shown

_FAULT_TOLERANCE: Final = "gcsFaultToleranceOptions"
_FT_ENABLED: Final = "ray.io/ft-enabled"
_STORAGE: Final = "ray.io/external-storage-namespace"
_START_RESOURCES: Final = ("num-cpus", "num-gpus", "memory", "resources")
_UPGRADES: Final = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")
_V2_VARIABLE: Final = "RAY_enable_autoscaler_v2"
_TOKEN_SINCE: Final = (2, 52)


def option_problems(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield every contradiction, with its key path."""
    cluster = mapping(found(manifest, CLUSTER))
    annotations = mapping(dig(manifest, "metadata", "annotations"))
    yield from _redis_problems(cluster, annotations)
    yield from _autoscaler_problems(cluster)
    yield from _token_problems(cluster)
    for path, group in _groups(cluster):
        parameters = [key for key in _START_RESOURCES if mapping(group.get("rayStartParams")).get(key)]
        if parameters and mapping(group.get("resources")):
            given = path_text((*path, "rayStartParams", parameters[0]))
            yield f"{given} is set beside {path_text((*path, 'resources'))}; KubeRay allows one of them"
    if dig(cluster, "headGroupSpec", "headService", "metadata", "name"):
        yield f"{path_text((*HEAD, 'headService', 'metadata', 'name'))} is set; KubeRay names this Service itself"
    upgrade = dig(manifest, "spec", "upgradeStrategy", "type")
    if upgrade is not None and upgrade not in _UPGRADES:
        yield f"spec.upgradeStrategy.type is {shown(upgrade)}; allowed are {', '.join(_UPGRADES)}"


def _groups(cluster: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    yield HEAD, mapping(cluster.get("headGroupSpec"))
    for index, group in enumerate(objects(cluster, "workerGroupSpecs")):
        yield (*WORKERS, index), group


def _redis_problems(cluster: Mapping[str, Any], annotations: Mapping[str, Any]) -> Iterator[str]:
    head = mapping(cluster.get("headGroupSpec"))
    variables, parameters = _variables(head), mapping(head.get("rayStartParams"))
    options = path_text((*CLUSTER, _FAULT_TOLERANCE))
    tolerant = cluster.get(_FAULT_TOLERANCE) is not None
    if parameters.get("redis-username") or "REDIS_USERNAME" in variables:
        yield f"the head sets a Redis user; KubeRay takes it from {options}.redisUsername only"
    if not tolerant and "RAY_REDIS_ADDRESS" in variables and annotations.get(_FT_ENABLED) != "true":
        yield f"the head sets the variable RAY_REDIS_ADDRESS without {options}"
    beside = [
        *(f"metadata.annotations[{name!r}]" for name in (_FT_ENABLED, _STORAGE) if annotations.get(name)),
        *(f"the head's variable {name}" for name in ("REDIS_PASSWORD", "RAY_REDIS_ADDRESS") if name in variables),
        *(["the head's start parameter redis-password"] if parameters.get("redis-password") else ()),
    ]
    for what in beside if tolerant else ():
        yield f"{what} is set beside {options}; KubeRay allows the options only"


def _autoscaler_problems(cluster: Mapping[str, Any]) -> Iterator[str]:
    head = mapping(cluster.get("headGroupSpec"))
    variable, version = _variables(head).get(_V2_VARIABLE), dig(cluster, "autoscalerOptions", "version")
    if cluster.get("enableInTreeAutoscaling") is not True:
        if variable in ("1", "true"):
            yield f"the head sets the variable {_V2_VARIABLE}={variable} without enableInTreeAutoscaling"
        return
    if variable is not None and version is not None:
        yield f"the head sets the variable {_V2_VARIABLE} beside autoscalerOptions.version; KubeRay allows the latter"
    if version == "v2" or variable in ("1", "true"):
        for path, group in _groups(cluster):
            policy = dig(group, "template", "spec", "restartPolicy")
            if policy not in (None, "", "Never"):
                place = path_text((*path, "template", "spec", "restartPolicy"))
                yield f"{place} is {shown(policy)}; autoscaler v2 allows Never only"


def _token_problems(cluster: Mapping[str, Any]) -> Iterator[str]:
    if dig(cluster, "authOptions", "mode") != "token":
        return
    given = cluster.get("rayVersion")
    version = re.match(r"(\d{1,5})\.(\d{1,5})", given) if isinstance(given, str) else None
    if version is None or (int(version[1]), int(version[2])) < _TOKEN_SINCE:
        told = "missing" if given in (None, "") else shown(given)
        yield f"{path_text((*CLUSTER, 'rayVersion'))} is {told}; authOptions.mode token needs Ray 2.52.0 or later"


def _variables(group: Mapping[str, Any]) -> dict[str, Any]:
    containers = objects(group, "template", "spec", "containers")
    listed = objects(containers[0], "env") if containers else []
    return {entry["name"]: entry.get("value", "") for entry in listed if isinstance(entry.get("name"), str)}
