"""What a simulated kubelet and the processes inside its containers tell each other.

The kubelet knows images, nodes and probes; the application model knows Ray and vLLM. Neither knows the other beyond
this file.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from llm_provisioning_simulator.world import Delivery, Image, NodeSpec

ProbeKind = Literal["readiness", "liveness", "startup"]


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container's first process ended. `reason`: as the kubelet shows it (Error, OOMKilled, Completed);
    `message`: what it left in its termination message file (/dev/termination-log).
    """

    code: int
    reason: str = "Error"
    message: str = ""


OOM_KILLED = Exit(137, "OOMKilled")


@dataclass(frozen=True, slots=True)
class ContainerContext:
    """One container that is about to run: its pod as stored at that moment, its entry in the pod's spec, its node and
    image, and how the image reached the node.

    `delivery.first_touch_bytes_s` is the rate of the first read of content on a node: the code that starts
    processes must charge it (interpreter, imports, libraries), because the pull did not. None: local disk.
    `network_bytes_s` is the node's link, shared by everything that downloads there.
    """

    pod: dict[str, Any] = field(repr=False)
    container: dict[str, Any] = field(repr=False)
    node: NodeSpec
    image: Image = field(repr=False)
    delivery: Delivery
    network_bytes_s: float | None = None


class PodRuntime(Protocol):
    """The processes inside the pods, as one cluster's kubelets see them. All on the simulator's one loop."""

    async def run_init_container(self, ctx: ContainerContext) -> int | Exit:
        """Run an init container to its end, however long that takes, and return how it ended, or its exit code alone.
        Cancelled when the pod is deleted.
        """
        ...

    def container_started(self, ctx: ContainerContext) -> asyncio.Future[Exit] | None:
        """Start the process model of a container whose state has just become running, for the first time or again.
        Return what waits for its end, or None for one that runs until it is stopped.
        """
        ...

    def container_ended(self, pod: dict[str, Any], container: str) -> None:
        """Stop everything of one container: it has ended by itself, or is being killed."""
        ...

    def probe(self, pod: dict[str, Any], container: str, kind: ProbeKind) -> str | None:
        """Return why a probe of a running container fails at this instant, as the kubelet words it; None when it does
        not fail.
        """
        ...

    def pod_stopped(self, pod: dict[str, Any]) -> None:
        """Stop everything of a pod: SIGTERM has come, or the pod is gone. Called more than once for some pods."""
        ...
