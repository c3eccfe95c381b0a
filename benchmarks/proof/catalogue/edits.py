"""Changes of a manifest before it is applied. Each function changes a manifest, or returns such a function."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import yaml

from airflow_llm_provisioning.core.builtin_profiles import PHI3_2025
from llm_provisioning_simulator.instant_trial import Stage
from proof.recorded_trial import Manifest

BRANCH: Final = "https://github.com/elotl/skyray/archive/main.zip"


def in_runtime_env(**variables: str) -> Callable[[Manifest], None]:
    """Set variables in the application's runtime_env; Ray gives them priority over the containers' variables."""

    def change(manifest: Manifest) -> None:
        for application in _applications(manifest):
            application["runtime_env"].setdefault("env_vars", {}).update(variables)

    return change


def without_xet_on_the_worker(manifest: Manifest) -> None:
    """Disable Xet on the workers, which load the weights; the head keeps it."""
    for container in _containers(manifest)[1:]:
        container["env"].append({"name": "HF_HUB_DISABLE_XET", "value": "1"})


def off_on_the_worker(manifest: Manifest) -> None:
    """Switch the fast download off on the workers, which load the weights."""
    for container in _containers(manifest)[1:]:
        for variable in container["env"]:
            if variable["name"] == "HF_HUB_ENABLE_HF_TRANSFER":
                variable["value"] = "0"


def with_loader(load_format: str) -> Callable[[Manifest], None]:
    """Change how the engine reads its weights."""

    def change(manifest: Manifest) -> None:
        for application in _applications(manifest):
            for config in application["args"].get("llm_configs", ()):
                config["engine_kwargs"]["load_format"] = load_format
            if "llm_configs" not in application["args"]:
                application["args"]["load-format"] = load_format

    return change


def with_volume(path: str) -> Callable[[Manifest], None]:
    """Mount a PersistentVolumeClaim that outlives the trial."""

    def change(manifest: Manifest) -> None:
        for template in _templates(manifest):
            template["spec"]["volumes"] = [{"name": "kept", "persistentVolumeClaim": {"claimName": "kept"}}]
            for container in template["spec"]["containers"]:
                container["volumeMounts"] = [{"name": "kept", "mountPath": path}]

    return change


def claim(on: Stage) -> None:
    """Create the claim of `with_volume`, once."""
    store = on.cluster.store
    if store.peek("persistentvolumeclaims", "kept", "default") is None:
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "100Gi"}}}
        store.create(
            "persistentvolumeclaims",
            {"metadata": {"name": "kept", "namespace": "default"}, "spec": spec},
            manager="kubectl",
        )


def with_images(**fields: Any) -> Callable[[Manifest], None]:
    """Change how every Ray container gets its image."""

    def change(manifest: Manifest) -> None:
        for container in _containers(manifest):
            container.update(fields)

    return change


def with_pull_secret(manifest: Manifest) -> None:
    """Give the pods their own registry credentials."""
    for template in _templates(manifest):
        template["spec"]["imagePullSecrets"] = [{"name": "mine"}]


def with_redundant_pip(manifest: Manifest) -> None:
    """Keep the list of packages in the configuration although the image contains them."""
    for application in _applications(manifest):
        application["runtime_env"]["pip"] = list(PHI3_2025.runtime_pip)


def branch(manifest: Manifest) -> None:
    """Use the application's code from a branch, as the origin did."""
    for application in _applications(manifest):
        application["runtime_env"]["working_dir"] = BRANCH


def _applications(manifest: Manifest) -> "EditedApplications":
    return EditedApplications(manifest)


class EditedApplications:
    """The applications of a manifest's Serve configuration; changes are written back."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def __iter__(self) -> Iterator[dict[str, Any]]:
        config = yaml.safe_load(self._manifest["spec"]["serveConfigV2"])
        yield from config["applications"]
        self._manifest["spec"]["serveConfigV2"] = yaml.safe_dump(config, sort_keys=False)


def _templates(manifest: Manifest) -> list[dict[str, Any]]:
    spec = manifest["spec"]["rayClusterConfig"]
    return [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def _containers(manifest: Manifest) -> list[dict[str, Any]]:
    return [container for template in _templates(manifest) for container in template["spec"]["containers"]]
