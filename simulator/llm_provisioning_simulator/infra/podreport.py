"""What one pod's kubelet tells the API server: events about the pod, and its status."""

from collections.abc import Mapping
from typing import Any

from llm_provisioning_simulator.infra.machines import ClusterContext, Machine
from llm_provisioning_simulator.infra.podstatus import ContainerState, PodState
from llm_provisioning_simulator.kube.stamps import stamp


class PodReport:
    """The reports of one pod. `state`: None until its kubelet has accepted it."""

    def __init__(self, ctx: ClusterContext, machine: Machine, pod: dict[str, Any]) -> None:
        self._ctx = ctx
        self._machine = machine
        self._pod = pod
        self.state: PodState | None = None

    @property
    def pod(self) -> dict[str, Any]:
        """The pod as it is stored now, else as it was bound: read only."""
        return self.stored() or self._pod

    def stored(self) -> dict[str, Any] | None:
        """Return the pod as it is stored now, to be read only: another one of the same name is not ours."""
        metadata = self._pod["metadata"]
        pod = self._ctx.store.peek("pods", metadata["name"], metadata["namespace"])
        return pod if pod and pod["metadata"]["uid"] == metadata["uid"] else None

    def accept(self) -> PodState:
        """Begin the pod's status."""
        self.state = PodState.accepted(self._pod, self._machine.address, self.now())
        self.write()
        return self.state

    def containers(self) -> list[ContainerState]:
        """Return the state of every container; none before the pod is accepted."""
        return [*self.state.init, *self.state.main] if self.state else []

    def write(self) -> None:
        """Write the pod's status as its containers are now."""
        state, pod = self.state, self.stored()
        if state is None or pod is None:
            return
        status = state.status(pod, self.now())

        def change(item: dict[str, Any]) -> None:
            item["status"] = status

        metadata = pod["metadata"]
        store = self._ctx.store
        store.mutate("pods", metadata["name"], metadata["namespace"], change, subresource="status", manager="kubelet")

    def wait(self, container: ContainerState, reason: str, message: str) -> None:
        """Say for what a container waits."""
        container.state = {"waiting": {"reason": reason, "message": message}}
        self.write()

    def path(self, container: ContainerState) -> str:
        """Return the field path by which events name a container."""
        init = self.state is not None and any(container is item for item in self.state.init)
        return f"spec.{'initContainers' if init else 'containers'}{{{container.name}}}"

    def warn(self, reason: str, message: str, container: ContainerState | None = None) -> None:
        """Write a warning about the pod, or about one of its containers."""
        self.event(reason, message, container, "Warning")

    def event(self, reason: str, message: str, container: ContainerState | None = None, type_: str = "Normal") -> None:
        """Write an event about the pod, or about one of its containers."""
        self._ctx.store.record_event(
            self.pod,
            reason,
            message,
            component="kubelet",
            style="kubelet",
            type_=type_,
            field_path=None if container is None else self.path(container),
            host=self._machine.name,
        )

    def now(self) -> str:
        """Return the present instant as Kubernetes writes it."""
        return stamp(self._ctx.clock.now())


def full_name(pod: Mapping[str, Any]) -> str:
    """Return `name_namespace(uid)`, the kubelet's own name of a pod in its texts."""
    metadata = pod["metadata"]
    return f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
