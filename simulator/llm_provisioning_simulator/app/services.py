"""The Services that KubeRay 1.7.0 makes of a RayService and of its RayCluster, as recorded. Pure."""

import copy
from collections.abc import Mapping
from typing import Any, Final

from llm_provisioning_simulator.app.clusters import OPERATOR, owner

Object = dict[str, Any]

ENDPOINTS: Final[Mapping[str, int]] = {
    "client": 10001,
    "dashboard": 8265,
    "gcs-server": 6379,
    "metrics": 8080,
    "serve": 8000,
}


def head_selector(cluster_name: str) -> dict[str, str]:
    """Return the labels by which services find a cluster's head."""
    identifier = {"ray.io/identifier": f"{cluster_name}-head", "ray.io/node-type": "head"}
    return {**OPERATOR, "ray.io/cluster": cluster_name, **identifier}


def head_service(cluster: Object) -> Object:
    """Return `<cluster>-head-svc`, owned by the RayCluster."""
    name = cluster["metadata"]["name"]
    return _head_service(cluster, f"{name}-head-svc", head_selector(name), name)


def service_head_service(service: Object, cluster_name: str) -> Object:
    """Return `<rayservice>-head-svc`, which follows the active cluster."""
    name = service["metadata"]["name"]
    labels = {"ray.io/identifier": f"{name}-head", "ray.io/node-type": "head", **_originated(name)}
    return _head_service(service, f"{name}-head-svc", labels, cluster_name)


def serve_service_name(service: Object) -> str:
    """Return the name of the Service in front of the application: `<rayservice>-serve-svc` unless the user named it."""
    own = (service["spec"].get("serveService") or {}).get("metadata") or {}
    return str(own.get("name") or f"{service['metadata']['name']}-serve-svc")


def serve_service(service: Object, cluster_name: str) -> Object:
    """Return the Service whose first ready endpoint makes the RayService ready.

    A `serveService` of the user's keeps its name, labels, annotations and type; selector and labels of the operator's
    come over it, and of its ports only the one called `serve` counts (KubeRay, common/service.go, BuildServeService).
    """
    name = service["metadata"]["name"]
    own = copy.deepcopy(service["spec"].get("serveService") or {})
    metadata, spec = own.get("metadata") or {}, own.get("spec") or {}
    named = [port for port in spec.get("ports") or () if port.get("name") == "serve"]
    default = {"name": "serve", "protocol": "TCP", "port": ENDPOINTS["serve"], "targetPort": ENDPOINTS["serve"]}
    annotations = {"annotations": metadata["annotations"]} if metadata.get("annotations") else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": serve_service_name(service),
            "namespace": service["metadata"]["namespace"],
            "labels": {**(metadata.get("labels") or {}), **_originated(name), "ray.io/serve": f"{name}-serve"},
            **annotations,
            "ownerReferences": [owner(service)],
        },
        "spec": {
            **spec,
            "ports": named[:1] or [default],
            "selector": {"ray.io/cluster": cluster_name, "ray.io/serve": "true"},
            "type": spec.get("type") or "ClusterIP",
        },
    }


def _head_service(owned_by: Object, name: str, labels: Mapping[str, str], cluster_name: str) -> Object:
    ports = [
        {"name": port, "protocol": "TCP", "appProtocol": "tcp", "port": number, "targetPort": number}
        for port, number in ENDPOINTS.items()
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": owned_by["metadata"]["namespace"],
            "labels": dict(labels),
            "ownerReferences": [owner(owned_by)],
        },
        "spec": {
            "ports": ports,
            "selector": head_selector(cluster_name),
            "clusterIP": "None",
            "type": "ClusterIP",
            "publishNotReadyAddresses": True,
        },
    }


def _originated(service_name: str) -> dict[str, str]:
    return {"ray.io/originated-from-cr-name": service_name, "ray.io/originated-from-crd": "RayService"}
