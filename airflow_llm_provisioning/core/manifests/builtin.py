"""The RayService of a built-in workload, before any treatment: the same code changes it and a user's manifest.

The shape is the origin's (elotl/skyray at 49c25bb, luna-llm-serve/): head 2 CPU / 8 Gi, worker 8 CPU / 20 Gi / 1 GPU,
one worker from the start.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.builtin_profiles import BuiltinProfile, Resources
from airflow_llm_provisioning.core.manifests.serve_config import dumped
from airflow_llm_provisioning.core.manifests.tree import Node, copied

RAYSERVICE_NAME: Final = "llm-model-serve"
SERVE_APP: Final = "llm"
WORKER_GROUP: Final = "gpu-group"
MAX_WORKERS: Final = 4

_HEAD_PORTS: Final = ((6379, "gcs-server"), (8265, "dashboard"), (10001, "client"), (8000, "serve"))


def builtin_manifest(workload: BuiltinProfile) -> Node:
    """Return the RayService of a workload: its base image, what that lacks installed at start, static set-up."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": RAYSERVICE_NAME, "labels": {}},
        "spec": {
            "serveConfigV2": dumped({"applications": [_application(workload)]}),
            "rayClusterConfig": {
                "rayVersion": workload.ray_version,
                "headGroupSpec": {
                    "rayStartParams": {"dashboard-host": "0.0.0.0"},  # noqa: S104 - inside the pod, as KubeRay needs it
                    "template": _pod("ray-head", workload, workload.head, _HEAD_PORTS),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": WORKER_GROUP,
                        "replicas": 1,
                        "minReplicas": 0,
                        "maxReplicas": MAX_WORKERS,
                        "rayStartParams": {},
                        "template": _pod("ray-worker", workload, workload.worker),
                    }
                ],
            },
        },
    }


def _pod(name: str, workload: BuiltinProfile, resources: Resources, ports: Sequence[tuple[int, str]] = ()) -> Node:
    amounts: dict[str, str] = {"cpu": resources.cpu, "memory": resources.memory}
    if resources.gpu:
        amounts["nvidia.com/gpu"] = str(resources.gpu)
    container: Node = {
        "name": name,
        "image": workload.image.base_reference,
        # A tag that is already on the node must not be asked for again: that is what a pre-populated volume is for.
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
        "env": [],
    }
    if ports:
        container["ports"] = [{"containerPort": port, "name": port_name} for port, port_name in ports]
    return {"metadata": {"labels": {}}, "spec": {"containers": [container]}}


def _application(workload: BuiltinProfile) -> Node:
    environment: Mapping[str, Any] = {
        "env_vars": dict(workload.runtime_env_vars),
        "working_dir": workload.working_dir,
        "pip": list(workload.runtime_pip),
    }
    application: Node = {
        "name": SERVE_APP,
        "route_prefix": "/",
        "import_path": workload.import_path,
        "args": copied(workload.app_args),
        "runtime_env": {key: value for key, value in environment.items() if value},
    }
    if workload.profile == "phi3-2025":
        # The origin's application builder has one deployment; ray.serve.llm names and sizes its own.
        application["deployments"] = [
            {"name": "VLLMDeployment", "num_replicas": 1, "ray_actor_options": {"num_cpus": 1}}
        ]
    return application
