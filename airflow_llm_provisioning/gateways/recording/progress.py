"""The progress of a deployment during its recording. `core.readiness` decides; this module stores the state."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.blockers import Blocker, named_together
from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.progress import LiveProgress
from airflow_llm_provisioning.core.readiness import Readiness
from airflow_llm_provisioning.core.ready_instant import Instant, ReadyInstant
from airflow_llm_provisioning.core.trace import Line
from airflow_llm_provisioning.core.trace.objects import condition

_ASK_EVERY: Final = timedelta(seconds=5)
# So many characters of an error tell whether a reason contains it.
_ENOUGH: Final = 80


class Progress:
    """`ready`: when the endpoint was ready; None if it was not. `failure`: why the deployment cannot become ready, or
    None. `status`: the current state of the deployment in words. `graces`, `owner`: see `core.readiness.Readiness`.
    `since`: when the applied generation was submitted. `live`: what is told of it while it runs.
    """

    def __init__(
        self,
        namespace: str,
        name: str,
        uid: str,
        generation: int | None = None,
        graces: Mapping[str, Any] | None = None,
        since: datetime | None = None,
        owner: Mapping[str, str] | None = None,
        live: LiveProgress | None = None,
    ) -> None:
        self.live = live
        self._judge = Readiness(name, namespace, uid=uid, generation=generation, graces=graces, owner=owner)
        self._status = "without a status of the operator"
        self._now: datetime | None = None
        self._asked_at: datetime | None = None
        self._blocker: Blocker | None = None
        self._instant = ReadyInstant(since)
        self._planned_at: datetime | None = None
        self.ready: Instant | None = None

    @property
    def ready_at(self) -> datetime | None:
        """When the endpoint was ready: as it was received, or the latest instant that the cluster's stamps allow."""
        return self.ready.latest_at if self.ready else None

    @property
    def failure(self) -> str | None:
        """Why the deployment cannot become ready, or None."""
        return self._judge.reason if self._judge.state == "failed" else None

    @property
    def status(self) -> str:
        """The last state that the operator or Serve stated, and what blocks the deployment now, in sentences."""
        blocked = self._now and named_together(self._judge.blockers.at(self._now), self._now)
        stated = "; ".join([self._status, *([self._judge.waiting_for] if self._judge.waiting_for else [])])
        return f"{stated}. {blocked}" if blocked else f"{stated}."

    @property
    def blocker(self) -> Blocker | None:
        """What blocks the deployment most of all now; None if nothing does."""
        return next(iter(self._judge.blockers.at(self._now)), None) if self._now else None

    def next_look_at(self, now: datetime) -> datetime | None:
        """Plan the next `tick`, and return when it must be at the latest if no line comes; None: never."""
        looks = [self._judge.due_at(now)]
        if self.live is not None:
            looks += [self._asked_at + _ASK_EVERY if self._asked_at else now, self.live.due_at]
        self._planned_at = min((at for at in looks if at is not None), default=None)
        return self._planned_at

    def needs_a_look(self, now: datetime) -> bool:
        """Return whether the lines taken since the last look cannot wait for the planned one."""
        if self.ready is not None or self.failure is not None or (self.live is not None and self.live.has_news):
            return True
        due_at = self._judge.due_at(now)
        return due_at is not None and (self._planned_at is None or due_at < self._planned_at)

    def news(self) -> list[str]:
        """Return the lines about the deployment that are due now (`core.progress`)."""
        now = self._now
        if now is None or self.live is None:
            return []
        if self._asked_at is None or now - self._asked_at >= _ASK_EVERY:
            self._asked_at, self._blocker = now, self.blocker
        return self.live.told(now, self._blocker)

    def with_cause(self, reason: str) -> str:
        """Return a reason with the last error in the logs, if one was read and the reason lacks it."""
        found = self._judge.blockers.engine_error()
        if found is None or found[1][:_ENOUGH] in reason:
            return reason
        whose, error, advice = found
        return f"{reason} {whose}: {error}{' ' if advice else ''}{advice}"

    def take(self, line: Line, received_at: datetime) -> None:
        """Process one recorded line."""
        self._now = max(self._now or received_at, received_at)
        if self.live is not None:
            self.live.take(line, received_at)
        if line["resource"] in ("rayservices", "serve-rest"):
            self._status = _status(line["object"]) or self._status
        if self.ready is not None and line["resource"] == "endpointslices":
            return  # the endpoint was ready; only failures matter now
        self._instant.take(line)
        self._judge.feed(line)
        if self._judge.state == "endpoint_ready":
            self.ready = self._instant.at(line, received_at, self._judge.ready_slice or "")
            self._judge.go_on()
            if self.live is not None:
                self.live.endpoint_ready(self.ready.latest_at)

    def note(self, line: Line) -> None:
        """Process a line that only explains: it is read after the end and changes no outcome."""
        self._judge.blockers.feed(line)

    def absent_since(self, at: datetime) -> None:
        """Take the end of an earlier recording: the deployment was watched until then."""
        if self.ready is None:
            self._instant.not_before(at)

    def tick(self, now: datetime) -> None:
        """Process the passing of time: a state that stays failed becomes a failure."""
        self._now = max(self._now or now, now)
        self._judge.tick(now)


def _status(obj: Any) -> str | None:
    applications = mapping(dig(obj, "applications"))
    for part in ("pendingServiceStatus", "activeServiceStatus"):
        applications = applications or mapping(dig(obj, "status", part, "applicationStatuses"))
    for name, application in applications.items():
        return f"serving application {name!r} {text(dig(application, 'status'))}"
    ready = condition(obj, "Ready")
    return f"not ready ({text(ready.get('reason'))}: {text(ready.get('message'))[:200]})" if ready else None
