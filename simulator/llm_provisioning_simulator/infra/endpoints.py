"""The EndpointSlices of Services with a selector: which of their pods can be reached, and which are ready.

One slice per Service, as the real controller keeps it for few pods (recordings). Pods count from the moment they have
an IP.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llm_provisioning_simulator.infra.machines import ClusterContext
from llm_provisioning_simulator.kube.stamps import stamp

Object = dict[str, Any]

_MANAGER: Final = "kube-controller-manager"
_TRIGGER: Final = "endpoints.kubernetes.io/last-change-trigger-time"
_SERVICE: Final = "kubernetes.io/service-name"


class EndpointController:
    """One cluster's EndpointSlice controller."""

    def __init__(self, ctx: ClusterContext) -> None:
        self._ctx = ctx

    async def run(self) -> None:
        """Follow Services and pods until cancelled."""
        async for type_, resource, item in self._ctx.store.subscribe("services", "pods"):
            if resource == "services" and type_ != "DELETED":
                self._reconcile(item, item["metadata"]["creationTimestamp"])
            elif resource == "pods":
                self._on_pod(item)

    def _on_pod(self, pod: Object) -> None:
        labels = pod["metadata"].get("labels") or {}
        for service in self._ctx.store.peek_all("services", pod["metadata"]["namespace"]):
            slice_ = self._slice_of(service)
            known = slice_ is not None and any(
                endpoint["targetRef"]["uid"] == pod["metadata"]["uid"] for endpoint in slice_.get("endpoints") or ()
            )
            if known or _selects(service, labels):
                self._reconcile(service, _changed_at(pod))

    def _reconcile(self, service: Object, trigger: str | None) -> None:
        """Make a Service's slice say what its pods are now. `trigger`: the change that caused it, None for an end."""
        if not service["spec"].get("selector"):
            return
        store, namespace = self._ctx.store, service["metadata"]["namespace"]
        pods = [pod for pod in store.peek_all("pods", namespace, labels=service["spec"]["selector"]) if _reachable(pod)]
        endpoints = [_endpoint(pod, service) for pod in reversed(pods)] or None
        ports = _ports(service) if pods else None
        slice_ = self._slice_of(service)
        if slice_ is None:
            self._create(service, endpoints, ports)
            return

        def change(item: Object) -> None:
            if item.get("endpoints") == endpoints and item.get("ports") == ports:
                return
            item["endpoints"], item["ports"] = endpoints, ports
            annotations = item["metadata"].setdefault("annotations", {})
            annotations.pop(_TRIGGER, None)
            if trigger:
                annotations[_TRIGGER] = trigger
            if not annotations:
                del item["metadata"]["annotations"]

        store.mutate("endpointslices", slice_["metadata"]["name"], namespace, change, manager=_MANAGER)

    def _create(self, service: Object, endpoints: list[Object] | None, ports: list[Object] | None) -> None:
        metadata = service["metadata"]
        labels = dict(metadata.get("labels") or {})
        labels |= {
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            _SERVICE: metadata["name"],
        }
        if service["spec"].get("clusterIP") == "None":
            labels["service.kubernetes.io/headless"] = ""
        slice_ = {
            "metadata": {
                "generateName": f"{metadata['name']}-",
                "labels": labels,
                "annotations": {_TRIGGER: stamp(self._ctx.clock.now())},
                "ownerReferences": [
                    {
                        "apiVersion": "v1",
                        "kind": "Service",
                        "name": metadata["name"],
                        "uid": metadata["uid"],
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": ports,
        }
        self._ctx.store.create("endpointslices", slice_, namespace=metadata["namespace"], manager=_MANAGER)

    def _slice_of(self, service: Object) -> Object | None:
        metadata = service["metadata"]
        found = self._ctx.store.peek_all("endpointslices", metadata["namespace"], labels={_SERVICE: metadata["name"]})
        return next(
            (
                item
                for item in found
                if any(row["uid"] == metadata["uid"] for row in item["metadata"]["ownerReferences"])
            ),
            None,
        )


def _selects(service: Object, labels: Mapping[str, str]) -> bool:
    selector = service["spec"].get("selector") or {}
    return bool(selector) and selector.items() <= labels.items()


def _reachable(pod: Object) -> bool:
    status = pod.get("status") or {}
    return bool(status.get("podIP")) and status.get("phase") not in ("Succeeded", "Failed")


def _endpoint(pod: Object, service: Object) -> Object:
    metadata, status = pod["metadata"], pod["status"]
    ready = _is_ready(pod)
    ending = "deletionTimestamp" in metadata
    published = bool(service["spec"].get("publishNotReadyAddresses"))
    return {
        "addresses": [status["podIP"]],
        "conditions": {"ready": published or (ready and not ending), "serving": ready, "terminating": ending},
        "targetRef": {
            "kind": "Pod",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "nodeName": pod["spec"]["nodeName"],
    }


def _is_ready(pod: Object) -> bool:
    return any(row["type"] == "Ready" and row["status"] == "True" for row in pod["status"].get("conditions") or ())


def _changed_at(pod: Object) -> str | None:
    """Return when a pod's readiness last changed; None for a pod that ends, as the real controller leaves it out."""
    if "deletionTimestamp" in pod["metadata"]:
        return None
    rows: Iterable[Object] = (pod.get("status") or {}).get("conditions") or ()
    ready = next((row["lastTransitionTime"] for row in rows if row["type"] == "Ready"), None)
    return str(ready or pod["metadata"]["creationTimestamp"])


def _ports(service: Object) -> list[Object]:
    ports = []
    for port in service["spec"].get("ports") or ():
        row = {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP")}
        target = port.get("targetPort", port["port"])
        row["port"] = target if isinstance(target, int) else port["port"]
        if "appProtocol" in port:
            row["appProtocol"] = port["appProtocol"]
        ports.append(row)
    return ports
