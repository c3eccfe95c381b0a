"""KubeRay's RayService controller (1.7.0): from the custom resource to a ready serve endpoint, in the recorded order.

It requeues itself every two seconds and is woken by its RayCluster; all it knows of Ray it reads from the dashboard.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import yaml

from llm_provisioning_simulator.app import pods
from llm_provisioning_simulator.app.costs import Costs
from llm_provisioning_simulator.app.raycluster import MANAGER
from llm_provisioning_simulator.app.serve import ServeController
from llm_provisioning_simulator.app.service_status import (
    ServiceView,
    application_statuses,
    first_status,
    service_status,
    timed_out_status,
    unlike,
)
from llm_provisioning_simulator.app.timeouts import initializing_timeout
from llm_provisioning_simulator.app.workqueue import FORGET, Key, WorkQueue
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.kube.stamps import stamp
from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]

COMPONENT: Final = "rayservice-controller"
FINALIZER: Final = "ray.io/rayservice-finalizer"
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
    """Keeps every RayService: its RayCluster, its applications, its services and its status."""

    def __init__(
        self, store: ObjectStore, clock: SimClock, costs: Costs, faults: Faults, dashboards: Dashboards
    ) -> None:
        self._store = store
        self._clock = clock
        self._costs = costs
        self._faults = faults
        self._dashboards = dashboards
        self._sent: dict[str, str] = {}
        """RayCluster uid -> the Serve configuration it was given."""
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
                mark = (metadata["uid"], metadata["generation"], metadata.get("deletionTimestamp"))
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
            self._finish(service)
            return FORGET
        if FINALIZER not in (service["metadata"].get("finalizers") or ()):
            # A write that raises the generation wakes this controller; one of the finalizer alone does not.
            return None if self._take_over(service) else _SOON_S
        if not service.get("status"):
            self._write_status(service, first_status(service, self._cluster_name(service), self._now()))
            return self._requeue_s
        if _timed_out(service):
            return self._clean_up_after_timeout(service)
        return await self._deploy(service)

    async def _deploy(self, service: Object) -> float | None:
        status = service["status"]
        active = (status.get("activeServiceStatus") or {}).get("rayClusterName")
        name = str(active or status["pendingServiceStatus"]["rayClusterName"])
        namespace = service["metadata"]["namespace"]
        cluster = self._store.peek("rayclusters", name, namespace)
        if cluster is None:
            self._store.create("rayclusters", pods.ray_cluster(service, name), manager=MANAGER)
            self._event(service, "CreatedRayCluster", f"Created the RayCluster {namespace}/{name}", "Create")
            return self._requeue_s
        if not active and self._expire(service, cluster):
            return self._requeue_s
        head = self._ready_head(cluster)
        serve = self._dashboards.serve(head) if head else None
        if head is None or serve is None:
            self._write_view(service, cluster, None, running=bool(active))
            return self._requeue_s
        if await self._update_applications(service, cluster, serve):
            return self._requeue_s
        self._label_head(service, head)
        statuses = application_statuses(serve)
        running = bool(statuses) and all(item["status"] == "RUNNING" for item in statuses.values())
        if running and not active:
            self._create_services(service, name)
        changed = self._write_view(service, cluster, statuses, running=bool(active) or running)
        return _SOON_S if changed and running and not active else self._requeue_s

    @property
    def _requeue_s(self) -> float:
        return self._costs.value("operator_requeue_s")

    def _now(self) -> str:
        return stamp(self._clock.now())

    def _cluster_name(self, service: Object) -> str:
        suffix = "".join(self._costs.rng.choices(_SUFFIX_ALPHABET, k=5))
        return f"{service['metadata']['name']}-{suffix}"

    def _take_over(self, service: Object) -> bool:
        """Add the finalizer and spell out the object's empty fields; tell whether that raised the generation."""

        def change(item: Object) -> None:
            item["metadata"].setdefault("finalizers", []).append(FINALIZER)
            cluster = item["spec"]["rayClusterConfig"]
            cluster["headGroupSpec"]["template"].setdefault("metadata", {})
            if not cluster.get("workerGroupSpecs"):
                cluster.pop("workerGroupSpecs", None)
            for group in cluster.get("workerGroupSpecs") or ():
                group.setdefault("scaleStrategy", {})
                group["template"].setdefault("metadata", {})

        metadata = service["metadata"]
        new = self._store.mutate("rayservices", metadata["name"], metadata["namespace"], change, manager=MANAGER)
        return new is not None and new["metadata"]["generation"] != metadata["generation"]

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
        if self._sent.get(uid) == config:
            return False
        path = f"{cluster['metadata']['namespace']}/{cluster['metadata']['name']}"
        try:
            parsed = yaml.safe_load(config) or {}
        except yaml.YAMLError as error:
            message = f"Failed to update serve applications to the RayCluster {path}: {error}"
            self._event(service, "FailedToUpdateServeApplications", message, "Update", type_="Warning")
            return True
        await serve.put(parsed)
        self._sent[uid] = config
        message = f"Updated serve applications to the RayCluster {path}"
        self._event(service, "UpdatedServeApplications", message, "Update")
        return True

    def _label_head(self, service: Object, head: Object) -> None:
        wanted = "true" if self._dashboards.head_proxy_healthy(head) else "false"
        if service["spec"].get("excludeHeadPodFromServeSvc"):
            wanted = "false"
        metadata = head["metadata"]
        if metadata["labels"].get("ray.io/serve") == wanted:
            return

        def change(item: Object) -> None:
            item["metadata"]["labels"]["ray.io/serve"] = wanted

        self._store.mutate("pods", metadata["name"], metadata["namespace"], change, manager=MANAGER)
        path = f"{metadata['namespace']}/{metadata['name']}"
        message = f'Updated the serve label to "{wanted}" for the Head Pod {path}'
        self._event(service, "UpdatedHeadPodServeLabel", message, "Update")

    def _create_services(self, service: Object, cluster_name: str) -> None:
        for wanted in (pods.service_head_service(service, cluster_name), pods.serve_service(service, cluster_name)):
            name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
            if self._store.peek("services", name, namespace) is None:
                self._store.create("services", wanted, manager=MANAGER)
                # Both are about the same version of the RayService: the second repeats the first event.
                self._event(service, "CreatedService", f"Created the service {namespace}/{name}", "Create")

    def _endpoints(self, service: Object) -> int:
        labels = {"kubernetes.io/service-name": pods.serve_service_name(service)}
        slices = self._store.peek_all("endpointslices", service["metadata"]["namespace"], labels=labels)
        ready = {
            (endpoint.get("targetRef") or {}).get("uid")
            for item in slices
            for endpoint in item.get("endpoints") or ()
            if endpoint["conditions"].get("ready")
        }
        return len(ready)

    def _write_view(self, service: Object, cluster: Object, statuses: Object | None, *, running: bool) -> bool:
        """Write the status that follows from what was seen; tell whether it says anything new."""
        view = ServiceView(
            cluster_name=cluster["metadata"]["name"],
            cluster_status=cluster.get("status") or {},
            applications=statuses or {},
            running=running,
            endpoints=self._endpoints(service),
        )
        status = service_status(service, view, self._now())
        if not unlike(status, service["status"]):
            return False
        self._write_status(service, status)
        return True

    def _write_status(self, service: Object, status: Object) -> None:
        def change(item: Object) -> None:
            item["status"] = status

        metadata = service["metadata"]
        self._store.mutate(
            "rayservices", metadata["name"], metadata["namespace"], change, subresource="status", manager=MANAGER
        )

    def _expire(self, service: Object, cluster: Object) -> bool:
        """End a deployment that its annotation gives no more time; tell whether it is over."""
        limit_s = initializing_timeout(service["metadata"].get("annotations") or {})
        created = datetime.fromisoformat(service["metadata"]["creationTimestamp"])
        if limit_s is None or self._clock.now() - created < timedelta(seconds=limit_s):
            return False
        status = timed_out_status(service, limit_s, self._now())
        self._write_status(service, status)
        message = f"RayService {service['metadata']['name']} was not ready within its timeout of {limit_s:g}s"
        self._event(service, "RayServiceInitializingTimeout", message, "Update", type_="Warning")
        return True

    def _clean_up_after_timeout(self, service: Object) -> float | None:
        """Delete the cluster of a deployment that timed out, after the operator's deletion delay. Then nothing more."""
        now = self._clock.now()
        ended = datetime.fromisoformat(service["status"]["lastUpdateTime"])
        delay_s = self._costs.value("cluster_deletion_delay_s") - (now - ended).total_seconds()
        if delay_s > 0:
            return delay_s
        self._delete_clusters(service)
        return None

    def _finish(self, service: Object) -> None:
        """Delete what belongs to a deleted RayService and let it go."""
        self._delete_clusters(service)

        def change(item: Object) -> None:
            item["metadata"]["finalizers"] = [
                name for name in item["metadata"].get("finalizers") or () if name != FINALIZER
            ]

        metadata = service["metadata"]
        self._store.mutate("rayservices", metadata["name"], metadata["namespace"], change, manager=MANAGER)

    def _delete_clusters(self, service: Object) -> None:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        for cluster in self._store.list("rayclusters", namespace, labels={"ray.io/originated-from-cr-name": name}):
            owned = cluster["metadata"]["name"]
            self._store.delete("rayclusters", owned, namespace)
            self._event(service, "DeletedRayCluster", f"Deleted the RayCluster {namespace}/{owned}", "Delete")

    def _event(self, service: Object, reason: str, message: str, action: str, type_: str = "Normal") -> None:
        self._store.record_event(
            service, reason, message, component=COMPONENT, style="controller", action=action, type_=type_
        )


def _timed_out(service: Object) -> bool:
    conditions = service["status"].get("conditions") or ()
    return any(item["type"] == "Ready" and item["reason"] == "InitializingTimeout" for item in conditions)
