"""Reads what KubeRay says about the RayService and its RayClusters: refusals, pods that it cannot create."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.blockers.blocker import Blocker
from airflow_llm_provisioning.core.blockers.causes import advice_for
from airflow_llm_provisioning.core.blockers.events import Events, Told
from airflow_llm_provisioning.core.blockers.sentences import first_line, plain
from airflow_llm_provisioning.core.fields import dig, text
from airflow_llm_provisioning.core.trace.objects import condition

# KubeRay does not retry after these conditions (ray-operator, rayservice_controller.go).
INITIALIZING_TIMEOUT: Final = "InitializingTimeout"
_GIVEN_UP: Final = frozenset({INITIALIZING_TIMEOUT, "ValidationFailed"})
# Reasons of its events (ray-operator, controllers/ray/utils/constant.go).
_INVALID: Final = re.compile(r"^Invalid|ValidationFailed$")
_NOT_CREATED: Final = re.compile(r"^FailedToCreate|^FailedCreate$|NotFound$")
_QUOTA: Final = re.compile(r"exceeded quota|quota exceeded", re.IGNORECASE)
# Answers of admission that every further try gets too; a webhook that does not answer may come back. What a policy says
# after that may contain any word.
# A quota that is new, and a queue that has not admitted the pod group yet (resourcequota; Volcano's webhook of pods).
_NOT_YET: Final = re.compile(r"status unknown for quota|podgroup phase is", re.IGNORECASE)
_DENIED: Final = re.compile(r"denied (?:the )?request|namespace \S+ because it is being terminated", re.IGNORECASE)
_REFUSED: Final = re.compile(
    r"forbidden|denied|is invalid|violates|must be|not found|does not exist|unknown field", re.IGNORECASE
)
_MAY_PASS: Final = re.compile(
    r"failed calling webhook|connection refused|timeout|timed out|deadline|being terminated|object has been modified",
    re.IGNORECASE,
)
# Serve's answers to a configuration that it cannot read (Ray's dashboard, modules/serve; KubeRay's UpdateDeployments),
# and a text that is no YAML.
_BAD_CONFIGURATION: Final = re.compile(r"UpdateDeployments fail: 4(?:00|22)\b|error converting YAML|^yaml: |: yaml: ")
# What keeps a RayCluster from its pods, where no event tells: the condition since KubeRay 1.2, the field before.
_FAILURE: Final = "ReplicaFailure"

# Who reconciles a RayService that names none (kuberay 1.7, utils/constant.go, KubeRayController).
_KUBERAY: Final = frozenset({"", "ray.io/kuberay-operator"})
_SUSPENDED: Final = "suspended: set suspend to false; with Kueue it starts when its queue admits it"
_SILENT: Final = "no status yet: check that the KubeRay operator runs and watches this namespace"


class Operator:
    """The newest RayService, and what the operator said."""

    def __init__(self) -> None:
        self._obj: Mapping[str, Any] = {}
        self._since: dict[str, datetime] = {}
        self._seen_at: datetime | None = None
        # RayCluster -> what its status says of pods that cannot be created, since when.
        self._failing: dict[str, tuple[str, str, datetime]] = {}
        self._suspended: set[str] = set()

    def feed(self, obj: Mapping[str, Any], at: datetime) -> None:
        """Process a version of the RayService."""
        reason = text(condition(obj, "Ready").get("reason"))
        if reason != text(condition(self._obj, "Ready").get("reason")):
            self._since["Ready"] = at
        if dig(obj, "metadata", "generation") != dig(self._obj, "metadata", "generation"):
            self._since["generation"] = at
        self._obj, self._seen_at = obj, self._seen_at or at

    def feed_cluster(self, obj: Mapping[str, Any], at: datetime) -> None:
        """Process a version of a RayCluster."""
        name = text(dig(obj, "metadata", "name"))
        self._suspended.discard(name)
        if dig(obj, "spec", "suspend") is True:
            self._suspended.add(name)
        told = condition(obj, _FAILURE)
        reason, message = text(told.get("reason")), text(told.get("message"))
        # A pod that cannot be deleted is no pod that is missing.
        if told.get("status") != "True" or not reason.startswith("FailedCreate"):
            failed = dig(obj, "status", "state") == "failed"
            reason, message = "failed", text(dig(obj, "status", "reason")) if failed else ""
        if message:
            before = self._failing.get(name)
            self._failing[name] = reason, message, before[2] if before else at
        else:
            self._failing.pop(name, None)

    def blockers(self, events: Events, clusters: Iterable[str], *, pods: Mapping[str, bool]) -> Iterator[Blocker]:
        """Yield what the operator reports. `pods`: `head` and `worker` -> whether such a pod exists."""
        ready = condition(self._obj, "Ready")
        if ready.get("status") == "False" and ready.get("reason") in _GIVEN_UP:
            message = first_line(text(ready.get("message"))) or "no message"
            yield self._blocker("operator_refused", self._title, text(ready["reason"]), message, self._since["Ready"])
        name = text(dig(self._obj, "metadata", "name"))
        yield from self._about_service(events.of("RayService", name, self._since.get("generation")), pods)
        for cluster in clusters:
            found = list(self._about_cluster(events.of("RayCluster", cluster), cluster, pods))
            yield from found or self._failing_of(cluster, pods)

    def waiting(self, clusters: Iterable[str]) -> Iterator[Blocker]:
        """Yield what is waited for where no pod exists."""
        if self._seen_at is None:
            return
        about, reason = self._waited_for([name for name in clusters if name])
        ready = condition(self._obj, "Ready")
        message = plain(text(ready.get("message")), 200)
        yield self._blocker("waiting", about, reason, message, self._seen_at)

    def _waited_for(self, clusters: list[str]) -> tuple[str, str]:
        """Return the object that has no pods or no RayCluster, and why, as far as it says so itself."""
        manager = text(dig(self._obj, "spec", "managedBy"))
        if manager not in _KUBERAY:
            return self._title, f"managed by {manager}, so KubeRay leaves it alone (spec.managedBy)"
        if dig(self._obj, "spec", "suspend") is True:
            return self._title, _SUSPENDED
        if clusters:
            suspended = any(name in self._suspended for name in clusters)
            return f"RayCluster {', '.join(clusters)}", _SUSPENDED if suspended else "no pods yet"
        return self._title, "no RayCluster yet" if dig(self._obj, "status") else _SILENT

    def _about_service(self, told: list[Told], pods: Mapping[str, bool]) -> Iterator[Blocker]:
        for one in told:
            if not one.warning:
                return  # a later success: what failed before is over
            if _INVALID.search(one.reason):
                yield self._blocker("operator_refused", self._title, one.reason, one.message, one.first_at)
            elif _BAD_CONFIGURATION.search(one.message) or (one.reason.startswith("Failed") and not any(pods.values())):
                yield self._not_created(self._title, one)
            elif one.reason.startswith("Failed"):
                yield self._blocker("operator_retries", self._title, one.reason, one.message, one.first_at)

    def _about_cluster(self, told: list[Told], cluster: str, pods: Mapping[str, bool]) -> Iterator[Blocker]:
        about = f"RayCluster {cluster}"
        for one in told:
            if not one.warning or _created_later(one, told):
                continue
            if _INVALID.search(one.reason):
                yield self._blocker("operator_refused", about, one.reason, one.message, one.first_at)
            elif _NOT_CREATED.search(one.reason) and not pods.get(_role(one.reason), False):
                yield self._not_created(about, one)

    def _not_created(self, about: str, told: Told) -> Blocker:
        times = f" ({told.count} times)" if told.count > 1 else ""
        return self._blocker(_kind(told.message), about, f"{told.reason}{times}", told.message, told.first_at)

    def _failing_of(self, cluster: str, pods: Mapping[str, bool]) -> Iterator[Blocker]:
        """Yield what a RayCluster's status says: events are gone after an hour, and may not be readable."""
        if cluster in self._failing:
            reason, message, since = self._failing[cluster]
            role = "worker" if "Worker" in reason or "-worker-" in message else "head"
            if not pods.get(role, False):
                yield self._blocker(_kind(message), f"RayCluster {cluster}", reason, plain(message), since)

    @property
    def _title(self) -> str:
        namespace, name = (text(dig(self._obj, "metadata", key)) for key in ("namespace", "name"))
        return f"RayService {namespace}/{name}" if namespace else f"RayService {name}"

    def _blocker(self, kind: str, about: str, reason: str, sentence: str, since: datetime) -> Blocker:
        return Blocker(
            kind=kind,
            about=about,
            reason=reason,
            sentence=sentence,
            since=since,
            advice=advice_for(sentence, "admission"),
        )


def _kind(message: str) -> str:
    """Return the kind of blocker that a refused creation is."""
    if _QUOTA.search(message):
        return "quota"
    if _NOT_YET.search(message):
        return "operator_retries"
    if _DENIED.search(message) or _BAD_CONFIGURATION.search(message):
        return "pod_refused"
    return "pod_refused" if _REFUSED.search(message) and not _MAY_PASS.search(message) else "operator_retries"


def _role(reason: str) -> str:
    """Return whose creation failed."""
    return "worker" if "Worker" in reason else "head"


def _created_later(failed: Told, told: list[Told]) -> bool:
    """Return whether the same thing was created after it had failed."""
    created = failed.reason.replace("FailedToCreate", "Created")
    return created != failed.reason and any(one.reason == created and one.at >= failed.at for one in told)
