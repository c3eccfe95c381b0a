"""The API path of each resource: one table, and the rule for kinds that are not in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from airflow_llm_provisioning.exceptions import ManifestError


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the API. `api`: `v1` or `<group>/<version>`; `optional`: a cluster may not serve it."""

    plural: str
    api: str
    kind: str
    namespaced: bool = True
    optional: bool = False

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api.rpartition("/")[0]

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the request path of the collection, of one object, or of its subresource."""
        parts = ["/apis" if "/" in self.api else "/api", self.api]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


# `events` and `events.events.k8s.io` are two views of the same objects; the second fills fields that are null in the
# first.
EVENTS_V1: Final = "events.events.k8s.io"

RESOURCES: Final[Mapping[str, Resource]] = MappingProxyType(
    {
        "rayservices": Resource("rayservices", "ray.io/v1", "RayService"),
        "rayclusters": Resource("rayclusters", "ray.io/v1", "RayCluster"),
        "pods": Resource("pods", "v1", "Pod"),
        "services": Resource("services", "v1", "Service"),
        "serviceaccounts": Resource("serviceaccounts", "v1", "ServiceAccount"),
        "configmaps": Resource("configmaps", "v1", "ConfigMap"),
        "secrets": Resource("secrets", "v1", "Secret"),
        "persistentvolumeclaims": Resource("persistentvolumeclaims", "v1", "PersistentVolumeClaim"),
        "events": Resource("events", "v1", "Event"),
        EVENTS_V1: Resource("events", "events.k8s.io/v1", "Event"),
        "endpointslices": Resource("endpointslices", "discovery.k8s.io/v1", "EndpointSlice"),
        "nodes": Resource("nodes", "v1", "Node", namespaced=False),
        "namespaces": Resource("namespaces", "v1", "Namespace", namespaced=False),
        "leases": Resource("leases", "coordination.k8s.io/v1", "Lease"),
        "deployments": Resource("deployments", "apps/v1", "Deployment"),
        "daemonsets": Resource("daemonsets", "apps/v1", "DaemonSet"),
        "jobs": Resource("jobs", "batch/v1", "Job"),
        "priorityclasses": Resource("priorityclasses", "scheduling.k8s.io/v1", "PriorityClass", namespaced=False),
        "storageclasses": Resource("storageclasses", "storage.k8s.io/v1", "StorageClass", namespaced=False),
        "csidrivers": Resource("csidrivers", "storage.k8s.io/v1", "CSIDriver", namespaced=False),
        "customresourcedefinitions": Resource(
            "customresourcedefinitions", "apiextensions.k8s.io/v1", "CustomResourceDefinition", namespaced=False
        ),
        "podtemplates": Resource("podtemplates", "v1", "PodTemplate"),
        # kubernetes/autoscaler, cluster-autoscaler/apis/capacitybuffer.
        "capacitybuffers": Resource("capacitybuffers", "autoscaling.x-k8s.io/v1beta1", "CapacityBuffer", optional=True),
        # Karpenter 1.x (karpenter.sh/docs, "NodeClaims", "NodePools"); on AWS also EC2NodeClass.
        "nodeclaims": Resource("nodeclaims", "karpenter.sh/v1", "NodeClaim", namespaced=False, optional=True),
        "nodepools": Resource("nodepools", "karpenter.sh/v1", "NodePool", namespaced=False, optional=True),
        "ec2nodeclasses": Resource(
            "ec2nodeclasses", "karpenter.k8s.aws/v1", "EC2NodeClass", namespaced=False, optional=True
        ),
        # Azure/karpenter-provider-azure, pkg/apis/v1beta1.
        "aksnodeclasses": Resource(
            "aksnodeclasses", "karpenter.azure.com/v1beta1", "AKSNodeClass", namespaced=False, optional=True
        ),
    }
)

_BY_KIND: Final = {(resource.api, resource.kind): resource for resource in RESOURCES.values()}


def resource_named(name: str) -> Resource:
    """Return a resource of the table by its plural (`events.events.k8s.io` for the newer event API)."""
    try:
        return RESOURCES[name]
    except KeyError:
        raise ManifestError(f"Resource {name!r} is unknown: use one of {', '.join(sorted(RESOURCES))}.") from None


def key_of(group: str, resource: str) -> str:
    """Return the name of a resource here; `resource` may contain a subresource (`services/proxy`)."""
    plural, slash, subresource = resource.partition("/")
    key = next((key for key, item in RESOURCES.items() if (item.group, item.plural) == (group, plural)), plural)
    return f"{key}{slash}{subresource}"


def resource_of(manifest: Mapping[str, Any]) -> Resource | None:
    """Return the resource of a manifest's apiVersion and kind, or None if the cluster must be queried."""
    return _BY_KIND.get((str(manifest.get("apiVersion")), str(manifest.get("kind"))))


def discovered(api: str, kind: str, answer: Mapping[str, Any]) -> Resource | None:
    """Return the resource of a kind from an APIResourceList (`GET /apis/<group>/<version>`)."""
    for item in answer.get("resources") or ():
        if item.get("kind") == kind and "/" not in item.get("name", "/"):
            return Resource(item["name"], api, kind, namespaced=bool(item.get("namespaced")))
    return None
