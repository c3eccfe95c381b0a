"""Judges a deployment while it is recorded: endpoint ready, failed for good, deleted, or still on its way."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, objects, text
from airflow_llm_provisioning.core.manifest import serve_service
from airflow_llm_provisioning.core.trace import Line, Outcome

# Colour codes of Ray's tracebacks.
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")


class EndpointJudge:
    """`ready_at`: when the ready endpoint was received. `ended`: (outcome, reason) when waiting is pointless.

    `standing`: in words, where the deployment is now.
    """

    def __init__(self, subject: Mapping[str, str]) -> None:
        self._subject = subject
        self._service = serve_service(subject["name"])
        self.ready_at: datetime | None = None
        self.ended: tuple[Outcome, str] | None = None
        self.standing = "not seen by the operator yet"

    def take(self, resource: str, kind: str, obj: Mapping[str, Any], received_at: datetime) -> None:
        """Take note of one version of an object that concerns the trial."""
        if resource == "endpointslices" and kind != "DELETED" and self.ready_at is None:
            if dig(obj, "metadata", "labels", "kubernetes.io/service-name") == self._service and _has_ready(obj):
                self.ready_at = received_at
        elif resource == "rayservices":
            self._take_rayservice(kind, obj)

    def take_answer(self, answer: Line) -> None:
        """Take note of what Serve's REST interface said."""
        if answer.get("status_code") == 200:
            self._take_applications(dig(answer, "object", "applications"))

    def _take_rayservice(self, kind: str, obj: Mapping[str, Any]) -> None:
        if kind == "DELETED" or dig(obj, "metadata", "deletionTimestamp"):
            self._end("aborted", "was deleted while its endpoint was waited for")
            return
        for status in ("pendingServiceStatus", "activeServiceStatus"):
            self._take_applications(dig(obj, "status", status, "applicationStatuses"))
        for condition in objects(obj, "status", "conditions"):
            if condition.get("type") == "Ready" and condition.get("status") != "True":
                reason = text(condition.get("reason"))
                self.standing = f"not ready ({reason}: {text(condition.get('message'))[:200]})"
                # KubeRay 1.6+, annotation ray.io/initializing-timeout: the operator gives up for good.
                if reason == "InitializingTimeout":
                    self._end("failed", f"timed out in the operator: {text(condition.get('message'))[:300]}")

    def _take_applications(self, applications: Any) -> None:
        for name, application in mapping(applications).items():
            status = text(dig(application, "status"))
            self.standing = f"serving application {name!r} {status}"
            if status == "DEPLOY_FAILED":
                self._end("failed", f"has a Serve application {name!r} that failed to deploy: {_why(application)}")

    def _end(self, outcome: Outcome, what: str) -> None:
        if self.ended is None:
            self.ended = outcome, f"RayService {self._subject['namespace']}/{self._subject['name']} {what}."


def _has_ready(endpointslice: Mapping[str, Any]) -> bool:
    # discovery.k8s.io/v1: an unset `ready` is to be read as true.
    return any(dig(endpoint, "conditions", "ready") is not False for endpoint in items(endpointslice.get("endpoints")))


def _why(application: Any) -> str:
    messages = [text(dig(application, "message")), *_deployment_messages(application)]
    lines = [line.strip() for message in messages for line in _ANSI.sub("", message).splitlines() if line.strip()]
    return " ".join(lines[-3:])[-400:] or "Serve gives no reason"


def _deployment_messages(application: Any) -> Iterator[str]:
    for key in ("deployments", "serveDeploymentStatuses"):
        for deployment in mapping(dig(application, key)).values():
            yield text(dig(deployment, "message"))
