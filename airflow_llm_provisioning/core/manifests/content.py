"""A fingerprint of what a RayService deploys: two manifests that differ in form only have the same."""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.manifests.groups import ray_groups
from airflow_llm_provisioning.core.manifests.serve_config import serve_config
from airflow_llm_provisioning.core.manifests.tree import Node, copied, found
from airflow_llm_provisioning.core.names import fingerprint

_PLACEMENT: Final = ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints")


def content(manifest: Mapping[str, Any]) -> str:
    """Return the fingerprint of the spec, without what says where and under which name it runs.

    Left out: the metadata of the RayService and of its pods (names, labels, annotations), node selectors, tolerations,
    affinity and spreading. Serve's configuration counts as what it says, null as absent, `cpu: 2` as `cpu: "2"`.
    """
    made: Node = copied(manifest)
    for group in ray_groups(made):
        template = found(made, group.template_path)
        template.pop("metadata", None)
        for key in _PLACEMENT:
            template["spec"].pop(key, None)
    spec = made.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    if isinstance(spec.get("serveConfigV2"), str):
        spec["serveConfigV2"] = serve_config(manifest)
    return fingerprint(_canonical(spec, ""))


def _canonical(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        if key in ("requests", "limits"):
            return {name: str(item) for name, item in value.items()}
        return {name: _canonical(item, name) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_canonical(item, "") for item in value]
    return value
