"""How many pods of a worker group the engine takes when Ray's autoscaler starts them, as far as the manifest tells it.

Serve's configuration holds how many accelerators one engine takes (vLLM's `tensor_parallel_size` times
`pipeline_parallel_size`, each 1 by default) and how many replicas start; the group's template holds how many
accelerators one pod has. KubeRay makes `numOfHosts` pods for each replica of a group (kuberay 1.7,
raycluster_types.go).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.devices import ranks
from airflow_llm_provisioning.core.fields import dig, items, mapping, number
from airflow_llm_provisioning.core.manifests.engine_args import EngineArgs, engine_args
from airflow_llm_provisioning.core.manifests.groups import (
    RayGroup,
    accelerators,
    engine_groups,
    group_spec,
    max_replicas,
    ray_container,
    replica_count,
)
from airflow_llm_provisioning.core.manifests.serve_config import serve_config
from airflow_llm_provisioning.core.manifests.tree import found

_PARALLEL: Final = ("tensor_parallel_size", "pipeline_parallel_size")


def pods_asked_for(manifest: Mapping[str, Any], group: RayGroup) -> int:
    """Return how many pods of an engine group are asked for when the engine starts: at least one, at most what the
    group allows. With several groups it is not known which of them Ray takes, so each has one.
    """
    hosts = max(1, replica_count(group_spec(manifest, group), "numOfHosts") or 1)
    most = max_replicas(manifest, group)
    others = [one for one in engine_groups(manifest) if one.role == "worker" and one.path != group.path]
    wanted = 1 if others else _replicas(manifest, group, hosts)
    return hosts * (wanted if most is None else max(1, min(wanted, most)))


def _replicas(manifest: Mapping[str, Any], group: RayGroup, hosts: int) -> int:
    each = hosts * (ranks(accelerators(ray_container(manifest, group))) or 0)
    asked = list(_accelerators(manifest))
    if not each or not asked:
        return 1
    # An engine does not share a pod's accelerators with another one if it fills the pod; smaller ones do.
    whole = sum(count * math.ceil(size / each) for size, count in asked if size >= each)
    small = sum(count * size for size, count in asked if size < each)
    return max(1, whole + math.ceil(small / each))


def _accelerators(manifest: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield (accelerators of one replica, replicas that start) of every engine."""
    config = serve_config(manifest)
    for engine in engine_args(manifest):
        size = math.prod(_whole(engine.values.get(name)) for name in _PARALLEL)
        # Each rank of data parallelism is a replica with accelerators of its own (ray 2.57, build_dp_openai_app).
        yield size, _starting(config, engine) * _whole(engine.values.get("data_parallel_size"))


def _starting(config: Mapping[str, Any], engine: EngineArgs) -> int:
    """Return with how many replicas an engine starts (ray 2.56: `num_replicas`, or `autoscaling_config` with
    `initial_replicas`, else `min_replicas`; a deployment of an application has the same fields).
    """
    if engine.builder:
        places = [mapping(dig(found(config, engine.path[:-1]), "deployment_config"))]
    else:
        places = [mapping(entry) for entry in items(mapping(found(config, engine.path[:-1])).get("deployments"))]
    return max((_of(place) for place in places), default=1)


def _of(deployment: Mapping[str, Any]) -> int:
    scaling = mapping(deployment.get("autoscaling_config"))
    values = (deployment.get("num_replicas"), scaling.get("initial_replicas"), scaling.get("min_replicas"))
    return next((count for value in values if (count := _count(value))), 1)


def _whole(value: Any) -> int:
    return _count(value) or 1


def _count(value: Any) -> int:
    """Return a positive whole number, also one that is written as text, as arguments of a command line are; else 0."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
        return int(value)
    told = number(value)
    return int(told) if told is not None and told >= 1 and told == int(told) else 0
