"""KubeRay's RayCluster controller: services, pods and status of a cluster, in the order that was recorded (1.7.0)."""

from collections.abc import Mapping
from typing import Any, Final

from llm_provisioning_simulator.app import pods
from llm_provisioning_simulator.app.conditions import cluster_status, desired_workers, replica_failure
from llm_provisioning_simulator.app.costs import Costs
from llm_provisioning_simulator.app.operator_settings import OperatorSettings
from llm_provisioning_simulator.app.services import head_service
from llm_provisioning_simulator.app.workqueue import FORGET, Key, WorkQueue
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.kube.stamps import stamp
from llm_provisioning_simulator.kube.statuses import StatusError
from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]

COMPONENT: Final = "raycluster-controller"
MANAGER: Final = "manager"
"""The operator's binary, whose name its field manager is."""
_ACCOUNT_WORDS: Final = {
    "serviceaccounts": ("CreatedServiceAccount", "service account"),
    "roles": ("CreatedRole", "role"),
    "rolebindings": ("CreatedRoleBinding", "role binding"),
}


class PodRefusedError(StatusError):
    """The API server refused a pod of a cluster. `reason`: KubeRay's, of the condition ReplicaFailure."""

    def __init__(self, reason: str, error: StatusError) -> None:
        super().__init__(error.code, reason, f"{reason}\n{error}")


