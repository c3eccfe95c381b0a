"""Follows Serve's applications and deployments, from the RayService's status and from Serve's REST answers.

The application's message only says which deployment failed. The exception is one level below, in the message of the
deployment (`serveDeploymentStatuses.<d>.message`, in REST `deployments.<d>.message`; KubeRay 1.7, Ray 2.60).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.blockers.blocker import Blocker
from airflow_llm_provisioning.core.blockers.causes import advice_for
from airflow_llm_provisioning.core.blockers.sentences import plain, points_elsewhere
from airflow_llm_provisioning.core.blockers.tracebacks import failure_of
from airflow_llm_provisioning.core.fields import dig, mapping, objects, text

_FAILED: Final = "DEPLOY_FAILED"
_HEALTHY: Final = frozenset({"RUNNING", "HEALTHY"})


@dataclass(slots=True)
class _Application:
    state: str = ""
    message: str = ""
    since: datetime | None = None
    # Deployment -> (status, message), as last seen.
    deployments: dict[str, tuple[str, str]] = field(default_factory=dict)


class Serve:
    """The applications of one RayService, as last seen."""

    def __init__(self) -> None:
        self._applications: dict[str, _Application] = {}
        self._replicas: list[Mapping[str, Any]] | None = None

    def feed_status(self, applications: Any, at: datetime) -> None:
        """Process `applicationStatuses` of a RayService. A missing status proves nothing (it is missing while the head
        is not ready). Only another status ends a failure.
        """
        for name, status in mapping(applications).items():
            self._feed(name, status, "serveDeploymentStatuses", at)

    def feed_answer(self, applications: Any, at: datetime) -> None:
        """Process `applications` of an answer of Serve."""
        self._replicas = []
        for name, status in mapping(applications).items():
            self._feed(name, status, "deployments", at)
            for deployment in mapping(dig(status, "deployments")).values():
                self._replicas += objects(deployment, "replicas")

    def hosts(self, pod: str, address: str) -> bool:
        """Return whether a replica runs on this pod."""
        where = {text(one.get(key)) for one in self._replicas or () for key in ("node_instance_id", "node_ip")}
        return bool(where & ({pod, address} - {""}))

    @property
    def all_placed(self) -> bool:
        """Whether replicas exist and each has its place, so none waits for another pod."""
        return bool(self._replicas) and all(one.get("node_ip") for one in self._replicas or ())

    def blockers(self) -> Iterator[Blocker]:
        """Yield what blocks the applications."""
        for name, application in sorted(self._applications.items()):
            if application.since is None or application.state in _HEALTHY:
                continue
            if application.state == _FAILED:
                yield _failed(name, application, application.since)
            else:
                yield from _unready(name, application, application.since)

    def _feed(self, name: str, status: Any, level: str, at: datetime) -> None:
        state = text(dig(status, "status"))
        if not state:
            return
        application = self._applications.setdefault(name, _Application())
        if application.state != state:
            application.state, application.since, application.message = state, at, ""
            application.deployments = {} if state != _FAILED else application.deployments
        application.message = text(dig(status, "message")) or application.message
        for deployment, told in mapping(dig(status, level)).items():
            before = application.deployments.get(deployment, ("", ""))
            message = text(dig(told, "message"))
            application.deployments[deployment] = (text(dig(told, "status")), message or before[1])


def _failed(name: str, application: _Application, since: datetime) -> Blocker:
    """Return the failure of an application with the messages of those of its deployments that failed."""
    causes = {
        deployment: failure_of(message)
        for deployment, (status, message) in sorted(application.deployments.items())
        if message and status not in _HEALTHY
    }
    told = [f"deployment {deployment!r}: {cause}" for deployment, cause in causes.items() if cause]
    sentence = "; ".join(told) or failure_of(application.message) or "Serve gives no message"
    return Blocker(
        kind="deploy_failed",
        about=f"Serve application {name!r} failed to deploy",
        reason=_FAILED,
        sentence=sentence,
        since=since,
        advice=advice_for(sentence, "engine"),
    )


def _unready(name: str, application: _Application, since: datetime) -> Iterator[Blocker]:
    """Yield the messages of deployments that are not healthy yet; without one, that the application waits."""
    waits = True
    for deployment, (status, message) in sorted(application.deployments.items()):
        if message and status not in _HEALTHY:
            waits = False
            yield _deployment(name, deployment, status, message, since)
    if waits:
        yield Blocker(
            kind="waiting",
            about=f"Serve application {name!r}",
            reason=application.state,
            sentence=plain(application.message, 300),
            since=since,
        )


def _deployment(name: str, deployment: str, status: str, message: str, since: datetime) -> Blocker:
    retries = "exception" in message or "failed" in message.lower()
    sentence = failure_of(message) if retries else plain(message)
    return Blocker(
        kind="replica_retries" if retries else "waiting",
        about=f"Serve deployment {deployment!r} of application {name!r}",
        reason=status,
        sentence=sentence,
        since=since,
        advice="" if points_elsewhere(sentence) else advice_for(sentence, "engine"),
    )
