"""The two scaling set-ups: engine workers from the start, or asked for by Ray's autoscaler."""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.manifests.groups import (
    CLUSTER,
    RayGroup,
    engine_groups,
    group_spec,
    max_replicas,
    ray_container,
    ray_groups,
    replica_count,
    setup_of,
    starting_replicas,
)
from airflow_llm_provisioning.core.manifests.tree import Node, copied, entries, found
from airflow_llm_provisioning.core.scaling import ScalingSetup
from airflow_llm_provisioning.exceptions import ManifestError

# The origin's (elotl/skyray at 49c25bb, luna-llm-serve/, the `autoscale` manifests).
AUTOSCALER_OPTIONS: Final[Mapping[str, Any]] = {
    "upscalingMode": "Default",
    "resources": {
        "requests": {"cpu": "1", "memory": "1000Mi"},
        "limits": {"cpu": "1", "memory": "1000Mi"},
    },
}
# Without Ray's autoscaler KubeRay refuses this variable (kuberay 1.7, utils.ValidateRayClusterSpec).
_AUTOSCALER_V2: Final = "RAY_enable_autoscaler_v2"


def with_setup(manifest: Mapping[str, Any], setup: ScalingSetup) -> Node:
    """Return the manifest in a set-up; one that is in it already comes back equal.

    Static: no autoscaler, and every engine group starts with at least one pod. Dynamic: Ray's autoscaler, the user's
    options or the origin's, and every engine group starts with none and may grow to as many pods as it started with
    before. Raises ManifestError where there is no worker group to scale.
    """
    made: Node = copied(manifest)
    if setup is ScalingSetup.DYNAMIC:
        _make_dynamic(made)
    else:
        _make_static(made)
    return made


def _make_static(manifest: Node) -> None:
    workers = _engine_workers(manifest)
    started = all(starting_replicas(manifest, group) > 0 for group in workers)
    if setup_of(manifest) is ScalingSetup.STATIC and started:
        return
    for group in workers:
        spec = group_spec(manifest, group)
        start = max(1, replica_count(spec, "minReplicas") or 0, replica_count(spec, "replicas") or 0)
        spec["replicas"] = start
        most = max_replicas(manifest, group)
        if most is not None and most < start:
            spec["maxReplicas"] = start
    cluster = found(manifest, CLUSTER)
    cluster.pop("enableInTreeAutoscaling", None)
    cluster.pop("autoscalerOptions", None)
    for group in ray_groups(manifest):
        container = ray_container(manifest, group)
        if container.get("env"):
            listed = entries(container, "env", group.container_path)
            container["env"] = [entry for entry in listed if entry.get("name") != _AUTOSCALER_V2]


def _make_dynamic(manifest: Node) -> None:
    workers = _engine_workers(manifest)
    if not workers:
        raise ManifestError(
            "The dynamic set-up needs a worker group that runs the engine; this RayService runs it on the head."
        )
    if setup_of(manifest) is ScalingSetup.DYNAMIC:
        return
    for group in workers:
        spec = group_spec(manifest, group)
        most, start = max_replicas(manifest, group), starting_replicas(manifest, group)
        spec |= {"replicas": 0, "minReplicas": 0}
        if most is not None:
            spec["maxReplicas"] = max(1, most, start)
    cluster = found(manifest, CLUSTER)
    cluster["enableInTreeAutoscaling"] = True
    if not cluster.get("autoscalerOptions"):
        cluster["autoscalerOptions"] = copied(AUTOSCALER_OPTIONS)


def _engine_workers(manifest: Mapping[str, Any]) -> list[RayGroup]:
    return [group for group in engine_groups(manifest) if group.role == "worker"]
