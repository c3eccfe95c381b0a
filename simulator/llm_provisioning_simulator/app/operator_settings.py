"""What the KubeRay operator's process was told when it started: the environment of its Deployment's container.

A changed Deployment replaces the process at once; a paused one keeps the process that runs.
"""

from collections.abc import Mapping
from typing import Any, Final

from llm_provisioning_simulator.kube.store import ObjectStore

NAME: Final = "kuberay-operator"


class OperatorSettings:
    """The running operator's environment."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._running: dict[str, str] = {}

    def injects_init_containers(self) -> bool:
        """Return whether workers get `wait-gcs-ready`: only the text `false`, in any case, switches it off (kuberay
        1.7, common/pod.go, getEnableInitContainerInjection).
        """
        return self._environment().get("ENABLE_INIT_CONTAINER_INJECTION", "").lower() != "false"

    def _environment(self) -> dict[str, str]:
        deployment = self._store.peek("deployments", NAME, NAME)
        if deployment is not None and not deployment["spec"].get("paused"):
            self._running = _variables(deployment["spec"]["template"]["spec"]["containers"][0])
        return self._running


def _variables(container: Mapping[str, Any]) -> dict[str, str]:
    return {item["name"]: str(item["value"]) for item in container.get("env") or () if "value" in item}