class RayClusterController:
    """Keeps every RayCluster's services, pods and status."""

    def __init__(self, store: ObjectStore, clock: SimClock, costs: Costs, faults: Faults) -> None:
        self._store = store
        self._clock = clock
        self._faults = faults
        self._costs = costs
        self._settings = OperatorSettings(store)
        self._queue = WorkQueue(clock, self._reconcile, lambda: costs.draw("operator_pass_s"))

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        seen: dict[Key, tuple[object, ...]] = {}
        try:
            async for _, resource, item in self._store.subscribe("rayclusters", "pods"):
                metadata = item["metadata"]
                name = metadata["name"] if resource == "rayclusters" else _owner(item)
                if name is None:
                    continue
                key = (metadata["namespace"], name)
                # Its own status writes do not wake it (predicate: generation, labels or annotations changed).
                mark = (metadata["uid"], metadata["generation"], metadata.get("deletionTimestamp"))
                if resource == "pods" or seen.get(key) != mark:
                    if resource == "rayclusters":
                        seen[key] = mark
                    self._queue.wake(key)
        finally:
            await self._queue.stop()

    async def _reconcile(self, key: Key) -> float | None:
        namespace, name = key
        cluster = self._store.get("rayclusters", name, namespace)
        if cluster is None:
            return FORGET
        if cluster["metadata"].get("deletionTimestamp") or cluster["spec"].get("suspend"):
            return None
        if self._faults.operator_silent:
            return self._costs.value("operator_requeue_s")
        first = not cluster.get("status")
        scaled = bool(cluster["spec"].get("enableInTreeAutoscaling"))
        self._ensure_services(cluster, scaled=scaled)
        try:
            head = self._ensure_head(cluster)
            workers = self._ensure_workers(cluster)
        except PodRefusedError as error:
            self._write_status(cluster, self._head(cluster), self._workers(cluster), failure=error)
            raise
        if first and scaled:
            # With the autoscaler on, the first status was recorded before the operator's cache held the head.
            self._write_status(cluster, None, workers)
            await self._clock.sleep(self._costs.draw("operator_pass_s"))
            cluster = self._store.get("rayclusters", name, namespace) or cluster
        self._write_status(cluster, head, workers)
        return None

    def _ensure_services(self, cluster: Object, *, scaled: bool) -> None:
        namespace = cluster["metadata"]["namespace"]
        for resource, account in pods.autoscaler_account(cluster).items() if scaled else ():
            name = account["metadata"]["name"]
            if self._store.peek(resource, name, namespace) is None:
                self._store.create(resource, account, manager=MANAGER)
                reason, noun = _ACCOUNT_WORDS[resource]
                self._event(cluster, reason, f"Created {noun} {namespace}/{name}")
        service = head_service(cluster)
        name = service["metadata"]["name"]
        if self._store.peek("services", name, namespace) is None:
            self._store.create("services", service, manager=MANAGER)
            self._event(cluster, "CreatedService", f"Created service {namespace}/{name}")

    def _ensure_head(self, cluster: Object) -> Object:
        found = self._head(cluster)
        if found is not None:
            return found
        try:
            head = self._store.create("pods", pods.head_pod(cluster), manager=MANAGER)
        except StatusError as error:
            # The name is made by the API server, so that the operator does not know it (KubeRay, createHeadPod).
            message = f"Failed to create head Pod {cluster['metadata']['namespace']}/, {error}"
            self._event(cluster, "FailedToCreateHeadPod", message, type_="Warning")
            raise PodRefusedError("FailedCreateHeadPod", error) from error
        self._event(cluster, "CreatedHeadPod", f"Created head Pod {_path(head)}")
        return head

    def _head(self, cluster: Object) -> Object | None:
        found = self._pods(cluster, {"ray.io/node-type": "head"})
        return found[0] if found else None

    def _workers(self, cluster: Object) -> list[Object]:
        return self._pods(cluster, {"ray.io/node-type": "worker"})

    def _create_worker(self, cluster: Object, group: Object, index: int) -> Object:
        try:
            made = pods.worker_pod(cluster, group, index, waits=self._settings.injects_init_containers())
            pod = self._store.create("pods", made, manager=MANAGER)
        except StatusError as error:
            message = f"Failed to create worker Pod for the cluster {_path(cluster)}, {error}"
            self._event(cluster, "FailedToCreateWorkerPod", message, type_="Warning")
            raise PodRefusedError("FailedCreateWorkerPod", error) from error
        self._event(cluster, "CreatedWorkerPod", f"Created worker Pod {_path(pod)}")
        return pod

    def _ensure_workers(self, cluster: Object) -> list[Object]:
        desired = desired_workers(cluster["spec"])
        workers: list[Object] = []
        for group in cluster["spec"].get("workerGroupSpecs") or ():
            name = group["groupName"]
            found = self._pods(cluster, {"ray.io/node-type": "worker", "ray.io/group": name})
            for index in range(len(found), desired[name]):
                found.append(self._create_worker(cluster, group, index))
            for pod in found[desired[name] :]:
                self._store.delete("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])
                self._event(cluster, "DeletedWorkerPod", f"Deleted worker Pod {_path(pod)}", action="Delete")
            workers += found[: desired[name]]
        return workers

    def _write_status(
        self, cluster: Object, head: Object | None, workers: list[Object], *, failure: PodRefusedError | None = None
    ) -> None:
        now = stamp(self._clock.now())
        status = cluster_status(cluster, head, workers, now)
        replica_failure(status, (failure.reason, str(failure)) if failure else None, now)

        def change(item: Object) -> None:
            item["status"] = status

        metadata = cluster["metadata"]
        self._store.mutate(
            "rayclusters", metadata["name"], metadata["namespace"], change, subresource="status", manager=MANAGER
        )

    def _pods(self, cluster: Object, labels: Mapping[str, str]) -> list[Object]:
        metadata = cluster["metadata"]
        found = self._store.list("pods", metadata["namespace"], labels={"ray.io/cluster": metadata["name"], **labels})
        return [pod for pod in found if _lives(pod)]

    def _event(self, cluster: Object, reason: str, message: str, action: str = "Create", type_: str = "Normal") -> None:
        self._store.record_event(
            cluster, reason, message, component=COMPONENT, style="controller", action=action, type_=type_
        )


def _lives(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return not pod["metadata"].get("deletionTimestamp") and phase not in ("Failed", "Succeeded")


def _owner(pod: Object) -> str | None:
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((item["name"] for item in owners if item["kind"] == "RayCluster"), None)


def _path(obj: Object) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
