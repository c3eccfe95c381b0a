"""Follows one container of a pod: what it waits for, and how it ended before.

The kubelet's states alternate (ErrImagePull and ImagePullBackOff; running, terminated and CrashLoopBackOff), so a
single version does not tell how long something lasts, or that it repeats.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.blockers.images import IMAGE_REASONS, has_cause, image_kind
from airflow_llm_provisioning.core.blockers.sentences import plain, without_names
from airflow_llm_provisioning.core.fields import dig, mapping, number, text

_CREATING: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
_BACK_OFF: Final = "CrashLoopBackOff"
# Ends of a container that never ran (containerd, runc).
_NEVER_RAN: Final = frozenset({"StartError", "ContainerCannotRun"})
_REFUSALS: Final = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "StartError"}
)
# The runtime or the kubelet was busy or just started: it retries with success (containerd, dockershim, runc, systemd,
# kubelet's getServiceEnvVarMap).
_BUSY: Final = re.compile(
    r"deadline exceeded|is reserved for|timed? ?out|connection refused|try again|temporarily unavailable"
    r"|resource busy|not yet been read|runtime is down|error while dialing|message bus|in use by container"
    r"|failed to get container status",
    re.IGNORECASE,
)
# A container may fail while something else starts. Several same ends are no accident.
SAME_ENDS: Final = 3
ANY_ENDS: Final = 5
# The kubelet forgets a container's back-off after ten minutes (kubelet, MaxContainerBackOff x 2). Half of it is a run.
RECOVERED: Final = timedelta(minutes=5)
READY_AGAIN: Final = timedelta(minutes=1)

Found = tuple[str, str, str, datetime]
"""Kind, reason, sentence, since."""


class Container:
    """One container, updated with every version of its pod. `found` says what blocks it."""

    def __init__(self, name: str, *, init: bool, sidecar: bool = False) -> None:
        self.name, self.init = name, init
        # An init container that goes on beside the others, so that its end with 0 is no success (Kubernetes 1.29).
        self._completes = init and not sidecar
        self.image = ""
        self.ready = False
        self.running = False
        self.waiting_reason = ""
        self._message = ""
        self._back_off = ""
        self._since: datetime | None = None
        self._family = ""
        self._turned_at: datetime | None = None
        self._end: Mapping[str, Any] = {}
        self._ends = 0
        self._ended_at: datetime | None = None
        self._same_from = 0
        self._looping_since: datetime | None = None

    def feed(self, status: Mapping[str, Any], at: datetime) -> None:
        """Process a version of the container's status."""
        self.image = text(status.get("image")) or self.image
        waiting = mapping(dig(status, "state", "waiting"))
        running = dig(status, "state", "running") is not None
        if running != self.running or self._turned_at is None or self.ready != (status.get("ready") is True):
            self._turned_at = at
        self.running, self.ready = running, status.get("ready") is True
        self._count_ends(status, at)
        self.waiting_reason = text(waiting.get("reason"))
        family = self._family_of(self.waiting_reason)
        if family != self._family:
            self._family, self._since, self._message = family, at, ""
        message = text(waiting.get("message"))
        self._back_off = message if self.waiting_reason == _BACK_OFF else ""
        told = has_cause(message) if family == "image" else self.waiting_reason != _BACK_OFF
        if family and told:
            self._message = message

    def found(self, now: datetime, cause: str = "") -> Found | None:
        """Return what blocks the container at `now`, or None. `cause`: what an event says about its image's pull."""
        if self._family == "image" and self._since:
            message = self._message or cause
            reason = self.waiting_reason
            return image_kind(reason, message), reason, plain(message), self._since
        if self._family == "refused" and self._since:
            message = self._message or text(self._end.get("message"))
            reason = self.waiting_reason if self.waiting_reason != _BACK_OFF else text(self._end.get("reason"))
            kind = "container_delayed" if _BUSY.search(without_names(message)) else "container_refused"
            return kind, reason or "RunContainerError", plain(message), self._since
        return self._ended(now) or self._other()

    @property
    def known(self) -> bool:
        """Whether a kubelet has reported about it."""
        return self.running or bool(self.waiting_reason) or bool(self._end)

    @property
    def end_reason(self) -> str:
        """How it ended the last time; empty if it never did."""
        return text(self._end.get("reason"))

    @property
    def exit_code(self) -> int | None:
        """The exit code of its last end."""
        code = number(self._end.get("exitCode"))
        return None if code is None else int(code)

    def last_end(self, now: datetime) -> Found | None:
        """Return how it ended if that was not long ago, also where it runs again."""
        if not self._end or self._ended_at is None or now - self._ended_at >= RECOVERED:
            return None
        return "crashed", self.end_reason or "Error", self._how_ended(), self._ended_at

    def _other(self) -> Found | None:
        if self._family != "other" or self._since is None:
            return None
        return "container_delayed", self.waiting_reason, plain(self._message), self._since

    def _count_ends(self, status: Mapping[str, Any], at: datetime) -> None:
        end = mapping(dig(status, "state", "terminated")) or mapping(dig(status, "lastState", "terminated"))
        if not end or (self._completes and end.get("exitCode") == 0):
            return
        ends = int(number(status.get("restartCount")) or 0) + (0 if self.running else 1)
        if _identity(end) != _identity(self._end):
            self._same_from = max(ends - 1, 0) if self._end else 0
        if ends != self._ends or self._ended_at is None:
            self._ended_at = at
        self._end, self._ends = end, max(ends, 1)
        self._looping_since = (self._looping_since or at) if self._looping else None

    @property
    def _looping(self) -> bool:
        return self._ends - self._same_from >= SAME_ENDS or self._ends >= ANY_ENDS

    def _ended(self, now: datetime) -> Found | None:
        if not self._end or self._turned_at is None or self._recovered(now):
            return None
        reason = self.end_reason or "Error"
        if self.waiting_reason == _BACK_OFF:
            reason = f"{_BACK_OFF} after {reason}"
        if self._looping_since is not None and not self.running:
            return "crash_loop", reason, self._how_ended(), self._looping_since
        return "crashed", reason, self._how_ended(), self._turned_at

    def _how_ended(self) -> str:
        exit_code = "" if self.exit_code is None else f" with exit code {self.exit_code}"
        last = plain(text(self._end.get("message")) or self._back_off, 300)
        times = "once" if self._ends == 1 else f"{self._ends} times, the last time"
        sentence = f"it ended {times}{exit_code}"
        return f"{sentence}: {last}" if last else sentence

    def _recovered(self, now: datetime) -> bool:
        """Return whether it runs again as if it had never ended."""
        if not self.running or self._turned_at is None:
            return False
        if self.ready and self._looping_since is None:
            return True
        return now - self._turned_at >= (READY_AGAIN if self.ready else RECOVERED)

    def _family_of(self, waiting: str) -> str:
        if waiting in IMAGE_REASONS:
            return "image"
        if waiting in _REFUSALS:
            return "refused"
        never_ran = text(self._end.get("reason")) in _NEVER_RAN and not self.running
        if never_ran and waiting in (_BACK_OFF, ""):
            return "refused"
        return "" if waiting in _CREATING or waiting == _BACK_OFF else "other"


def _identity(end: Mapping[str, Any]) -> tuple[Any, Any]:
    return end.get("reason"), end.get("exitCode")
