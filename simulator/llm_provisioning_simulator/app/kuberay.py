"""KubeRay's RayService controller (1.7.0): from the custom resource to a ready serve endpoint, in the recorded order.

It requeues itself every two seconds and is woken by its RayCluster; all it knows of Ray it reads from the dashboard. A
changed RayService gets a second, pending cluster beside the active one; when that serves, the Services lead to it, and
the old one goes after its delay (recording `llm-twice`).
"""

from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import yaml

from llm_provisioning_simulator.app.costs import Costs
from llm_provisioning_simulator.app.serve import ServeController
from llm_provisioning_simulator.app.service_status import (
    ServiceView,
    application_statuses,
    first_status,
    invalid_status,
    service_status,
    timed_out_status,
    unlike,
)
from llm_provisioning_simulator.app.service_writes import FINALIZER, ServiceWrites
from llm_provisioning_simulator.app.services import serve_service_name
from llm_provisioning_simulator.app.timeouts import initializing_timeout
from llm_provisioning_simulator.app.upgrades import DELETION_DELAY_FIELD, change_of
from llm_provisioning_simulator.app.validation import Problem, validate
from llm_provisioning_simulator.app.workqueue import FORGET, Key, WorkQueue
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.kube.stamps import stamp
from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]

_SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_SOON_S: Final = 0.1


class Dashboards(Protocol):
    """How the operator reaches the heads' dashboards and proxies."""

    def serve(self, head: Object) -> ServeController | None:
        """Return Serve behind a head's dashboard, or None while it does not answer."""
        ...

    def head_proxy_healthy(self, head: Object) -> bool:
        """Whether `/-/healthz` of the head's Serve proxy says success."""
        ...


