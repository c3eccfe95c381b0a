"""What a simulated kubelet and the processes inside its containers tell each other.

The kubelet knows images, nodes and probes; the application model knows Ray and vLLM. Neither knows the other beyond
this file.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from llm_provisioning_simulator.world import Delivery, Image, NodeSpec


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

    async def run_init_container(self, ctx: ContainerContext) -> int:
        """Run an init container to its end, however long that takes, and return its exit code. Cancelled when the pod
        is deleted.
        """
        ...

    def container_started(self, ctx: ContainerContext) -> None:
        """Start the process model of a container whose state has just become running."""
        ...

    def probe(self, pod: dict[str, Any], container: str, kind: Literal["readiness", "liveness"]) -> bool:
        """Answer a probe of a running container as its processes would at this instant."""
        ...

    def pod_stopped(self, pod: dict[str, Any]) -> None:
        """Stop everything of a pod: SIGTERM has come, or the pod is gone. Called more than once for some pods."""
        ...
