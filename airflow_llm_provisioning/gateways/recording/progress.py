"""Where a deployment stands while it is recorded: `core.readiness` judges, this remembers for the recorder."""

from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.readiness import Readiness
from airflow_llm_provisioning.core.trace import Line
from airflow_llm_provisioning.core.trace.objects import condition


class Progress:
    """`ready_at`: when the ready endpoint was received. `failure`: why waiting is pointless, or None. `standing`: in
    words, where the deployment is now.
    """

    def __init__(self, namespace: str, name: str, uid: str) -> None:
        self._subject = name, namespace
        self._uid = uid
        self._judge = self._fresh()
        self._standing = "not seen by the operator yet"
        self.ready_at: datetime | None = None

    @property
    def failure(self) -> str | None:
        """Why waiting is pointless."""
        return self._judge.reason if self._judge.state == "failed" else None

    @property
    def standing(self) -> str:
        """Where the deployment is now, with the newest refusals of capacity."""
        return "; ".join([self._standing, *self._judge.notes[-2:]])

    def take(self, line: Line, received_at: datetime) -> None:
        """Take one recorded line into account."""
        if line["resource"] in ("rayservices", "serve-rest"):
            self._standing = _standing(line["object"]) or self._standing
        if self.ready_at is not None and line["resource"] == "endpointslices":
            return  # it was ready; from now on only failures are looked for
        self._judge.feed(line)
        self._note_ready(received_at)

    def tick(self, now: datetime) -> None:
        """Let time pass: what stays failed is a failure then."""
        self._judge.tick(now)

    def _note_ready(self, received_at: datetime) -> None:
        if self._judge.state == "endpoint_ready":
            self.ready_at = received_at
            self._judge = self._fresh()

    def _fresh(self) -> Readiness:
        return Readiness(*self._subject, uid=self._uid)


def _standing(obj: Any) -> str | None:
    applications = mapping(dig(obj, "applications"))
    for part in ("pendingServiceStatus", "activeServiceStatus"):
        applications = applications or mapping(dig(obj, "status", part, "applicationStatuses"))
    for name, application in applications.items():
        return f"serving application {name!r} {text(dig(application, 'status'))}"
    ready = condition(obj, "Ready")
    return f"not ready ({text(ready.get('reason'))}: {text(ready.get('message'))[:200]})" if ready else None
