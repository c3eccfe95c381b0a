"""The RayService of a trial, and what can be known to be wrong with one before a cluster sees it.

The shape is the origin's (elotl/skyray at 49c25bb, luna-llm-serve/): head 2 CPU / 8 Gi, worker 8 CPU / 20 Gi / 1 GPU
with the
nvidia.com/gpu toleration; static: one worker, no autoscaler; dynamic: Ray's autoscaler in the head pod, workers from 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from airflow_llm_provisioning.core.manifests import (
    GPU_TOLERATION,
    Placement,
    check_ray_service,
    parse_documents,
    serve_applications,
)
from airflow_llm_provisioning.core.workload import Resources, ScalingSetup, Workload

__all__ = [
    "GPU_TOLERATION",
    "Placement",
    "Serving",
    "check_ray_service",
    "parse_manifest",
    "ray_service",
    "serve_applications",
    "serve_service",
]

SERVE_APP: Final = "llm"
WORKER_GROUP: Final = "gpu-group"
MAX_WORKERS: Final = 4


@dataclass(frozen=True, slots=True)
class Serving:
    """What runs in the pods of one trial: the image as it is pulled, and what is still missing from it at start."""

    image: str
    pip: tuple[str, ...]
    env: Mapping[str, str]


def ray_service(
    name: str,
    workload: Workload,
    setup: ScalingSetup,
    serving: Serving,
    *,
    head: Placement,
    worker: Placement,
    labels: Mapping[str, str],
    namespace: str = "default",
) -> dict[str, Any]:
    """Return the RayService of one trial. `labels` go on it and on every pod of it."""
    dynamic = setup is ScalingSetup.DYNAMIC
    cluster: dict[str, Any] = {
        "rayVersion": workload.ray_version,
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0"},  # noqa: S104 - inside the pod, as the operator needs it
            "template": _pod("ray-head", workload.head, serving, head, labels, ports=_HEAD_PORTS),
        },
        "workerGroupSpecs": [
            {
                "groupName": WORKER_GROUP,
                "replicas": 0 if dynamic else 1,
                "minReplicas": 0,
                "maxReplicas": MAX_WORKERS,
                "rayStartParams": {},
                "template": _pod("ray-worker", workload.worker, serving, worker, labels),
            }
        ],
    }
    if dynamic:
        cluster["enableInTreeAutoscaling"] = True
        cluster["autoscalerOptions"] = {
            "upscalingMode": "Default",
            "resources": {
                "requests": {"cpu": "1", "memory": "1000Mi"},
                "limits": {"cpu": "1", "memory": "1000Mi"},
            },
        }
    manifest = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {"serveConfigV2": _serve_config(workload, serving), "rayClusterConfig": cluster},
    }
    check_ray_service(manifest)
    return manifest


def parse_manifest(manifest: Mapping[str, Any] | str) -> dict[str, Any]:
    """Return the one RayService of a dict or of YAML text; other objects beside it are left out."""
    return parse_documents(manifest, where="The manifest").ray_service


def serve_service(manifest_or_name: Mapping[str, Any] | str) -> str:
    """Return the name of the Service whose first ready endpoint ends the trial (KubeRay: `<rayservice>-serve-svc`)."""
    name = manifest_or_name if isinstance(manifest_or_name, str) else manifest_or_name["metadata"]["name"]
    return f"{name}-serve-svc"


_HEAD_PORTS: Final = ((6379, "gcs-server"), (8265, "dashboard"), (10001, "client"), (8000, "serve"))


def _pod(
    container: str,
    resources: Resources,
    serving: Serving,
    placement: Placement,
    labels: Mapping[str, str],
    ports: Sequence[tuple[int, str]] = (),
) -> dict[str, Any]:
    amounts: dict[str, str] = {"cpu": resources.cpu, "memory": resources.memory}
    if resources.gpu:
        amounts["nvidia.com/gpu"] = str(resources.gpu)
    main: dict[str, Any] = {
        "name": container,
        "image": serving.image,
        # A tag that is already on the node must not be asked for again: that is what a pre-populated volume is for.
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
        "env": [{"name": key, "value": value} for key, value in sorted(serving.env.items())],
    }
    if ports:
        main["ports"] = [{"containerPort": port, "name": name} for port, name in ports]
    spec: dict[str, Any] = {"containers": [main]}
    tolerations = [*([dict(GPU_TOLERATION)] if resources.gpu else []), *map(dict, placement.tolerations)]
    if tolerations:
        spec["tolerations"] = tolerations
    if placement.node_selector:
        spec["nodeSelector"] = dict(placement.node_selector)
    metadata: dict[str, Any] = {"labels": {**labels, **placement.labels}}
    if placement.annotations:
        metadata["annotations"] = dict(placement.annotations)
    return {"metadata": metadata, "spec": spec}


def _serve_config(workload: Workload, serving: Serving) -> str:
    runtime_env: dict[str, Any] = {"env_vars": dict(workload.runtime_env_vars)}
    if workload.working_dir:
        runtime_env["working_dir"] = workload.working_dir
    if serving.pip:
        runtime_env["pip"] = list(serving.pip)
    application: dict[str, Any] = {
        "name": SERVE_APP,
        "route_prefix": "/",
        "import_path": workload.import_path,
        "args": _plain(workload.app_args),
        "runtime_env": {key: value for key, value in runtime_env.items() if value},
    }
    if workload.profile == "phi3-2025":
        # The origin's application builder has one deployment; ray.serve.llm names and sizes its own.
        application["deployments"] = [
            {"name": "VLLMDeployment", "num_replicas": 1, "ray_actor_options": {"num_cpus": 1}}
        ]
    return yaml.safe_dump({"applications": [application]}, sort_keys=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
