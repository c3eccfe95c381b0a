"""The kinds one simulated cluster serves: the single table that storage, discovery and routing read.

Knows names and scopes only; how objects behave is `store.py`, how they print is `tables.py`. Custom kinds that a client
installs as CustomResourceDefinitions join a cluster's own copy of the table.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

_ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind: `plural` is its key in the store.

    `status`: has a /status subresource that plain writes do not touch. `counts_generation`: metadata.generation counts.
    `review`: POST answers and nothing is stored (authorization.k8s.io). `builtin`: not defined by a CRD.
    """

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False
    counts_generation: bool = False
    subresources: tuple[str, ...] = ()
    review: bool = False
    builtin: bool = True

    @property
    def api_version(self) -> str:
        """`v1`, or `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """`pods`, or `rayservices.ray.io`: how the API server names the kind in its messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def verbs(self) -> tuple[str, ...]:
        """The verbs discovery lists."""
        return ("create",) if self.review else _ALL_VERBS

    @property
    def singular(self) -> str:
        """The name kubectl accepts beside the plural."""
        return self.kind.lower()


def _custom(plural: str, kind: str, group: str, version: str = "v1", **more: Any) -> Resource:
    return Resource(plural, kind, group, version, status=True, counts_generation=True, builtin=False, **more)


RAY: Final = "ray.io"
AUTOSCALING: Final = "autoscaling.x-k8s.io"
KARPENTER: Final = "karpenter.sh"
KARPENTER_AWS: Final = "karpenter.k8s.aws"
KARPENTER_AZURE: Final = "karpenter.azure.com"
EVENTS_GROUP: Final = "events.k8s.io"
CRDS: Final = "customresourcedefinitions"

# Short names and categories as kubectl api-resources prints them for Kubernetes 1.34, KubeRay 1.7 and Karpenter 1.x.
RESOURCES: Final[tuple[Resource, ...]] = (
    Resource("configmaps", "ConfigMap", short=("cm",)),
    Resource("endpoints", "Endpoints", short=("ep",)),
    Resource("events", "Event", short=("ev",)),
    Resource("limitranges", "LimitRange", short=("limits",)),
    Resource("namespaces", "Namespace", namespaced=False, short=("ns",), status=True),
    Resource("nodes", "Node", namespaced=False, short=("no",), status=True),
    Resource("persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",), status=True),
    Resource("persistentvolumes", "PersistentVolume", namespaced=False, short=("pv",), status=True),
    Resource(
        "pods",
        "Pod",
        short=("po",),
        categories=("all",),
        status=True,
        counts_generation=True,
        subresources=("log", "proxy"),
    ),
    Resource("podtemplates", "PodTemplate"),
    Resource("resourcequotas", "ResourceQuota", short=("quota",), status=True),
    Resource("secrets", "Secret"),
    Resource("serviceaccounts", "ServiceAccount", short=("sa",)),
    Resource("services", "Service", short=("svc",), categories=("all",), status=True, subresources=("proxy",)),
    Resource(CRDS, "CustomResourceDefinition", "apiextensions.k8s.io", namespaced=False, short=("crd", "crds")),
    Resource(
        "daemonsets",
        "DaemonSet",
        "apps",
        short=("ds",),
        categories=("all",),
        status=True,
        counts_generation=True,
    ),
    Resource(
        "deployments",
        "Deployment",
        "apps",
        short=("deploy",),
        categories=("all",),
        status=True,
        counts_generation=True,
    ),
    Resource(
        "replicasets",
        "ReplicaSet",
        "apps",
        short=("rs",),
        categories=("all",),
        status=True,
        counts_generation=True,
    ),
    Resource("selfsubjectreviews", "SelfSubjectReview", "authentication.k8s.io", namespaced=False, review=True),
    Resource(
        "selfsubjectaccessreviews", "SelfSubjectAccessReview", "authorization.k8s.io", namespaced=False, review=True
    ),
    Resource(
        "selfsubjectrulesreviews", "SelfSubjectRulesReview", "authorization.k8s.io", namespaced=False, review=True
    ),
    Resource("jobs", "Job", "batch", categories=("all",), status=True, counts_generation=True),
    Resource("leases", "Lease", "coordination.k8s.io"),
    Resource("endpointslices", "EndpointSlice", "discovery.k8s.io", counts_generation=True),
    Resource("ingresses", "Ingress", "networking.k8s.io", short=("ing",), status=True, counts_generation=True),
    Resource("networkpolicies", "NetworkPolicy", "networking.k8s.io", short=("netpol",), counts_generation=True),
    Resource(
        "poddisruptionbudgets", "PodDisruptionBudget", "policy", short=("pdb",), status=True, counts_generation=True
    ),
    Resource("clusterrolebindings", "ClusterRoleBinding", "rbac.authorization.k8s.io", namespaced=False),
    Resource("clusterroles", "ClusterRole", "rbac.authorization.k8s.io", namespaced=False),
    Resource("rolebindings", "RoleBinding", "rbac.authorization.k8s.io"),
    Resource("roles", "Role", "rbac.authorization.k8s.io"),
    Resource("priorityclasses", "PriorityClass", "scheduling.k8s.io", namespaced=False, short=("pc",)),
    Resource("csinodes", "CSINode", "storage.k8s.io", namespaced=False),
    Resource("csidrivers", "CSIDriver", "storage.k8s.io", namespaced=False),
    Resource("storageclasses", "StorageClass", "storage.k8s.io", namespaced=False, short=("sc",)),
    _custom("rayclusters", "RayCluster", RAY, categories=("all",)),
    _custom("rayjobs", "RayJob", RAY, categories=("all",)),
    _custom("rayservices", "RayService", RAY, categories=("all",)),
    _custom("capacitybuffers", "CapacityBuffer", AUTOSCALING, "v1beta1", short=("cb",)),
    _custom("nodeclaims", "NodeClaim", KARPENTER, namespaced=False, categories=("karpenter",)),
    _custom("nodepools", "NodePool", KARPENTER, namespaced=False, categories=("karpenter",)),
    _custom(
        "ec2nodeclasses",
        "EC2NodeClass",
        KARPENTER_AWS,
        namespaced=False,
        short=("ec2nc", "ec2ncs"),
        categories=("karpenter",),
    ),
    _custom(
        "aksnodeclasses",
        "AKSNodeClass",
        KARPENTER_AZURE,
        "v1beta1",
        namespaced=False,
        short=("aksnc", "aksncs"),
        categories=("karpenter",),
    ),
)

