"""The progress of a deployment during its recording. `core.readiness` decides; this module stores the state."""

from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.readiness import Readiness
from airflow_llm_provisioning.core.trace import Line
from airflow_llm_provisioning.core.trace.objects import condition


class Progress:
    """`ready_at`: when the ready endpoint was received. `failure`: why the deployment cannot become ready, or None.
    `status`: the current state of the deployment in words.
    """

    def __init__(self, namespace: str, name: str, uid: str, generation: int | None = None) -> None:
        self._subject = name, namespace
        self._uid = uid
        self._generation = generation
        self._judge = self._fresh()
        self._status = "without a status of the operator"
        self.ready_at: datetime | None = None

    @property
    def failure(self) -> str | None:
        """Why the deployment cannot become ready, or None."""
        return self._judge.reason if self._judge.state == "failed" else None

    @property
    def status(self) -> str:
        """The current state of the deployment, with the newest refusals of capacity."""
        waiting = [self._judge.waiting_for] if self._judge.waiting_for else []
        return "; ".join([self._status, *waiting, *self._judge.notes[-2:]])

    def take(self, line: Line, received_at: datetime) -> None:
        """Process one recorded line."""
        if line["resource"] in ("rayservices", "serve-rest"):
            self._status = _status(line["object"]) or self._status
        if self.ready_at is not None and line["resource"] == "endpointslices":
            return  # the endpoint was ready; only failures matter now
        self._judge.feed(line)
        self._note_ready(received_at)

    def tick(self, now: datetime) -> None:
        """Process the passing of time: a state that stays failed becomes a failure."""
        self._judge.tick(now)

    def _note_ready(self, received_at: datetime) -> None:
        if self._judge.state == "endpoint_ready":
            self.ready_at = received_at
            self._judge = self._fresh()

    def _fresh(self) -> Readiness:
        return Readiness(*self._subject, uid=self._uid, generation=self._generation)


def _status(obj: Any) -> str | None:
    applications = mapping(dig(obj, "applications"))
    for part in ("pendingServiceStatus", "activeServiceStatus"):
        applications = applications or mapping(dig(obj, "status", part, "applicationStatuses"))
    for name, application in applications.items():
        return f"serving application {name!r} {text(dig(application, 'status'))}"
    ready = condition(obj, "Ready")
    return f"not ready ({text(ready.get('reason'))}: {text(ready.get('message'))[:200]})" if ready else None
