"""Why a node is still there after the last pod of a trial is gone, read from the node and from the pods on it.

Autoscalers remove a node only if it is empty, nothing forbids it, and its time has come. Sources: cluster-autoscaler's
FAQ ("What types of pods can prevent CA from removing a node?"), Karpenter's page on disruption (1.6).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, objects, text

Object = Mapping[str, Any]

# Annotation -> the value that forbids the removal.
_OF_NODES: Final = {
    "karpenter.sh/do-not-disrupt": "true",
    "cluster-autoscaler.kubernetes.io/scale-down-disabled": "true",
}
_OF_PODS: Final = {"karpenter.sh/do-not-disrupt": "true", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
_DRAINED: Final = frozenset({"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"})
# Pods of these owners stay until the node goes.
_WITH_NODES: Final = frozenset({"DaemonSet", "Node"})
_ENDED: Final = frozenset({"Succeeded", "Failed"})
_MOST_NAMED: Final = 3


def kept(nodes: Iterable[Object], pods: Iterable[Object] | None) -> list[str]:
    """Return one clause for each node: which it is, and what keeps it. `pods`: of all namespaces, None if unknown."""
    known = None if pods is None else list(pods)
    return [f"{_name(node)} ({_why(node, known)})" for node in sorted(nodes, key=_name)]


def _why(node: Object, pods: list[Object] | None) -> str:
    told = list(_told_by_node(node))
    if pods is not None:
        told += _told_by_pods([pod for pod in pods if dig(pod, "spec", "nodeName") == _name(node)])
    if volumes := [text(one.get("name")).rpartition("^")[2] for one in objects(node, "status", "volumesAttached")]:
        told.append(f"volumes are attached: {_some(volumes)}")
    unknown = "which pods are on it could not be read" if pods is None else ""
    return "; ".join(filter(None, [*told, unknown])) or "empty, and its autoscaler has not removed it yet"


def _told_by_node(node: Object) -> Iterator[str]:
    since = text(dig(node, "metadata", "deletionTimestamp"))
    finalizers = [text(name) for name in items(dig(node, "metadata", "finalizers"))]
    if since:
        yield f"deleted at {since}{f', finalizer {_some(finalizers)} is pending' if finalizers else ''}"
    elif any(taint.get("key") in _DRAINED for taint in objects(node, "spec", "taints")):
        yield "it is being drained"
    annotations = mapping(dig(node, "metadata", "annotations"))
    yield from (f"its annotation {key} forbids it" for key, value in _OF_NODES.items() if annotations.get(key) == value)


def _told_by_pods(pods: list[Object]) -> Iterator[str]:
    others = [pod for pod in pods if dig(pod, "status", "phase") not in _ENDED and not _goes_with_node(pod)]
    for key, value in _OF_PODS.items():
        if named := [_full(pod) for pod in others if dig(pod, "metadata", "annotations", key) == value]:
            yield f"the annotation {key} of {_some(named)} forbids it"
    if others:
        yield f"other pods are on it: {_some([_full(pod) for pod in others])}"


def _goes_with_node(pod: Object) -> bool:
    return any(owner.get("kind") in _WITH_NODES for owner in objects(pod, "metadata", "ownerReferences"))


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(sorted(names)[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _full(pod: Object) -> str:
    return f"{text(dig(pod, 'metadata', 'namespace'))}/{_name(pod)}"


def _name(obj: Object) -> str:
    return text(dig(obj, "metadata", "name"))