class RayServiceController:
    """Keeps every RayService: its RayClusters, its applications, its services and its status."""

    def __init__(
        self, store: ObjectStore, clock: SimClock, costs: Costs, faults: Faults, dashboards: Dashboards
    ) -> None:
        self._store = store
        self._clock = clock
        self._costs = costs
        self._faults = faults
        self._dashboards = dashboards
        self._writes = ServiceWrites(store)
        self._sent: dict[str, str] = {}
        """RayCluster uid -> the Serve configuration it was given."""
        self._left_at: dict[str, datetime] = {}
        """RayCluster uid -> when it was first neither active nor pending."""
        self._queue = WorkQueue(clock, self._reconcile, lambda: costs.draw("operator_pass_s"))

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        seen: dict[Key, tuple[object, ...]] = {}
        try:
            async for _, resource, item in self._store.subscribe("rayservices", "rayclusters"):
                metadata = item["metadata"]
                if resource == "rayclusters":
                    self._wake_owner(item)
                    continue
                key = (metadata["namespace"], metadata["name"])
                # Its own status writes do not wake it (predicate: generation, labels or annotations changed).
                shown = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
                mark = (metadata["uid"], metadata["generation"], metadata.get("deletionTimestamp"), shown)
                if seen.get(key) != mark:
                    seen[key] = mark
                    self._queue.wake(key)
        finally:
            await self._queue.stop()

    def _wake_owner(self, cluster: Object) -> None:
        for owner in cluster["metadata"].get("ownerReferences") or ():
            if owner["kind"] == "RayService":
                self._queue.wake((cluster["metadata"]["namespace"], owner["name"]))

    async def _reconcile(self, key: Key) -> float | None:
        # A pass reads three big objects and mostly writes nothing: it peeks at them, and alters none.
        namespace, name = key
        service = self._store.peek("rayservices", name, namespace)
        if service is None:
            return FORGET
        if self._faults.operator_silent:
            return self._requeue_s
        if service["metadata"].get("deletionTimestamp"):
            self._delete_clusters(service)
            self._writes.let_go(service)
            return FORGET
        if (problem := validate(service)) is not None:
            self._refuse(service, problem)
            return None
        if FINALIZER not in (service["metadata"].get("finalizers") or ()):
            # A write that raises the generation wakes this controller; one of the finalizer alone does not.
            return None if self._writes.take_over(service) else _SOON_S
        if "pendingServiceStatus" not in (service.get("status") or {}):
            self._writes.status(service, first_status(service, self._cluster_name(service), self._now()))
            return self._requeue_s
        if _timed_out(service):
            return self._clean_up_after_timeout(service)
        self._clean_up(service)
        return await self._deploy(service)

    def _refuse(self, service: Object, problem: Problem) -> None:
        """Say what is wrong with a RayService; nothing more happens until it is changed."""
        reason, error = problem
        metadata = service["metadata"]
        self._writes.event(
            service, reason, f"{metadata['namespace']}/{metadata['name']}: {error}", "Validate", "Warning"
        )
        self._writes.status(service, invalid_status(service, error, self._now()))

    async def _deploy(self, service: Object) -> float | None:
        """Go one step on: create what is missing, send the applications, switch when they run, and say all of it."""
        active, pending = (
            self._clusters(service, "activeServiceStatus"),
            self._clusters(service, "pendingServiceStatus"),
        )
        missing = [name for name, cluster in (pending, active) if name and cluster is None]
        if missing:
            self._writes.create_cluster(service, missing[0])
            return self._requeue_s
        target = pending[1] or active[1]
        if target is None:
            return self._requeue_s
        if not active[0] and self._expire(service):
            return self._requeue_s
        change = change_of(service, target)
        if change == "new cluster":
            name = self._cluster_name(service)
            self._write(service, active, (name, None), None)
            return self._requeue_s
        if change == "update":
            self._writes.update_cluster(service, target)
        return await self._serve(service, active, pending, target)

    async def _serve(self, service: Object, active: "_Cluster", pending: "_Cluster", target: Object) -> float | None:
        head = self._ready_head(target)
        serve = self._dashboards.serve(head) if head else None
        if head is None or serve is None:
            self._write(service, active, pending, None)
            return self._requeue_s
        if await self._update_applications(service, target, serve):
            return self._requeue_s
        for cluster in (active[1], pending[1]):
            ready = self._ready_head(cluster) if cluster else None
            if ready is not None:
                self._writes.label_head(service, ready, healthy=self._dashboards.head_proxy_healthy(ready))
        statuses = application_statuses(serve)
        running = bool(statuses) and all(item["status"] == "RUNNING" for item in statuses.values())
        if not running or not pending[0]:
            self._write(service, active, pending, statuses)
            return self._requeue_s
        self._writes.point_services(service, pending[0])
        return _SOON_S if self._write(service, pending, ("", None), statuses) else self._requeue_s

    @property
    def _requeue_s(self) -> float:
        return self._costs.value("operator_requeue_s")

    def _now(self) -> str:
        return stamp(self._clock.now())

    def _cluster_name(self, service: Object) -> str:
        suffix = "".join(self._costs.rng.choices(_SUFFIX_ALPHABET, k=5))
        return f"{service['metadata']['name']}-{suffix}"

    def _clusters(self, service: Object, part: str) -> "_Cluster":
        """Return the name that stands in a part of the status ("" for none), and the RayCluster if it exists."""
        name = str((service["status"].get(part) or {}).get("rayClusterName") or "")
        return name, self._store.peek("rayclusters", name, service["metadata"]["namespace"]) if name else None

    def _ready_head(self, cluster: Object) -> Object | None:
        conditions = (cluster.get("status") or {}).get("conditions") or ()
        if not any(item["type"] == "HeadPodReady" and item["status"] == "True" for item in conditions):
            return None
        name = cluster["status"]["head"].get("podName", "")
        return self._store.peek("pods", name, cluster["metadata"]["namespace"])

    async def _update_applications(self, service: Object, cluster: Object, serve: ServeController) -> bool:
        """Send the Serve configuration where this cluster has not had it yet; tell whether it was sent."""
        config = service["spec"].get("serveConfigV2") or ""
        uid = cluster["metadata"]["uid"]
        # A head that has started anew has no applications: they are sent again.
        if self._sent.get(uid) == config and serve.started_at is not None:
            return False
        path = f"{cluster['metadata']['namespace']}/{cluster['metadata']['name']}"
        try:
            parsed = yaml.safe_load(config) or {}
        except yaml.YAMLError as error:
            message = f"Failed to update serve applications to the RayCluster {path}: {error}"
            self._writes.event(service, "FailedToUpdateServeApplications", message, "Update", type_="Warning")
            return True
        await serve.put(parsed)
        self._sent[uid] = config
        message = f"Updated serve applications to the RayCluster {path}"
        self._writes.event(service, "UpdatedServeApplications", message, "Update")
        return True

    def _endpoints(self, service: Object) -> int:
        labels = {"kubernetes.io/service-name": serve_service_name(service)}
        slices = self._store.peek_all("endpointslices", service["metadata"]["namespace"], labels=labels)
        ready = {
            (endpoint.get("targetRef") or {}).get("uid")
            for item in slices
            for endpoint in item.get("endpoints") or ()
            if endpoint["conditions"].get("ready")
        }
        return len(ready)

    def _write(self, service: Object, active: "_Cluster", pending: "_Cluster", statuses: Object | None) -> bool:
        """Write the status that follows from what was seen; tell whether it says anything new."""
        view = ServiceView(
            active=active[0],
            active_status=(active[1] or {}).get("status") or {},
            pending=pending[0],
            pending_status=(pending[1] or {}).get("status") or {},
            applications=statuses or {},
            endpoints=self._endpoints(service),
        )
        status = service_status(service, view, self._now())
        if not unlike(status, service["status"]):
            return False
        self._writes.status(service, status)
        return True

    def _expire(self, service: Object) -> bool:
        """End a deployment that its annotation gives no more time; tell whether it is over."""
        limit_s = initializing_timeout(service["metadata"].get("annotations") or {})
        created = datetime.fromisoformat(service["metadata"]["creationTimestamp"])
        if limit_s is None or self._clock.now() - created < timedelta(seconds=limit_s):
            return False
        self._writes.status(service, timed_out_status(service, limit_s, self._now()))
        message = f"RayService {service['metadata']['name']} was not ready within its timeout of {limit_s:g}s"
        self._writes.event(service, "RayServiceInitializingTimeout", message, "Update", type_="Warning")
        return True

    def _clean_up_after_timeout(self, service: Object) -> float | None:
        """Delete the cluster of a deployment that timed out, after the operator's deletion delay. Then nothing more."""
        ended = datetime.fromisoformat(service["status"]["lastUpdateTime"])
        delay_s = self._deletion_delay_s(service) - (self._clock.now() - ended).total_seconds()
        if delay_s > 0:
            return delay_s
        self._delete_clusters(service)
        return None

    def _clean_up(self, service: Object) -> None:
        """Delete the clusters that are neither active nor pending, each after its delay."""
        kept = {(service["status"].get(part) or {}).get("rayClusterName") for part in _PARTS}
        for cluster in self._owned(service):
            if cluster["metadata"]["name"] in kept:
                continue
            left_at = self._left_at.setdefault(cluster["metadata"]["uid"], self._clock.now())
            if (self._clock.now() - left_at).total_seconds() >= self._deletion_delay_s(service):
                self._writes.delete_cluster(service, cluster)

    def _deletion_delay_s(self, service: Object) -> float:
        own = service["spec"].get(DELETION_DELAY_FIELD)
        return self._costs.value("cluster_deletion_delay_s") if own is None else float(own)

    def _delete_clusters(self, service: Object) -> None:
        for cluster in self._owned(service):
            self._writes.delete_cluster(service, cluster)

    def _owned(self, service: Object) -> list[Object]:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        return self._store.peek_all("rayclusters", namespace, labels={"ray.io/originated-from-cr-name": name})


_Cluster = tuple[str, Object | None]
_PARTS: Final = ("activeServiceStatus", "pendingServiceStatus")


def _timed_out(service: Object) -> bool:
    conditions = service["status"].get("conditions") or ()
    return any(item["type"] == "Ready" and item["reason"] == "InitializingTimeout" for item in conditions)
