"""A RayService given to a single operator, and the name of the Service whose first ready endpoint is waited for."""

from collections.abc import Mapping
from typing import Any

from airflow_llm_provisioning.core.fields import dig, text
from airflow_llm_provisioning.core.manifests.parse import parse_documents


def parse_manifest(manifest: Mapping[str, Any] | str) -> dict[str, Any]:
    """Return the RayService of a manifest given as a dict or as YAML text; reading a file is the caller's."""
    return parse_documents(manifest, where="The manifest").ray_service


def serve_service(manifest_or_name: Mapping[str, Any] | str) -> str:
    """Return the name of the Service whose first ready endpoint ends the trial.

    KubeRay names it `<rayservice>-serve-svc` unless `spec.serveService.metadata.name` is given (kuberay 1.7,
    utils.GenerateServeServiceName and common.BuildServeServiceForRayService).
    """
    if isinstance(manifest_or_name, str):
        return f"{manifest_or_name}-serve-svc"
    own = text(dig(manifest_or_name, "spec", "serveService", "metadata", "name"))
    return own or f"{manifest_or_name['metadata']['name']}-serve-svc"
