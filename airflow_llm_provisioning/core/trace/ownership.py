"""Whose a Service or an answer is: by owner references, selectors, labels and status fields, never by its name alone.

KubeRay before 1.4 cuts the names of Services and pods from the front to their last 50 characters (utils.CheckName;
ray-project/kuberay #1875, #2169, #3083), so a name need not begin with its owner's.
"""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, objects, text

_CLUSTER: Final = "ray.io/cluster"
_NODE_TYPE: Final = "ray.io/node-type"
_SERVE: Final = "ray.io/serve"


def owner_uids(obj: Any) -> frozenset[str]:
    """Return the uids in an object's owner references."""
    return frozenset(text(mapping(ref).get("uid")) for ref in items(dig(obj, "metadata", "ownerReferences"))) - {""}


def is_serve_service(service: Any, rayservice_uid: str | None, wanted: str) -> bool:
    """Return whether a Service is the one whose endpoints answer requests of this RayService.

    The RayService owns two: the one of the head, and this one, which selects the pods that serve. `wanted`: its name,
    as `spec.serveService` or KubeRay 1.4 and later gives it; a Service of that name needs no other sign.
    """
    if not rayservice_uid or rayservice_uid not in owner_uids(service):
        return False
    name = text(dig(service, "metadata", "name"))
    return name == wanted or not (is_head_service(service) or _selects_other(service) or name.endswith("-head-svc"))


def is_head_service(service: Any) -> bool:
    """Return whether a Service is a head's, by its label or its selector."""
    told = (dig(service, "metadata", "labels"), dig(service, "spec", "selector"))
    return any(mapping(part).get(_NODE_TYPE) == "head" for part in told)


def head_services(raycluster: Any) -> frozenset[str]:
    """Return the names that the Service of a RayCluster's head may have: the status's, and KubeRay's usual one."""
    told = text(dig(raycluster, "status", "head", "serviceName"))
    return frozenset({told, f"{text(dig(raycluster, 'metadata', 'name'))}-head-svc"}) - {""}


def cluster_selected(service: Any) -> str:
    """Return the name of the RayCluster whose pods a Service selects; empty if it does not say."""
    return text(dig(service, "spec", "selector", _CLUSTER))


def _selects_other(service: Any) -> bool:
    """Return whether a Service has a selector, but not one for the pods that serve."""
    selector: Mapping[str, Any] = mapping(dig(service, "spec", "selector"))
    return bool(selector) and _SERVE not in selector


def claims_of(pod: Mapping[str, Any]) -> list[str]:
    """Return the names of the volume claims of a pod."""
    found = (text(dig(volume, "persistentVolumeClaim", "claimName")) for volume in objects(pod, "spec", "volumes"))
    return [name for name in found if name]
