"""The RayService of a trial, and what can be known to be wrong with one before a cluster sees it.

The shape is the origin's (elotl/skyray at 49c25bb, luna-llm-serve/): head 2 CPU / 8 Gi, worker 8 CPU / 20 Gi / 1 GPU
with the
nvidia.com/gpu toleration; static: one worker, no autoscaler; dynamic: Ray's autoscaler in the head pod, workers from 0.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from airflow_llm_provisioning.core.fields import dig, mapping, objects, text
from airflow_llm_provisioning.core.names import MAX_RAYSERVICE_NAME
from airflow_llm_provisioning.core.workload import Resources, ScalingSetup, Workload
from airflow_llm_provisioning.exceptions import ManifestError

SERVE_APP: Final = "llm"
WORKER_GROUP: Final = "gpu-group"
MAX_WORKERS: Final = 4
GPU_TOLERATION: Final[Mapping[str, str]] = {
    "key": "nvidia.com/gpu",
    "operator": "Exists",
    "effect": "NoSchedule",
}


@dataclass(frozen=True, slots=True)
class Placement:
    """The marks by which a pod gets the nodes of a target; each node autoscaler has its own."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str]] = ()


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
    """Return a manifest given as a dict or as YAML text; reading a file is the caller's."""
    if isinstance(manifest, Mapping):
        return dict(manifest)
    try:
        documents = [document for document in yaml.safe_load_all(manifest) if document]
    except yaml.YAMLError as error:
        raise ManifestError(f"The manifest is no YAML: {_one_line(error)}") from error
    if len(documents) != 1:
        raise ManifestError(f"The manifest must be one RayService; the text holds {len(documents)} documents.")
    if not isinstance(documents[0], dict):
        raise ManifestError(
            f"The manifest must be one RayService; found the text {str(documents[0])!r:.80}. The path of a file must "
            "end in .yaml, .yml or .json and lie in the DAG's template search path."
        )
    return documents[0]


def check_ray_service(manifest: Mapping[str, Any]) -> None:
    """Raise a ManifestError naming everything that keeps this from being a RayService we can deploy and measure."""
    problems = _problems(manifest)
    if problems:
        name = dig(manifest, "metadata", "name") or "?"
        raise ManifestError(f"RayService {name!r} cannot be deployed: {'; '.join(problems)}.")


def serve_service(manifest_or_name: Mapping[str, Any] | str) -> str:
    """Return the name of the Service whose first ready endpoint ends the trial (KubeRay: `<rayservice>-serve-svc`)."""
    name = manifest_or_name if isinstance(manifest_or_name, str) else manifest_or_name["metadata"]["name"]
    return f"{name}-serve-svc"


def serve_applications(manifest: Mapping[str, Any]) -> list[str]:
    """Return the names of the Serve applications a RayService deploys. Raises ManifestError for what is no YAML."""
    try:
        config = yaml.safe_load(text(dig(manifest, "spec", "serveConfigV2")))
    except yaml.YAMLError as error:
        raise ManifestError(f"spec.serveConfigV2 is no YAML: {_one_line(error)}") from error
    return [str(app.get("name", "default")) for app in objects(config, "applications")]


def _problems(manifest: Mapping[str, Any]) -> list[str]:
    kind, version = manifest.get("kind"), str(manifest.get("apiVersion", ""))
    if kind != "RayService" or not version.startswith("ray.io/"):
        return [f"it is a {version or '?'} {kind or '?'}, not a ray.io RayService"]
    problems = _name_problems(dig(manifest, "metadata", "name"))
    if not mapping(dig(manifest, "spec", "rayClusterConfig")):
        problems.append("spec.rayClusterConfig is missing")
    try:
        if not serve_applications(manifest):
            problems.append("spec.serveConfigV2 names no application, so nothing would ever become ready")
    except ManifestError as error:
        problems.append(str(error))
    return problems


def _name_problems(name: Any) -> list[str]:
    if not isinstance(name, str) or not name:
        return ["metadata.name is missing"]
    if len(name) > MAX_RAYSERVICE_NAME:
        return [f"its name has {len(name)} characters and KubeRay allows {MAX_RAYSERVICE_NAME}"]
    # A Service is named after it (kuberay 1.7, utils.ValidateRayServiceMetadata: a DNS-1035 label).
    if not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name):
        return ["its name must be lower-case letters, digits and hyphens, and begin with a letter"]
    return []


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


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
