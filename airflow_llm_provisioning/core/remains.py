"""What still exists of a RayService whose deletion was asked for, and why: read from the objects themselves.

A deletion is finished when its objects are seen to be gone. Until then each of them says what it waits for: a
finalizer, its owner, its grace period, or a kubelet that does not answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text

# KubeRay's finalizers begin with it (ray-operator/controllers/ray/utils/constant.go; `ray.io/rayservice-finalizer` in
# a recording of KubeRay 1.7).
KUBERAY_FINALIZERS: Final = "ray.io/"
OPERATOR: Final = "kuberay-operator"
# Finalizers of others, and what each waits for (apimachinery, meta/v1; cloud-provider, controllers/service; KubeRay's
# fault tolerance of the GCS; Kueue, pkg/controller/jobs/pod; Kubernetes' Job controller).
_KNOWN_FINALIZERS: Final = {
    "foregroundDeletion": "it goes after all that it owns",
    "orphan": "the garbage collector frees what it owns first",
    "service.kubernetes.io/load-balancer-cleanup": "the cloud deletes its load balancer first; its events "
    "say why if that fails",
    "ray.io/gcs-ft-redis-cleanup-finalizer": "a Job deletes what the RayCluster kept in Redis; look at its pod",
    "kueue.x-k8s.io/managed": "Kueue removes it; check that its controller runs",
    "batch.kubernetes.io/job-tracking": "the Job controller removes it once it has counted the pod",
}
_LISTED_AT_MOST: Final = 6
_ORDER: Final = ("RayService", "RayCluster", "Pod", "Service")

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The RayService that is deleted, as it was when the deletion was asked for.

    `uid`: None where it was gone already. `clusters`, `pods`: name -> uid of what belonged to it. `trial`: value of the
    trial label that its objects carry.
    """

    name: str
    namespace: str
    uid: str | None = None
    clusters: Mapping[str, str] | None = None
    pods: Mapping[str, str] | None = None
    trial: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What explains why something is left. `nodes`: name -> node, or None for one that no longer exists; a node that
    could not be read is absent. `operators`: the deployments of the KubeRay operator; None where they could not be
    read.
    """

    nodes: Mapping[str, Object | None]
    operators: Sequence[Object] | None


def explained(left: Iterable[Object], around: Surroundings) -> list[str]:
    """Return one clause for each object that is left: which it is, and what it waits for."""
    ordered = sorted(left, key=lambda obj: (_rank(obj), _name(obj)))
    kept_by = {text(dig(obj, "metadata", "uid")): f"{obj.get('kind')} {_name(obj)}" for obj in ordered}
    return [f"{obj.get('kind')} {_name(obj)} ({_why(obj, around, kept_by)})" for obj in ordered]


def named(left: Iterable[Object]) -> list[str]:
    """Return kind and name of each object that is left."""
    return [f"{obj.get('kind')} {_name(obj)}" for obj in sorted(left, key=lambda obj: (_rank(obj), _name(obj)))]


def listed(clauses: Sequence[str]) -> str:
    """Return the clauses as one list; of many the first are told."""
    more = len(clauses) - _LISTED_AT_MOST
    return "; ".join(clauses[:_LISTED_AT_MOST]) + (f"; and {more} more" if more > 0 else "")


def operators_among(deployments: Iterable[Object]) -> list[Object]:
    """Return the deployments of the KubeRay operator, also of Helm releases with another name."""
    return [item for item in deployments if OPERATOR in text(dig(item, "metadata", "name"))]


def operator_problem(operators: Sequence[Object]) -> str | None:
    """Return why no KubeRay operator works, or None if one of these deployments has a ready replica."""
    if not operators:
        return "no deployment kuberay-operator was found"
    if any(_count(dig(item, "status", "readyReplicas")) > 0 for item in operators):
        return None
    item = operators[0]
    wanted = dig(item, "spec", "replicas")
    where = f"deployment {_name(item)}"
    if wanted == 0:
        return f"{where} is scaled to 0 replicas"
    return f"{where} has 0 of {1 if wanted is None else wanted} replicas ready"


def _why(obj: Object, around: Surroundings, kept_by: Mapping[str, str]) -> str:
    finalizers = [text(name) for name in items(dig(obj, "metadata", "finalizers"))]
    since = text(dig(obj, "metadata", "deletionTimestamp"))
    if since and finalizers:
        return f"deleted at {since}; {_finalizer(finalizers, around)}"
    if obj.get("kind") == "Pod":
        return _pod(obj, since, around, kept_by)
    if since:
        return f"deleted at {since}, and not gone yet"
    owner = _owner(obj, kept_by)
    if owner:
        return f"it goes when {owner} is gone"
    if obj.get("kind") == "RayService":
        return "nothing has deleted it"
    return "its owner is gone, and the garbage collector has not deleted it yet"


def _finalizer(finalizers: Sequence[str], around: Surroundings) -> str:
    pending = f"finalizer {', '.join(finalizers)} is pending"
    for name, why in _KNOWN_FINALIZERS.items():
        # What KubeRay does for its own one needs the operator, which is told first.
        operator_works = around.operators is None or operator_problem(around.operators) is None
        if name in finalizers and (operator_works or not name.startswith(KUBERAY_FINALIZERS)):
            return f"{pending}: {why}"
    if not any(name.startswith(KUBERAY_FINALIZERS) for name in finalizers):
        return f"{pending}: the controller that set it has not removed it"
    if around.operators is None:
        return f"{pending}: the KubeRay operator removes it, and whether that runs could not be read"
    problem = operator_problem(around.operators)
    if problem:
        return f"{pending}: the KubeRay operator removes it, and {problem}"
    return f"{pending}: the KubeRay operator is ready, and has not removed it; its log says why"


def _pod(pod: Object, since: str, around: Surroundings, kept_by: Mapping[str, str]) -> str:
    node = text(dig(pod, "spec", "nodeName"))
    held = _held(pod)
    where = f"on node {node}" if node else "without a node"
    if not since:
        owner = _owner(pod, kept_by) or "its owner"
        return f"it runs {where}{held} until {owner} is gone"
    return f"Terminating {where}{held}, grace until {since}{_node_problem(node, around)}"


def _node_problem(name: str, around: Surroundings) -> str:
    if not name or name not in around.nodes:
        return ""
    node = around.nodes[name]
    if node is None:
        return "; that node no longer exists"
    ready = next((c for c in items(dig(node, "status", "conditions")) if mapping(c).get("type") == "Ready"), None)
    found = mapping(ready)
    if found.get("status") == "True":
        return ""
    told = ": ".join(filter(None, (text(found.get("reason")), text(found.get("message")))))
    return f"; that node is not reachable (Ready is {found.get('status') or 'not set'}{f', {told}' if told else ''})"


def _held(pod: Object) -> str:
    """Say which devices a pod holds: they are what is paid for."""
    amounts: dict[str, str] = {}
    for container in items(dig(pod, "spec", "containers")):
        limits = mapping(dig(container, "resources", "limits"))
        amounts |= {key: str(value) for key, value in limits.items() if "/" in key and str(value) != "0"}
    return f" and holds {', '.join(f'{key}: {value}' for key, value in sorted(amounts.items()))}" if amounts else ""


def _owner(obj: Object, kept_by: Mapping[str, str]) -> str | None:
    owners = [text(mapping(owner).get("uid")) for owner in items(dig(obj, "metadata", "ownerReferences"))]
    return next((kept_by[uid] for uid in owners if uid in kept_by), None)


def _rank(obj: Object) -> int:
    kind = text(obj.get("kind"))
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _name(obj: Object) -> str:
    namespace, name = text(dig(obj, "metadata", "namespace")), text(dig(obj, "metadata", "name"))
    return f"{namespace}/{name}" if namespace else name


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
