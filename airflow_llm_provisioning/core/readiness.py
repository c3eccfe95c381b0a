"""Decides whether a trial is ready, failed or pending, from the lines as they are recorded.

Ready is the origin's finish line: the first ready endpoint of the serve Service. The first valid completion, which a
user would call ready, is reported beside it. Pure: the time comes with the lines or as an argument.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.generation import ReadyEndpoints, ServedGeneration, ready_endpoints
from airflow_llm_provisioning.core.instants import parse_instant, parse_stamp
from airflow_llm_provisioning.core.manifest import serve_service
from airflow_llm_provisioning.core.pull_refusals import PullRefusals
from airflow_llm_provisioning.core.trace.format import Line
from airflow_llm_provisioning.core.trace.objects import condition

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")

State = Literal["pending", "endpoint_ready", "failed"]

# A status may show DEPLOY_FAILED for moments while a new configuration replaces it. The failures in the recordings
# stay.
DEPLOY_FAILED_GRACE_S: Final = 30.0
_MAX_NOTES: Final = 20
# Wordings of refusals by Kubernetes quota admission, cluster-autoscaler, Karpenter, EC2, GCE and Azure.
_REFUSALS: Final = (
    "exceeded quota",
    "quota",
    "insufficientcapacity",
    "insufficient capacity",
    "insufficientinstancecapacity",
    "zone_resource_pool_exhausted",
    "skunotavailable",
    "allocationfailed",
    "vcpulimitexceeded",
)
_REFUSAL_REASONS: Final = frozenset({"NotTriggerScaleUp", "FailedScaleUp", "InsufficientCapacityError"})


class Readiness:
    """The state of one RayService, updated line by line. Call `feed` with every line, then read `state` and `reason`.

    `uid`: the uid of the RayService if known; otherwise the first one of that name that is not being deleted. Later
    objects of the same name with another uid are ignored. `generation`: the applied generation if known; an endpoint
    of an older one is not ready (`core.generation`). `state` never changes after `endpoint_ready` or `failed`.
    `notes`: refusals of capacity or quota. They are no failure, because autoscalers retry.
    """

    def __init__(
        self,
        name: str,
        namespace: str,
        *,
        uid: str | None = None,
        generation: int | None = None,
        deploy_failed_grace_s: float = DEPLOY_FAILED_GRACE_S,
    ) -> None:
        self.name, self.namespace, self.uid = name, namespace, uid
        self.state: State = "pending"
        self.reason: str | None = None
        self.notes: list[str] = []
        self._grace = timedelta(seconds=deploy_failed_grace_s)
        self._created_at: datetime | None = None
        self._service = serve_service(name)
        self._service_owners: dict[str, frozenset[str]] = {}
        self._clusters: set[str] = set()
        self._served = ServedGeneration(generation)
        self._endpoints_of: dict[str, ReadyEndpoints] = {}
        self._failed_since: dict[tuple[str, str], tuple[datetime, str]] = {}
        self._pulls = PullRefusals()

    @property
    def waiting_for(self) -> str | None:
        """What keeps the ready endpoint of an older generation from counting, in words; None if nothing does."""
        return self._served.waiting_for

    def feed(self, line: Line) -> State:
        """Process one line and return the state. Unreadable lines change nothing."""
        received_at = parse_instant(mapping(line).get("received_at"))
        if received_at is None or self.state != "pending":
            return self.state
        obj, kind = mapping(line.get("object")), line.get("type")
        match line.get("resource"):
            case "rayservices":
                self._rayservice(obj, kind, received_at)
            case "services":
                self._remember_owner(obj)
            case "endpointslices":
                self._endpoints(obj, kind)
            case "pods":
                self._pod(obj, kind, received_at)
            case "serve-rest":
                self._serve_answer(line, obj, received_at)
            case "events" | "events.events.k8s.io":
                self._note(obj)
        self._decide()
        return self.tick(received_at)

    def tick(self, now: datetime) -> State:
        """Return the state at `now`.

        An application that stays failed, or an image that stays refused, ends the wait without another line.
        """
        if self.state == "pending":
            refused = self._pulls.lasting(now)
            if refused:
                self._fail(refused)
                return self.state
            for (cluster, app), (since, message) in sorted(self._failed_since.items()):
                # While a change is under way only the new RayCluster counts.
                if cluster in ("", self._served.cluster) and now - since >= self._grace:
                    self._fail(
                        f"Serve application {app!r} failed to deploy and did not recover: {_traceback_summary(message)}"
                    )
                    break
        return self.state

    def _rayservice(self, obj: Mapping[str, Any], kind: Any, received_at: datetime) -> None:
        if not self._is_this_rayservice(obj):
            return
        if kind == "DELETED" or dig(obj, "metadata", "deletionTimestamp"):
            self._fail(f"RayService {self.namespace}/{self.name} was deleted during the wait, and not by this trial.")
            return
        own_service = text(dig(obj, "spec", "serveService", "metadata", "name"))
        self._service = own_service or self._service
        self._served.take_rayservice(obj)
        ready = condition(obj, "Ready")
        if ready.get("status") == "False" and ready.get("reason") in ("InitializingTimeout", "ValidationFailed"):
            self._fail(
                f"KubeRay reports {self.name} as failed ({ready['reason']}): {_first_line(text(ready.get('message')))}"
            )
            return
        for part in ("activeServiceStatus", "pendingServiceStatus"):
            status = mapping(dig(obj, "status", part))
            cluster = text(status.get("rayClusterName"))
            self._clusters.add(cluster)
            self._applications(cluster, status.get("applicationStatuses"), received_at)

    def _pod(self, obj: Mapping[str, Any], kind: Any, received_at: datetime) -> None:
        self._served.take_pod(obj)
        if text(dig(obj, "metadata", "labels", "ray.io/cluster")) in self._clusters - {""}:
            self._pulls.feed(obj, kind, received_at)

    def _is_this_rayservice(self, obj: Mapping[str, Any]) -> bool:
        metadata = mapping(obj.get("metadata"))
        if metadata.get("name") != self.name or metadata.get("namespace", self.namespace) != self.namespace:
            return False
        uid = text(metadata.get("uid"))
        if self.uid is None and uid and not metadata.get("deletionTimestamp"):
            self.uid = uid
        if self.uid != uid:
            return False
        created = parse_stamp(metadata.get("creationTimestamp"))
        self._created_at = created.at if created else self._created_at
        return True

    def _remember_owner(self, obj: Mapping[str, Any]) -> None:
        uid = text(dig(obj, "metadata", "uid"))
        self._service_owners[uid] = _owners(obj)
        self._served.take_service(obj)

    def _endpoints(self, obj: Mapping[str, Any], kind: Any) -> None:
        labels = mapping(dig(obj, "metadata", "labels"))
        name = text(dig(obj, "metadata", "name"))
        if kind == "BOOKMARK" or labels.get("kubernetes.io/service-name") != self._service:
            return
        self._endpoints_of.pop(name, None)
        if dig(obj, "metadata", "namespace") not in (None, self.namespace) or not self._owned_by_rayservice(obj):
            return
        if kind != "DELETED":
            self._endpoints_of[name] = ready_endpoints(obj)

    def _decide(self) -> None:
        """An endpoint and the status that tells its generation arrive in any order, so every line decides anew."""
        for name, ready in self._endpoints_of.items() if self.state == "pending" else ():
            if self._served.serves(ready):
                self.state, self.reason = "endpoint_ready", f"EndpointSlice {name} has a ready endpoint."

    def _owned_by_rayservice(self, obj: Mapping[str, Any]) -> bool:
        """Return whether an EndpointSlice belongs to this trial.

        It does if its Service does. With an unknown Service it does if it is not older than the RayService, because the
        watch of the Services may be a moment behind.
        """
        for service in _owners(obj):
            if service in self._service_owners:
                return self.uid is not None and self.uid in self._service_owners[service]
        created = parse_stamp(dig(obj, "metadata", "creationTimestamp"))
        return self._created_at is not None and created is not None and created.at >= self._created_at

    def _serve_answer(self, line: Line, obj: Mapping[str, Any], received_at: datetime) -> None:
        service = text(line.get("service"))
        named = (cluster for cluster in self._clusters - {""} if service.startswith(f"{cluster}-"))
        cluster = self._served.cluster_of_service(service) or max(named, key=len, default="")
        if line.get("status_code", 200) == 200 and cluster in self._clusters - {""}:
            self._applications(cluster, obj.get("applications"), received_at)

    def _applications(self, cluster: str, applications: Any, received_at: datetime) -> None:
        """Process application states.

        A missing status proves nothing (it is missing while the head is not ready). Only another status clears a
        failure.
        """
        for app, status in mapping(applications).items():
            state = dig(status, "status")
            if state == "DEPLOY_FAILED":
                self._failed_since.setdefault((cluster, app), (received_at, text(dig(status, "message"))))
            elif isinstance(state, str):
                self._failed_since.pop((cluster, app), None)

    def _note(self, obj: Mapping[str, Any]) -> None:
        reason, message = text(obj.get("reason")), text(obj.get("message") or obj.get("note"))
        told = f"{reason} {message}".lower()
        if reason not in _REFUSAL_REASONS and not any(word in told for word in _REFUSALS):
            return
        involved = mapping(obj.get("involvedObject") or obj.get("regarding"))
        created = parse_stamp(dig(obj, "metadata", "creationTimestamp"))
        if self._created_at is None or (created is not None and created.at < self._created_at):
            return
        note = f"{reason} on {involved.get('kind')} {involved.get('name')}: {_first_line(message)}"
        if note not in self.notes and len(self.notes) < _MAX_NOTES:
            self.notes.append(note)

    def _fail(self, reason: str) -> None:
        self.state, self.reason = "failed", reason


def _owners(obj: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(text(mapping(ref).get("uid")) for ref in items(dig(obj, "metadata", "ownerReferences")))


def _first_line(message: str) -> str:
    return next((line.strip() for line in message.splitlines() if line.strip()), "no message")[:300]


def _traceback_summary(message: str) -> str:
    """Return the first and the last line of a traceback from Serve, without colour codes."""
    lines = [line.strip() for line in _ANSI.sub("", message).splitlines() if line.strip()]
    return " ... ".join(dict.fromkeys([*lines[:1], *lines[-1:]]))[:500] or "no message"
