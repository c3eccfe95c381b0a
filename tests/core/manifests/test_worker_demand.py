"""How many pods of a group the engine takes when it starts."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.manifests.groups import worker_groups
from airflow_llm_provisioning.core.manifests.serve_config import dumped
from airflow_llm_provisioning.core.manifests.worker_demand import pods_asked_for


def asked(config: dict[str, Any], gpus: int = 1, beside: dict[str, int] | None = None, **group: Any) -> int:
    limits = {"nvidia.com/gpu": gpus, **(beside or {})}
    template = {"spec": {"containers": [{"name": "ray", "resources": {"limits": limits}}]}}
    manifest = {
        "spec": {
            "rayClusterConfig": {"workerGroupSpecs": [{"groupName": "gpu", "template": template, **group}]},
            "serveConfigV2": dumped({"applications": [{"name": "llm", **config}]}),
        }
    }
    return pods_asked_for(manifest, worker_groups(manifest)[0])


def own(deployment: dict[str, Any] | None = None, **args: Any) -> dict[str, Any]:
    """Return an application that hands its arguments to vLLM."""
    return {"args": {"model": "m", "dtype": "auto", **args}, "deployments": [deployment or {}]}


def built(deployment: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
    """Return an application of ray.serve.llm."""
    return {"args": {"llm_configs": [{"engine_kwargs": kwargs, "deployment_config": deployment or {}}]}}


@pytest.mark.parametrize(
    ("config", "group", "pods"),
    [
        (own(), {}, 1),
        (own(**{"tensor-parallel-size": "4"}), {}, 4),
        (own(**{"tensor-parallel-size": "4"}), {"gpus": 2}, 2),
        (own({"num_replicas": 3}), {}, 3),
        (own({"num_replicas": 3}), {"gpus": 4}, 1),
        (built(tensor_parallel_size=2, pipeline_parallel_size=2), {}, 4),
        (built({"autoscaling_config": {"min_replicas": 2, "max_replicas": 8}}), {}, 2),
        (built({"autoscaling_config": {"min_replicas": 0, "initial_replicas": 3}}), {}, 3),
        (built({"num_replicas": "auto"}), {}, 1),
        (built(tensor_parallel_size=8), {"gpus": 4, "numOfHosts": 2}, 2),
        (own(**{"tensor-parallel-size": "8"}), {"maxReplicas": 4}, 4),
        ({"import_path": "mine:app"}, {}, 1),
        (
            built(tensor_parallel_size=8, pipeline_parallel_size=2),
            {"gpus": 8, "beside": {"vpc.amazonaws.com/efa": 32}},
            2,
        ),
        (own(**{"tensor-parallel-size": "2"}), {"beside": {"nvidia.com/gpumem": 30000, "nvidia.com/gpucores": 50}}, 2),
        (built(data_parallel_size=4), {}, 4),
        (built(data_parallel_size=2, tensor_parallel_size=8), {"gpus": 8}, 2),
    ],
)
def test_the_engines_accelerators_over_those_of_a_pod(config: Any, group: Any, pods: int) -> None:
    """Ranks over pods, replicas beside each other, several hosts of one replica, and not more than the group allows."""
    assert asked(config, **group) == pods
