"""A node set-up as files, for those who deploy their node autoscaler another way (Helm, Terraform, GitOps)."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.private_files import child_of, write_private

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
        commands = [
            shlex.join(["kubectl", "--namespace", space, "rollout", "restart", f"deployment/{name}"])
            for space, name in setup.restarts
        ]
        texts["restart.sh"] = "\n".join(commands) + "\n"
    paths = {child_of(folder, name, "The node file"): text for name, text in texts.items()}
    try:
        for path, text in paths.items():
            write_private(path, text)
    except OSError as error:
        raise ConfigurationError(f"The nodes' files cannot be written into {folder}: {error}") from error
    return sorted(map(str, paths))


def _yaml(setup: "NodeSetup") -> str:
    import yaml

    return str(yaml.safe_dump_all([dict(manifest) for manifest in setup.manifests], sort_keys=False))
