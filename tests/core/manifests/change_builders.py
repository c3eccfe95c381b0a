"""What the tests of changed manifests look at."""

from typing import Any

from sample_manifests import small

from airflow_llm_provisioning.core.manifests import (
    Placement,
    pod_template,
    ray_container,
    ray_groups,
)

NOTHING = Placement()


def parts(manifest: dict[str, Any], index: int = 1) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the group, its pod's spec and its Ray container; 0 is the head, 1 the first worker group."""
    group = ray_groups(manifest)[index]
    spec = manifest["spec"]["rayClusterConfig"]
    found = spec["headGroupSpec"] if index == 0 else spec["workerGroupSpecs"][index - 1]
    return found, pod_template(manifest, group)["spec"], ray_container(manifest, group)


def serving(environment: str, rest: str = "") -> dict[str, Any]:
    return small(f"applications: [{{name: llm, import_path: 'm:app', runtime_env: {environment}{rest}}}]")