# The one resource that is served twice: events of events.k8s.io are another view of the same objects.
EVENTS_VIEW: Final = Resource("events", "Event", EVENTS_GROUP, short=("ev",))


class ResourceTable:
    """One cluster's kinds, by plural and by the path they are served under."""

    def __init__(self, *, without_groups: Collection[str] = ()) -> None:
        self._by_plural: dict[str, Resource] = {}
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        for resource in RESOURCES:
            if resource.group not in without_groups:
                self.add(resource)
        self._serve(EVENTS_VIEW)

    def __getitem__(self, plural: str) -> Resource:
        return self._by_plural[plural]

    def get(self, plural: str) -> Resource | None:
        """Return a kind by its plural, or None when this cluster does not serve it."""
        return self._by_plural.get(plural)

    def __contains__(self, plural: str) -> bool:
        return plural in self._by_plural

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_path.values())

    def at(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the kind served under /apis/group/version/plural (group "" is /api)."""
        return self._by_path.get((group, version, plural))

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """Return the kind an object or an ownerReference names, in any version."""
        return self._by_kind.get((api_version.rpartition("/")[0], kind))

    def add(self, resource: Resource) -> None:
        """Serve a kind from now on."""
        self._by_plural[resource.plural] = resource
        self._serve(resource)

    def drop(self, plural: str) -> None:
        """Serve a custom kind no longer."""
        resource = self._by_plural.pop(plural)
        self._by_path.pop((resource.group, resource.version, plural))
        self._by_kind.pop((resource.group, resource.kind))

    def group_versions(self) -> list[tuple[str, str]]:
        """Return every served (group, version), each once, in the table's order."""
        return list(dict.fromkeys((resource.group, resource.version) for resource in self))

    def _serve(self, resource: Resource) -> None:
        self._by_path[resource.group, resource.version, resource.plural] = resource
        self._by_kind[resource.group, resource.kind] = resource


def resource_of_crd(definition: dict[str, Any]) -> Resource:
    """Return the kind a CustomResourceDefinition defines, at its storage version."""
    spec = definition["spec"]
    names = spec["names"]
    version = next((item for item in spec["versions"] if item.get("storage")), spec["versions"][0])
    resource = _custom(
        names["plural"],
        names["kind"],
        spec["group"],
        version["name"],
        namespaced=spec.get("scope") != "Cluster",
        short=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
    )
    return replace(resource, status="status" in (version.get("subresources") or {}))
