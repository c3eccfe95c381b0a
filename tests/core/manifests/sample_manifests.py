"""The samples of other projects as parsed RayServices, and KubeRay's schema to hold changed ones against."""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from airflow_llm_provisioning.core.manifests import parse_documents

FOLDER = Path(__file__).parent / "samples"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SKYRAY = [name for name in NAMES if name.startswith("skyray-")]


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text()


def sample(name: str) -> dict[str, Any]:
    return parse_documents(text_of(name), where=name).ray_service


def application(manifest: dict[str, Any], index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(manifest["spec"]["serveConfigV2"])["applications"][index]
    return found


def small(serve_config: str | None = None, **cluster: Any) -> dict[str, Any]:
    """Return a RayService with one GPU worker group; `cluster` replaces keys of its RayCluster."""
    container = {"name": "ray-worker", "image": "a:1", "resources": {"limits": {"nvidia.com/gpu": 1}}}
    group = {"groupName": "gpu", "replicas": 1, "template": {"spec": {"containers": [container]}}}
    head = {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray-head", "image": "a:1"}]}}}
    config = serve_config if serve_config is not None else "applications: [{name: llm, import_path: 'm:app'}]"
    return copy.deepcopy(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayService",
            "metadata": {"name": "small"},
            "spec": {
                "serveConfigV2": config,
                "rayClusterConfig": {"headGroupSpec": head, "workerGroupSpecs": [group], **cluster},
            },
        }
    )


def schemas(crd_file: Path) -> dict[str, jsonschema.Draft4Validator]:
    """Return apiVersion -> KubeRay's own schema; fields that it does not know are refused."""
    crd = yaml.safe_load(crd_file.read_text())
    return {
        f"ray.io/{version['name']}": jsonschema.Draft4Validator(_closed(version["schema"]["openAPIV3Schema"]))
        for version in crd["spec"]["versions"]
    }


def schema_problems(validator: jsonschema.Draft4Validator, manifest: dict[str, Any]) -> list[str]:
    """Return what the schema refuses; it says nothing about the RayService's own metadata."""
    errors = validator.iter_errors(manifest)
    return [error.message for error in errors if not (error.path and error.path[0] == "metadata")]


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(value) for key, value in schema.items()}
    if isinstance(made.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in made:
        made.setdefault("additionalProperties", False)
    return made
