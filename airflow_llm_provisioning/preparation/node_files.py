"""A node set-up as files, for those who deploy their node autoscaler another way (Helm, Terraform, GitOps)."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_llm_provisioning.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.autoscalers.base import NodeSetup


def write_node_files(setup: "NodeSetup", folder: Path) -> list[str]:
    """Write everything that would be applied, started or restarted into `folder`; return the files' paths."""
    texts = dict(setup.files)
    if setup.manifests:
        texts["manifests.yaml"] = _yaml(setup)
    if setup.cloud_pools:
        texts["pools.json"] = json.dumps([dict(pool) for pool in setup.cloud_pools], indent=2) + "\n"
    if setup.restarts:
        commands = [f"kubectl --namespace {space} rollout restart deployment/{name}" for space, name in setup.restarts]
        texts["restart.sh"] = "\n".join(commands) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"The nodes' files cannot be written into {folder}: {error}") from error
    return [str(folder / name) for name in sorted(texts)]


def _yaml(setup: "NodeSetup") -> str:
    import yaml

    return str(yaml.safe_dump_all([dict(manifest) for manifest in setup.manifests], sort_keys=False))
