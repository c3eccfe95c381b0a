"""How far one pod of a deployment is, from the versions of the pod and its kubelet's events as they arrive."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, objects, text
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.progress import spans
from airflow_llm_provisioning.core.trace.objects import condition, event_stamps

_ENDED: Final = ("Succeeded", "Failed")
# (milestone that has not been reached, the span that a pod without it is in), the latest one first.
_BEFORE: Final = (
    ("scheduled", spans.NODE),
    ("pull_started", spans.PULL_WAIT),
    ("pull_finished", spans.PULL),
    ("init_finished", spans.INIT),
    ("container_started", spans.CONTAINER),
    ("ready", spans.READINESS),
)


class PodProgress:
    """One pod. `role`: head or worker. `reached`: its milestones (names as in the analysis, without the role). `said`:
    what its kubelet or the scheduler said last. `present`: its image was on the node before, so none was pulled.
    """

    def __init__(self, name: str, role: str) -> None:
        self.name, self.role = name, role
        self.node = ""
        self.said = ""
        self.reached: dict[str, datetime] = {}
        self.gone = False
        self.present = False
        self._has_init = False

    def version(self, obj: Mapping[str, Any], received_at: datetime) -> list[str]:
        """Process a version of the pod; return the milestones that it shows first."""
        self.node = text(dig(obj, "spec", "nodeName")) or self.node
        self._has_init = bool(objects(obj, "spec", "initContainers"))
        self.gone = bool(dig(obj, "metadata", "deletionTimestamp")) or dig(obj, "status", "phase") in _ENDED
        return [name for name, at in _shown(obj) if self._reach(name, at, received_at)]

    def event(self, obj: Mapping[str, Any], received_at: datetime) -> list[str]:
        """Process an event about the pod; return the milestones that it shows first."""
        reason, message = text(obj.get("reason")), text(obj.get("message") or obj.get("note"))
        at = event_at(obj)
        if message:
            self.said = f"{_component(obj)}: {message}"
        if reason == "Pulling":
            return ["pull_started"] * self._reach("pull_started", at, received_at)
        if reason == "Pulled" and "pull_finished" not in self.reached:
            self._reach("pull_started", at, received_at)
            self.present = "already present" in message
            return ["pull_finished"] * self._reach("pull_finished", at, received_at)
        return []

    @property
    def span(self) -> str | None:
        """The span that it is in (`spans`, without the role); None if it is ready."""
        for milestone, span in _BEFORE:
            if milestone not in self.reached and not (milestone == "init_finished" and not self._has_init):
                later = _BEFORE[[name for name, _ in _BEFORE].index(milestone) + 1 :]
                # An event may be lost; a later milestone covers it.
                if not any(name in self.reached for name, _ in later):
                    return span
        return None

    def _reach(self, name: str, at: datetime | None, received_at: datetime) -> bool:
        if name in self.reached:
            return False
        # A node's clock may be ahead of ours.
        self.reached[name] = min(at, received_at) if at else received_at
        return True


def event_at(obj: Mapping[str, Any]) -> datetime | None:
    """Return when an event of either API happened first, in its component's clock."""
    first, _ = event_stamps(obj)
    return first.at if first else None


def _shown(obj: Mapping[str, Any]) -> Iterator[tuple[str, datetime | None]]:
    """Yield the milestones that a version of a pod shows, each with its stamp."""
    yield "pod_created", parse_instant(dig(obj, "metadata", "creationTimestamp"))
    for name, kind in (("scheduled", "PodScheduled"), ("ready", "Ready")):
        found = condition(obj, kind)
        if found.get("status") == "True":
            yield name, parse_instant(found.get("lastTransitionTime"))
    init = _state(obj, "initContainers", "initContainerStatuses", -1)
    began = dig(init, "running", "startedAt") or dig(init, "terminated", "startedAt")
    if began:
        yield "init_started", parse_instant(began)
    if dig(init, "terminated", "exitCode") == 0:
        yield "init_finished", parse_instant(dig(init, "terminated", "finishedAt"))
    main = _state(obj, "containers", "containerStatuses", 0)
    if main.get("running"):
        yield "container_started", parse_instant(dig(main, "running", "startedAt"))


def _state(pod: Mapping[str, Any], specs: str, statuses: str, at: int) -> Mapping[str, Any]:
    """Return the state of a pod's first (0) or last (-1) container of a kind; empty if it has none. Statuses have an
    order of their own.
    """
    named = objects(pod, "spec", specs)
    name = named[at].get("name") if named else None
    found = (status for status in objects(pod, "status", statuses) if status.get("name") == name)
    return mapping(next(found, {}).get("state"))


def _component(event: Mapping[str, Any]) -> str:
    source = mapping(event.get("source") or event.get("deprecatedSource"))
    told = event.get("reportingComponent") or event.get("reportingController") or source.get("component")
    return text(told) or "event"
