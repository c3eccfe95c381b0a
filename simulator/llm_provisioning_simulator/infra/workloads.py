"""The controllers of Deployments and DaemonSets: pods in, a status out.

Of kube-controller-manager 1.34 as far as placeholder pods and pre-pulling need it: a Deployment keeps one ReplicaSet of
its present template, which keeps its pods; a DaemonSet keeps a pod on every ready node that it selects and tolerates.
They react at once, rolling updates replace all pods together, and a DaemonSet's pods are bound by its controller, as
before Kubernetes 1.12, because nothing here depends on the scheduler's part in it. What `helm install` left behind of
the operators is a status without pods: those objects say so (`NO_PODS`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llm_provisioning_simulator.infra.machines import ClusterContext
from llm_provisioning_simulator.infra.scheduler import selects, tolerates
from llm_provisioning_simulator.kube.statuses import StatusError
from llm_provisioning_simulator.world import digest_of

Object = dict[str, Any]

NO_PODS: Final = "simulator/no-pods"
"""Annotation of a Deployment or DaemonSet whose pods are not simulated."""
_MANAGER: Final = "kube-controller-manager"
# What the controller adds to a DaemonSet's pods (pkg/controller/daemon/util, AddOrUpdateDaemonPodTolerations).
_DAEMON_TOLERATIONS: Final = tuple(
    {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": effect}
    for name, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
)


class WorkloadControllers:
    """Both controllers of one cluster."""

    def __init__(self, ctx: ClusterContext) -> None:
        self._ctx = ctx
        self._refused: dict[str, str] = {}
        """Owner (uid) -> why its last pod was refused, as it was told."""

    async def run(self) -> None:
        """Follow the objects, their pods and the nodes until cancelled."""
        async for _type, resource, item in self._ctx.store.subscribe("deployments", "daemonsets", "pods", "nodes"):
            if resource == "nodes":
                for found in self._ctx.store.list("daemonsets"):
                    self._daemonset(found)
            elif resource == "pods":
                self._owner_of(item)
            else:
                self._look(resource, item)

    def _look(self, resource: str, item: Object) -> None:
        metadata = item["metadata"]
        now = self._ctx.store.get(resource, metadata["name"], metadata["namespace"])
        if now is not None and not now["metadata"].get("deletionTimestamp"):
            (self._deployment if resource == "deployments" else self._daemonset)(now)

    def _owner_of(self, pod: Object) -> None:
        """Look at what a pod belongs to, directly or by a ReplicaSet."""
        namespace = pod["metadata"]["namespace"]
        for owner in pod["metadata"].get("ownerReferences") or ():
            if owner["kind"] == "DaemonSet":
                self._look("daemonsets", {"metadata": {"name": owner["name"], "namespace": namespace}})
            elif owner["kind"] == "ReplicaSet":
                found = self._ctx.store.peek("replicasets", owner["name"], namespace)
                for above in (found or {}).get("metadata", {}).get("ownerReferences") or ():
                    self._look("deployments", {"metadata": {"name": above["name"], "namespace": namespace}})

    # -- Deployments -----------------------------------------------------------------------------------------------

    def _deployment(self, item: Object) -> None:
        if _has_no_pods(item):
            return
        store, namespace = self._ctx.store, item["metadata"]["namespace"]
        replica_set = self._replica_set(item)
        for old in self._owned("replicasets", item):
            if old["metadata"]["uid"] != replica_set["metadata"]["uid"]:
                store.delete("replicasets", old["metadata"]["name"], namespace)
        pods = [pod for pod in self._owned("pods", replica_set) if _lives(pod)]
        wanted = int(item["spec"].get("replicas", 1))
        for pod in pods[wanted:]:
            store.delete("pods", pod["metadata"]["name"], namespace)
        for _ in range(wanted - len(pods)):
            if not self._create(replica_set, item["spec"]["template"]):
                break
        ready = sum(map(_is_ready, pods[:wanted]))
        told = {"replicas": len(pods), "updatedReplicas": len(pods), "readyReplicas": ready}
        self._report("deployments", item, {**told, "availableReplicas": ready})

    def _replica_set(self, item: Object) -> Object:
        store, metadata = self._ctx.store, item["metadata"]
        revision = digest_of(repr(item["spec"]["template"]))[7:16]
        name = f"{metadata['name']}-{revision}"
        found = store.get("replicasets", name, metadata["namespace"])
        if found is not None:
            return found
        owner = _reference("Deployment", item)
        made = {"metadata": {"name": name, "ownerReferences": [owner]}, "spec": {"template": item["spec"]["template"]}}
        return store.create("replicasets", made, namespace=metadata["namespace"], manager=_MANAGER)

    # -- DaemonSets ------------------------------------------------------------------------------------------------

    def _daemonset(self, item: Object) -> None:
        if _has_no_pods(item) or item["metadata"].get("deletionTimestamp"):
            return
        store, template = self._ctx.store, item["spec"]["template"]
        nodes = {node["metadata"]["name"] for node in store.peek_all("nodes") if _admits(node, template)}
        pods = {pod["spec"].get("nodeName"): pod for pod in self._owned("pods", item) if _lives(pod)}
        for node, pod in pods.items():
            if store.peek("nodes", str(node)) is None:
                store.remove("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])
        for node in sorted(nodes - set(pods)):
            if not self._create(item, template, node):
                break
        there = [pod for node, pod in pods.items() if node in nodes]
        ready = sum(map(_is_ready, there))
        counts = {"desiredNumberScheduled": len(nodes), "currentNumberScheduled": len(there), "numberReady": ready}
        self._report("daemonsets", item, {**counts, "updatedNumberScheduled": len(there), "numberAvailable": ready})

    # -- both ------------------------------------------------------------------------------------------------------

    def _create(self, owner: Object, template: Object, node: str | None = None) -> bool:
        """Create a pod of a template; where the API server refuses it, say so on the owner, once."""
        metadata, kind = owner["metadata"], "ReplicaSet" if node is None else "DaemonSet"
        spec = dict(template["spec"])
        if node is not None:
            spec |= {"nodeName": node, "tolerations": [*(spec.get("tolerations") or ()), *_DAEMON_TOLERATIONS]}
        of_pod = {key: dict(template.get("metadata", {}).get(key) or {}) for key in ("labels", "annotations")}
        named = {"generateName": f"{metadata['name']}-", "ownerReferences": [_reference(kind, owner)]}
        try:
            self._ctx.store.create(
                "pods",
                {"metadata": {**of_pod, **named}, "spec": spec},
                namespace=metadata["namespace"],
                manager=_MANAGER,
            )
        except StatusError as error:
            if self._refused.get(metadata["uid"]) != str(error):
                self._refused[metadata["uid"]] = str(error)
                text = f"Error creating: {error}"
                component = "replicaset-controller" if node is None else "daemonset-controller"
                self._ctx.store.record_event(
                    owner, "FailedCreate", text, component=component, style="controller", type_="Warning"
                )
            return False
        return True

    def _owned(self, resource: str, owner: Object) -> list[Object]:
        uid = owner["metadata"]["uid"]
        found = self._ctx.store.peek_all(resource, owner["metadata"]["namespace"])
        return [
            item
            for item in found
            if any(one.get("uid") == uid for one in item["metadata"].get("ownerReferences") or ())
        ]

    def _report(self, resource: str, item: Object, counts: Mapping[str, int]) -> None:
        status = {"observedGeneration": item["metadata"].get("generation", 1), **counts}
        metadata = item["metadata"]

        def change(stored: Object) -> None:
            stored["status"] = {**(stored.get("status") or {}), **status}

        self._ctx.store.mutate(
            resource, metadata["name"], metadata["namespace"], change, subresource="status", manager=_MANAGER
        )


def _reference(kind: str, owner: Object) -> Object:
    named = {"apiVersion": "apps/v1", "kind": kind, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    return {**named, "controller": True, "blockOwnerDeletion": True}


def _has_no_pods(item: Object) -> bool:
    return (item["metadata"].get("annotations") or {}).get(NO_PODS) == "true"


def _lives(pod: Mapping[str, Any]) -> bool:
    ended = (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
    return not ended and "deletionTimestamp" not in pod["metadata"]


def _is_ready(pod: Mapping[str, Any]) -> bool:
    return _true((pod.get("status") or {}).get("conditions") or ())


def _true(conditions: Sequence[Mapping[str, Any]]) -> bool:
    return any(row["type"] == "Ready" and row["status"] == "True" for row in conditions)


def _admits(node: Object, template: Object) -> bool:
    """Tell whether a ready node gets a pod of a DaemonSet."""
    spec = template["spec"]
    pod = {"spec": {**spec, "tolerations": [*(spec.get("tolerations") or ()), *_DAEMON_TOLERATIONS]}}
    fits = tolerates(pod, node["spec"].get("taints") or ()) and selects(pod, node["metadata"].get("labels") or {})
    return fits and _true((node.get("status") or {}).get("conditions") or ())
