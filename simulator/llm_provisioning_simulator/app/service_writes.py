"""What KubeRay's RayService controller writes besides a status: clusters, Services, the head's label, events."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_provisioning_simulator.app import services
from llm_provisioning_simulator.app.clusters import ray_cluster
from llm_provisioning_simulator.app.raycluster import MANAGER
from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]

COMPONENT: Final = "rayservice-controller"
FINALIZER: Final = "ray.io/rayservice-finalizer"


class ServiceWrites:
    """The writes of one cluster's RayService controller."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def take_over(self, service: Object) -> bool:
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

        new = self.mutate("rayservices", service, change)
        return new is not None and new["metadata"]["generation"] != service["metadata"]["generation"]

    def let_go(self, service: Object) -> None:
        """Take the finalizer off."""

        def change(item: Object) -> None:
            finalizers = item["metadata"].get("finalizers") or ()
            item["metadata"]["finalizers"] = [name for name in finalizers if name != FINALIZER]

        self.mutate("rayservices", service, change)

    def status(self, service: Object, status: Mapping[str, Any]) -> None:
        """Write a RayService's status."""

        def change(item: Object) -> None:
            item["status"] = status

        self.mutate("rayservices", service, change, subresource="status")

    def create_cluster(self, service: Object, name: str) -> None:
        """Create a RayCluster."""
        self._store.create("rayclusters", ray_cluster(service, name), manager=MANAGER)
        path = f"{service['metadata']['namespace']}/{name}"
        self.event(service, "CreatedRayCluster", f"Created the RayCluster {path}", "Create")

    def update_cluster(self, service: Object, cluster: Object) -> None:
        """Let a RayCluster have what its RayService says now."""
        wanted = ray_cluster(service, cluster["metadata"]["name"])

        def change(item: Object) -> None:
            item["spec"] = wanted["spec"]
            item["metadata"]["annotations"] = {**item["metadata"]["annotations"], **wanted["metadata"]["annotations"]}

        self.mutate("rayclusters", cluster, change)
        path = f"{cluster['metadata']['namespace']}/{cluster['metadata']['name']}"
        self.event(service, "UpdatedRayCluster", f"Updated the RayCluster {path}", "Update")

    def delete_cluster(self, service: Object, cluster: Object) -> None:
        """Delete a RayCluster."""
        namespace, name = cluster["metadata"]["namespace"], cluster["metadata"]["name"]
        self._store.delete("rayclusters", name, namespace)
        self.event(service, "DeletedRayCluster", f"Deleted the RayCluster {namespace}/{name}", "Delete")

    def label_head(self, service: Object, head: Object, *, healthy: bool) -> None:
        """Let the head serve when its proxy is healthy, unless the RayService leaves it out."""
        wanted = "true" if healthy and not service["spec"].get("excludeHeadPodFromServeSvc") else "false"
        metadata = head["metadata"]
        if metadata["labels"].get("ray.io/serve") == wanted:
            return

        def change(item: Object) -> None:
            item["metadata"]["labels"]["ray.io/serve"] = wanted

        self.mutate("pods", head, change)
        path = f"{metadata['namespace']}/{metadata['name']}"
        message = f'Updated the serve label to "{wanted}" for the Head Pod {path}'
        self.event(service, "UpdatedHeadPodServeLabel", message, "Update")

    def point_services(self, service: Object, cluster_name: str) -> None:
        """Create the RayService's Services, or let them lead to another cluster."""
        for wanted in (
            services.service_head_service(service, cluster_name),
            services.serve_service(service, cluster_name),
        ):
            name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
            found = self._store.peek("services", name, namespace)
            # Both are about the same version of the RayService: the second repeats the first event.
            if found is None:
                self._store.create("services", wanted, manager=MANAGER)
                self.event(service, "CreatedService", f"Created the service {namespace}/{name}", "Create")
            elif found["spec"]["selector"] != wanted["spec"]["selector"]:
                selector = wanted["spec"]["selector"]
                self.mutate("services", found, lambda item, to=selector: item["spec"].update(selector=to))  # type: ignore[misc]
                self.event(service, "UpdatedService", f"Updated the service {namespace}/{name}", "Update")

    def event(self, service: Object, reason: str, message: str, action: str, type_: str = "Normal") -> None:
        """Write an event about a RayService."""
        self._store.record_event(
            service, reason, message, component=COMPONENT, style="controller", action=action, type_=type_
        )

    def mutate(
        self, resource: str, item: Object, change: Callable[[Object], None], *, subresource: str | None = None
    ) -> Object | None:
        """Change an object as the operator; None when it is gone."""
        metadata = item["metadata"]
        return self._store.mutate(
            resource, metadata["name"], metadata["namespace"], change, subresource=subresource, manager=MANAGER
        )
