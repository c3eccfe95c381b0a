"""A RayService given to a single operator, and the name of the Service whose first ready endpoint is waited for."""

from collections.abc import Mapping
from typing import Any

from airflow_llm_provisioning.core.manifests.parse import parse_documents


def parse_manifest(manifest: Mapping[str, Any] | str) -> dict[str, Any]:
    """Return the RayService of a manifest given as a dict or as YAML text; reading a file is the caller's."""
    return parse_documents(manifest, where="The manifest").ray_service


def serve_service(manifest_or_name: Mapping[str, Any] | str) -> str:
    """Return the name of the Service whose first ready endpoint ends the trial (KubeRay: `<rayservice>-serve-svc`)."""
    name = manifest_or_name if isinstance(manifest_or_name, str) else manifest_or_name["metadata"]["name"]
    return f"{name}-serve-svc"
