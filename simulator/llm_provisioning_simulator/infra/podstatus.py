"""The status a kubelet 1.34 writes for a pod, worked out from what its containers are doing. Pure.

Shapes, order of conditions and reasons are those of the recordings. A condition's `lastTransitionTime` moves only when
its status does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_provisioning_simulator.world import Image


@dataclass(slots=True)
class ContainerState:
    """One container as its kubelet sees it. `state`: Kubernetes' own ({"waiting": ...}, ...), `last_state`: that of its
    run before; `image`: once local; `awaited`: its startup probe has not succeeded yet.
    """

    container: dict[str, Any]
    state: dict[str, Any]
    image: Image | None = None
    identity: str = ""
    ready: bool = False
    restarts: int = 0
    last_state: dict[str, Any] = field(default_factory=dict)
    awaited: bool = False

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.container["name"])

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return "running" in self.state

    @property
    def has_run(self) -> bool:
        """Whether it runs, or has run before."""
        return self.running or "terminated" in self.state or bool(self.last_state)

    @property
    def completed(self) -> bool:
        """Whether it has ended well."""
        return bool(self.state.get("terminated", {}).get("exitCode") == 0)

    def as_dict(self) -> dict[str, Any]:
        """Return it as it stands in a pod's status."""
        status: dict[str, Any] = {
            "name": self.name,
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.ready,
            "restartCount": self.restarts,
            "image": self.container["image"],
            "imageID": f"{self.image.repository}@{self.image.digest}" if self.image else "",
            "started": self.running and not self.awaited,
        }
        if self.identity:
            status["containerID"] = self.identity
            resources = self.container.get("resources") or {}
            status["allocatedResources"] = dict(resources.get("requests") or {})
            status["resources"] = dict(resources)
        mounts = [_mount(mount) for mount in self.container.get("volumeMounts") or ()]
        return status | ({"volumeMounts": mounts} if mounts else {})


@dataclass(slots=True)
class PodState:
    """A pod as its kubelet sees it. `start_time`: when the kubelet accepted it; `ip`: once its sandbox is up."""

    start_time: str
    host_ip: str
    init: list[ContainerState]
    main: list[ContainerState]
    ip: str | None = None
    initialized: bool = False
    """Said when the last init container's end has been seen, not at that end."""
    failed: bool = False
    transitions: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Condition -> (status, since)."""

    @classmethod
    def accepted(cls, pod: Mapping[str, Any], host_ip: str, at: str) -> "PodState":
        """Return the state of a pod that has just been bound to a node."""
        spec = pod["spec"]
        has_init = bool(spec.get("initContainers"))
        reason = "PodInitializing" if has_init else "ContainerCreating"

        def waiting(containers: Iterable[dict[str, Any]]) -> list[ContainerState]:
            return [ContainerState(item, {"waiting": {"reason": reason}}) for item in containers]

        return cls(
            at, host_ip, waiting(spec.get("initContainers") or ()), waiting(spec["containers"]), None, not has_init
        )

    @property
    def ready(self) -> bool:
        """Whether every container of the pod is."""
        return self.initialized and not self.failed and all(item.ready for item in self.main)

    @property
    def succeeded(self) -> bool:
        """Whether every container has ended well."""
        return bool(self.main) and all(item.completed for item in self.main)

    def status(self, pod: Mapping[str, Any], at: str) -> dict[str, Any]:
        """Return the pod's whole status at an instant."""
        generation = pod["metadata"].get("generation", 1)
        before = pod.get("status") or {}
        status: dict[str, Any] = {
            "observedGeneration": generation,
            "phase": self._phase(),
            "conditions": self._conditions(before, generation, at),
            "hostIP": self.host_ip,
            "hostIPs": [{"ip": self.host_ip}],
            "startTime": self.start_time,
            "containerStatuses": [item.as_dict() for item in self.main],
            "qosClass": before.get("qosClass", "Burstable"),
        }
        if self.ip:
            status |= {"podIP": self.ip, "podIPs": [{"ip": self.ip}]}
        if self.init:
            status["initContainerStatuses"] = [item.as_dict() for item in self.init]
        return status

    def _phase(self) -> str:
        if self.failed:
            return "Failed"
        if self.succeeded:
            return "Succeeded"
        return "Running" if any(item.has_run for item in self.main) else "Pending"

    def _conditions(self, before: Mapping[str, Any], generation: int, at: str) -> list[dict[str, Any]]:
        unready = [item.name for item in self.main if not item.ready]
        incomplete = [item.name for item in self.init if not item.completed] or [item.name for item in self.init]
        not_ready = ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
        if self.failed:
            not_ready = ("PodFailed", "")
        if self.succeeded:
            not_ready = ("PodCompleted", "")
        uninitialized = ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]")
        scheduled = next((item for item in before.get("conditions") or () if item["type"] == "PodScheduled"), None)
        rows = [
            self._condition(
                "PodReadyToStartContainers", self.ip is not None and not self.failed and not self.succeeded, at
            ),
            self._condition("Initialized", self.initialized, at, uninitialized),
            self._condition("Ready", self.ready, at, not_ready),
            self._condition("ContainersReady", self.ready, at, not_ready),
        ]
        if scheduled is not None:
            rows.append(
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled["lastTransitionTime"]}
            )
        return [
            {"type": row.pop("type"), "observedGeneration": generation, "lastProbeTime": None, **row} for row in rows
        ]

    def _condition(self, type_: str, holds: bool, at: str, why_not: tuple[str, str] = ("", "")) -> dict[str, Any]:
        status = "True" if holds else "False"
        known, since = self.transitions.get(type_, ("", at))
        if known != status:
            self.transitions[type_] = (status, at)
            since = at
        row = {"type": type_, "status": status, "lastTransitionTime": since}
        if not holds:
            row |= {key: text for key, text in zip(("reason", "message"), why_not, strict=True) if text}
        return row


def _mount(mount: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: mount[key] for key in ("name", "mountPath") if key in mount}
    return shown | ({"readOnly": True, "recursiveReadOnly": "Disabled"} if mount.get("readOnly") else {})
