"""Decides whether a trial is ready, failed or pending, from the lines as they are recorded.

Ready is the origin's finish line: the first ready endpoint of the serve Service. The first valid completion, which a
user would call ready, is reported beside it. Failed is a deployment with a blocker that cannot pass by itself. Pure:
the time comes with the lines or as an argument.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from airflow_llm_provisioning.core.blockers import Blockers, grace_periods
from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.generation import ReadyEndpoints, ServedGeneration, ready_endpoints
from airflow_llm_provisioning.core.instants import parse_instant, parse_stamp
from airflow_llm_provisioning.core.manifest import serve_service
from airflow_llm_provisioning.core.ownership import ExpectedOwner
from airflow_llm_provisioning.core.trace.format import Line
from airflow_llm_provisioning.core.trace.ownership import is_serve_service

State = Literal["pending", "endpoint_ready", "failed"]

# The failures that still end the wait after the endpoint was ready. What a pod waits for then stops no answer.
_AFTER_READY: Final = frozenset({"deploy_failed", "operator_refused"})

_ASK_EVERY: Final = timedelta(seconds=1)


class Readiness:
    """The state of one RayService, updated line by line. Call `feed` with every line, then read `state` and `reason`.

    `uid`: the uid of the RayService if known; otherwise the first one of that name that is not being deleted. Later
    objects of the same name with another uid are ignored. `generation`: the applied generation if known; an endpoint
    of an older one is not ready (`core.generation`). `state` never changes after `failed`, and after `endpoint_ready`
    only through `go_on`. `ready_slice`: the EndpointSlice whose endpoint counts. `blockers`: what keeps the deployment
    from proceeding. `graces`: seconds by kind of blocker that replace the defaults (`core.blockers.GRACE_S`).
    `owner`: {label: value} that the RayService carries (`core.ownership.ExpectedOwner`).
    """

    def __init__(
        self,
        name: str,
        namespace: str,
        *,
        uid: str | None = None,
        generation: int | None = None,
        graces: Mapping[str, Any] | None = None,
        owner: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.namespace, self.uid = name, namespace, uid
        self.state: State = "pending"
        self.reason: str | None = None
        self.ready_slice: str | None = None
        self.blockers = Blockers(name, namespace, uid=uid)
        self._graces = grace_periods(graces)
        self._created_at: datetime | None = None
        self._service = serve_service(name)
        self._services: dict[str, Mapping[str, Any]] = {}
        self._served = ServedGeneration(generation)
        self._owner = ExpectedOwner(owner, generation)
        self._endpoints_of: dict[str, tuple[ReadyEndpoints, datetime | None]] = {}
        self._was_ready = False
        self._asked_at: datetime | None = None
        # When time alone can end the wait, as far as the lines say that were there when it was asked last.
        self._ends_at: datetime | None = None
        self._fed = False

    @property
    def waiting_for(self) -> str | None:
        """What keeps the ready endpoint of an older generation from counting, in words; None if nothing does."""
        if (told := self._served.waiting_for) is not None or self.state != "pending":
            return told
        # The operator may name the new RayCluster before the Service selects it (ray-project/kuberay #5148).
        ours = [ready for ready, created_at in self._endpoints_of.values() if self._owns(ready, created_at)]
        older = sorted(set().union(*map(self._served.elsewhere, ours)))
        return f"Service {self._service} still selects RayCluster {', '.join(older)}" if older else None

    def feed(self, line: Line) -> State:
        """Process one line and return the state. Unreadable lines change nothing."""
        received_at = parse_instant(mapping(line).get("received_at"))
        if received_at is None or self.state != "pending":
            return self.state
        self.blockers.feed(line)
        self._fed = True
        obj, kind = mapping(line.get("object")), line.get("type")
        match line.get("resource"):
            case "rayservices":
                self._asked_at = None
                self._rayservice(obj, kind)
            case "rayclusters":
                self._served.take_raycluster(obj)
            case "services":
                self._remember_owner(obj)
            case "endpointslices":
                self._endpoints(obj, kind)
            case "pods":
                self._served.take_pod(obj)
        self._decide()
        return self.tick(received_at)

    def tick(self, now: datetime) -> State:
        """Return the state at `now`: a blocker that stands longer than its grace period fails the deployment."""
        if self.state == "pending" and self._is_due(now):
            ending, self._ends_at = self.blockers.judged(now, self._graces)
            # Before the operator has seen the applied generation, its status and its pods are of an older one.
            unseen = self._served.waiting_for is not None and not self._served.cluster
            if ending is not None and (not unseen or ending.kind == "operator_refused"):
                self._fail(self.blockers.told_as_end(ending, now))
        return self.state

    def due_at(self, now: datetime) -> datetime | None:
        """Return when `tick` has to be called although no further line comes; None: never."""
        if self.state != "pending":
            return None
        if self._asked_at is None or self._asked_at > now:
            return now
        if not self._fed and self._ends_at is None:
            return None
        again_at = self._asked_at + _ASK_EVERY
        return again_at if self._fed or self._ends_at is None else max(again_at, self._ends_at)

    def _is_due(self, now: datetime) -> bool:
        """Return whether to ask again: not for each of a hundred lines a second, because graces are longer, and not
        while neither a line nor the time can have changed the answer.
        """
        due_at = self.due_at(now)
        if due_at is None or now < due_at:
            return False
        self._asked_at, self._fed = now, False
        return True

    def go_on(self) -> None:
        """Continue after `endpoint_ready`: only a failure of the whole deployment counts from now on."""
        self.state, self.reason, self._was_ready, self._fed = "pending", None, True, True
        self._graces = {kind: grace for kind, grace in self._graces.items() if kind in _AFTER_READY}

    def _rayservice(self, obj: Mapping[str, Any], kind: Any) -> None:
        if not self._is_this_rayservice(obj):
            return
        if kind == "DELETED" or dig(obj, "metadata", "deletionTimestamp"):
            self._fail(f"RayService {self.namespace}/{self.name} was deleted during the wait, and not by this trial.")
            return
        if other := self._owner.other(obj):
            self._fail(
                f"RayService {self.namespace}/{self.name} is not what this task waits for any more: it belongs to "
                f"{other}."
            )
            return
        own_service = text(dig(obj, "spec", "serveService", "metadata", "name"))
        self._service = own_service or self._service
        self._served.take_rayservice(obj)

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
        self._services[text(dig(obj, "metadata", "uid"))] = obj
        self._served.take_service(obj)

    def _endpoints(self, obj: Mapping[str, Any], kind: Any) -> None:
        name = text(dig(obj, "metadata", "name"))
        if kind == "BOOKMARK":
            return
        self._endpoints_of.pop(name, None)
        if kind != "DELETED" and dig(obj, "metadata", "namespace") in (None, self.namespace):
            usual = dig(obj, "metadata", "labels", "kubernetes.io/service-name") == self._service
            created = parse_stamp(dig(obj, "metadata", "creationTimestamp")) if usual else None
            self._endpoints_of[name] = ready_endpoints(obj), created.at if created else None

    def _decide(self) -> None:
        """An endpoint, its Service and the status that tells its generation arrive in any order, so every line decides
        anew.
        """
        if self.state != "pending" or self._was_ready:
            return
        for name, (ready, created_at) in self._endpoints_of.items():
            if self._served.serves(ready) and self._owns(ready, created_at):
                self.ready_slice = name
                self.state, self.reason = "endpoint_ready", f"EndpointSlice {name} has a ready endpoint."

    def _owns(self, ready: ReadyEndpoints, created_at: datetime | None) -> bool:
        """Return whether an EndpointSlice belongs to this trial.

        It does if its Service is the serve Service of the RayService. With an unknown Service it does if it names the
        usual one (`created_at` is given) and is not older than the RayService: the watch of the Services may be behind.
        """
        for service in ready.owners:
            if service in self._services:
                return is_serve_service(self._services[service], self.uid, self._service)
        return self._created_at is not None and created_at is not None and created_at >= self._created_at

    def _fail(self, reason: str) -> None:
        self.state, self.reason = "failed", reason
