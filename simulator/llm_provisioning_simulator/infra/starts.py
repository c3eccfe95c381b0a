"""Why a container runtime cannot start a container that it has created: the message, as containerd and runc word it.

What decides is the image (is there a shell for the command?) and the node's GPU driver.
"""

from typing import Any, Final

from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.world import Image

_RUNC: Final = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
)
# Azure/AKS issue 5871: nodes whose NVIDIA driver was replaced below the running kernel module.
_DRIVER: Final = (
    f"{_RUNC}unable to start container process: error during container init: error running prestart hook #0: exit "
    "status 1, stdout: , stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli: initialization error: nvml "
    "error: driver/library version mismatch: unknown"
)


def start_error(faults: Faults, container: dict[str, Any], image: Image) -> str | None:
    """Return why a container does not start, or None when it does."""
    command = container.get("command") or ()
    if command and not image.shell and command[0].rsplit("/", 1)[-1] in ("bash", "sh"):
        # Recorded: an image of one static binary under KubeRay's command.
        lacking = f'exec: "{command[0]}": stat {command[0]}: no such file or directory: unknown'
        return f"{_RUNC}unable to start container process: {lacking}"
    wants_gpu = "nvidia.com/gpu" in ((container.get("resources") or {}).get("limits") or {})
    return _DRIVER if wants_gpu and faults.gpu_driver_mismatch else None
