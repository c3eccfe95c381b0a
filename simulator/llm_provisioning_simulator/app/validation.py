"""What KubeRay 1.7.0 refuses of a RayService that the API server has taken: its own checks, in its words. Pure.

ray-operator/controllers/ray/utils/validation.go. A refused RayService gets one event and the condition Ready=False with
reason ValidationFailed, and nothing else until it is changed.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from llm_provisioning_simulator.app.timeouts import ANNOTATION, initializing_timeout

Object = dict[str, Any]
Problem = tuple[Literal["InvalidRayServiceMetadata", "InvalidRayServiceSpec"], str]
"""Reason of the event, and the error."""

MAX_NAME: Final = 47
_LABEL_1035: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035_TEXT: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_STRATEGIES: Final = ("NewClusterWithIncrementalUpgrade", "NewCluster", "None")
_RAY_RESOURCES: Final = ("num-cpus", "num-gpus", "memory", "resources")


def validate(service: Object) -> Problem | None:
    """Return the first thing that KubeRay refuses, or None."""
    metadata = next(_metadata_problems(service["metadata"]), None)
    if metadata is not None:
        return "InvalidRayServiceMetadata", metadata
    spec = next(_spec_problems(service["spec"], service["metadata"].get("annotations") or {}), None)
    return None if spec is None else ("InvalidRayServiceSpec", spec)


def _metadata_problems(metadata: Object) -> Iterator[str]:
    name = metadata["name"]
    if len(name) > MAX_NAME:
        yield f"RayService name should be no more than {MAX_NAME} characters"
    if not _LABEL_1035.fullmatch(name):
        yield f"RayService name should be a valid DNS1035 label: [{_LABEL_1035_TEXT}]"
    text = (metadata.get("annotations") or {}).get(ANNOTATION, "")
    if text and initializing_timeout({ANNOTATION: text}) is None:
        yield (
            f"RayService annotations is invalid: annotation {ANNOTATION} has invalid format: {text}. Expected Go "
            "duration format (e.g., '5m', '1h') or positive integer seconds"
        )


def _spec_problems(spec: Object, annotations: Mapping[str, str]) -> Iterator[str]:
    cluster = spec["rayClusterConfig"]
    head = cluster["headGroupSpec"]
    if not head["template"]["spec"].get("containers"):
        yield "headGroupSpec should have at least one container"
        return
    yield from _group_problems("Head", head)
    for group in cluster.get("workerGroupSpecs") or ():
        if not group["template"]["spec"].get("containers"):
            yield "workerGroupSpec should have at least one container"
            return
        yield from _group_problems(group["groupName"], group)
    yield from _fault_tolerance_problems(cluster, annotations)
    yield from _autoscaler_problems(cluster)
    if ((head.get("headService") or {}).get("metadata") or {}).get("name"):
        yield "spec.rayClusterConfig.headGroupSpec.headService.metadata.name should not be set"
    yield from _upgrade_problems(spec)


def _group_problems(name: str, group: Object) -> Iterator[str]:
    params = group.get("rayStartParams") or {}
    if group.get("resources") and any(params.get(key) for key in _RAY_RESOURCES):
        yield (
            f"resource fields should not be set in both rayStartParams and Resources for {name} group; please use "
            "only one"
        )
    if "labels" in params:
        yield (
            f"rayStartParams['labels'] is not supported for {name} group; please use the top-level Labels field instead"
        )


def _fault_tolerance_problems(cluster: Object, annotations: Mapping[str, str]) -> Iterator[str]:
    options = cluster.get("gcsFaultToleranceOptions")
    enabled = annotations.get("ray.io/ft-enabled", "")
    if enabled and options is not None:
        yield (
            "ray.io/ft-enabled annotation and GcsFaultToleranceOptions are both set. Please use only "
            "GcsFaultToleranceOptions to configure GCS fault tolerance"
        )
    if options is None and enabled.lower() != "true" and _head_env(cluster, "RAY_REDIS_ADDRESS") is not None:
        yield (
            "RAY_REDIS_ADDRESS is set which implicitly enables GCS fault tolerance, but GcsFaultToleranceOptions is "
            "not set. Please set GcsFaultToleranceOptions to enable GCS fault tolerance"
        )


def _autoscaler_problems(cluster: Object) -> Iterator[str]:
    wanted = _head_env(cluster, "RAY_enable_autoscaler_v2")
    if not cluster.get("enableInTreeAutoscaling"):
        if wanted in ("1", "true"):
            yield (
                f"environment variable RAY_enable_autoscaler_v2 cannot be set to '{wanted}' when "
                "enableInTreeAutoscaling is false. Please set enableInTreeAutoscaling: true to use autoscaler v2"
            )
        return
    version = (cluster.get("autoscalerOptions") or {}).get("version")
    if version and wanted is not None:
        yield (
            "both .spec.autoscalerOptions.version and head Pod env var RAY_enable_autoscaler_v2 are set, please only "
            "use the former"
        )
    if version == "v2":
        if cluster["headGroupSpec"]["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield "restartPolicy for head Pod should be Never or unset when using autoscaler V2"
        for group in cluster.get("workerGroupSpecs") or ():
            if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
                name = group["groupName"]
                yield f"restartPolicy for worker group {name} should be Never or unset when using autoscaler V2"


def _upgrade_problems(spec: Object) -> Iterator[str]:
    strategy = (spec.get("upgradeStrategy") or {}).get("type")
    if strategy is not None and strategy not in _STRATEGIES:
        listed = "NewClusterWithIncrementalUpgrade, NewCluster, or None"
        yield f"Spec.UpgradeStrategy.Type value {strategy} is invalid, valid options are {listed}"
    delay = spec.get("rayClusterDeletionDelaySeconds")
    if delay is not None and delay < 0:
        yield f"Spec.RayClusterDeletionDelaySeconds should be a non-negative integer, got {delay}"
    if strategy == "NewClusterWithIncrementalUpgrade":
        if not spec["rayClusterConfig"].get("enableInTreeAutoscaling"):
            yield "Ray Autoscaler is required for NewClusterWithIncrementalUpgrade"
        if spec["upgradeStrategy"].get("clusterUpgradeOptions") is None:
            yield "ClusterUpgradeOptions are required for NewClusterWithIncrementalUpgrade"


def _head_env(cluster: Object, name: str) -> str | None:
    container = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    return next((str(item.get("value", "")) for item in container.get("env") or () if item["name"] == name), None)
