"""Reads what still exists of a RayService: by uid, owner references and labels, never by how a name begins."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.kept_nodes import kept
from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.core.remains import Subject, Surroundings, listed, operators_among
from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.cluster import LABEL_CLUSTER, LABEL_ORIGIN
from airflow_llm_provisioning.gateways.kubernetes.objects import Object, Objects

# Resources that a RayService's deletion has to end. The trial label is on the first three.
_LABELLED: Final = ("rayservices", "rayclusters", "pods")


async def remains_of(cluster: Cluster, subject: Subject) -> Objects:
    """Return every RayService, RayCluster, pod and Service of the subject that exists now; empty: all are gone."""
    namespace = subject.namespace
    found: dict[str, Object] = {}
    service = await cluster.get("rayservices", subject.name, namespace)
    if service is not None and _is_subject(service, subject):
        _keep(found, [service])
    if subject.trial is not None:
        for resource in _LABELLED:
            _keep(found, (await cluster.list(resource, namespace, labels=f"{LABEL_TRIAL}={subject.trial}"))[0])
    known = {uid for uid in (subject.uid, *(subject.clusters or {}).values()) if uid} | set(found)
    ours = _Owned(subject, known, living=text(dig(service, "metadata", "uid")))
    clusters, _ = await cluster.list("rayclusters", namespace, labels=f"{LABEL_ORIGIN}={subject.name}")
    _keep(found, filter(ours, clusters))
    _keep(found, await _pods(cluster, subject, ours))
    _keep(found, filter(ours, (await cluster.list("services", namespace))[0]))
    return list(found.values())


async def surroundings_of(cluster: Cluster, left: Iterable[Mapping[str, Any]]) -> Surroundings:
    """Read what explains why these objects are left. What may not be read stays unknown."""
    nodes: dict[str, Mapping[str, Any] | None] = {}
    for name in sorted({text(dig(obj, "spec", "nodeName")) for obj in left if obj.get("kind") == "Pod"} - {""}):
        try:
            nodes[name] = await cluster.get("nodes", name)
        except ClusterError:
            continue
    try:
        operators = operators_among((await cluster.list("deployments"))[0])
    except ClusterError:
        return Surroundings(nodes=nodes, operators=None)
    return Surroundings(nodes=nodes, operators=operators)


async def why_kept(cluster: Cluster, nodes: Mapping[str, str]) -> str:
    """Return which of these nodes (name -> uid) are still there, and what keeps each of them, as far as may be read."""
    found: Objects = []
    for name, uid in sorted(nodes.items()):
        try:
            node = await cluster.get("nodes", name)
            if node is None or dig(node, "metadata", "uid") != uid:
                continue
            found.append(node)
        except ClusterError:
            found.append({"metadata": {"name": name}})
    names = [text(dig(node, "metadata", "name")) for node in found]
    try:
        pods = [pod for name in names for pod in (await cluster.list("pods", fields=f"spec.nodeName={name}"))[0]]
    except ClusterError:
        # Pods of other namespaces are no matter of the documented role.
        return listed(kept(found, None))
    return listed(kept(found, pods))


async def trials_left(cluster: Cluster, namespace: str, *, but: str) -> Objects:
    """Return the objects of other trials than `but` (a trial label's value) that are in a namespace."""
    found: Objects = []
    for resource in _LABELLED:
        listed, _ = await cluster.list(resource, namespace, labels=LABEL_TRIAL)
        found += [obj for obj in listed if dig(obj, "metadata", "labels", LABEL_TRIAL) != but]
    return found


async def _pods(cluster: Cluster, subject: Subject, ours: "_Owned") -> Objects:
    """Return the pods: those of its RayClusters, and those that were seen before and still exist."""
    names = sorted({*(subject.clusters or {}), *ours.clusters})
    listed: Objects = []
    if names:
        listed, _ = await cluster.list("pods", subject.namespace, labels=f"{LABEL_CLUSTER} in ({','.join(names)})")
    pods = [pod for pod in listed if ours(pod)]
    seen = {text(dig(pod, "metadata", "uid")) for pod in pods}
    for name, uid in (subject.pods or {}).items():
        if uid not in seen:
            pod = await cluster.get("pods", name, subject.namespace)
            pods += [pod] if pod is not None and dig(pod, "metadata", "uid") == uid else []
    return pods


class _Owned:
    """Tells whether an object is owned by the subject. What was found to be, owns further objects.

    `living`: uid of the RayService that has the subject's name now, or empty. What a RayService of that name owned that
    no longer exists is the subject's, also where its uid was never seen.
    """

    def __init__(self, subject: Subject, known: set[str], *, living: str) -> None:
        self.clusters: set[str] = set()
        self._subject = subject
        self._known = known
        self._living = living

    def __call__(self, obj: Mapping[str, Any]) -> bool:
        owners = [mapping(owner) for owner in items(dig(obj, "metadata", "ownerReferences"))]
        if not any(text(owner.get("uid")) in self._known or self._is_former(owner) for owner in owners):
            return False
        if obj.get("kind") == "RayCluster":
            self.clusters.add(text(dig(obj, "metadata", "name")))
        self._known.add(text(dig(obj, "metadata", "uid")))
        return True

    def _is_former(self, owner: Mapping[str, Any]) -> bool:
        named = owner.get("kind") == "RayService" and owner.get("name") == self._subject.name
        return named and owner.get("uid") != self._living


def _is_subject(service: Mapping[str, Any], subject: Subject) -> bool:
    if subject.uid is not None:
        return bool(dig(service, "metadata", "uid") == subject.uid)
    return subject.trial is not None and dig(service, "metadata", "labels", LABEL_TRIAL) == subject.trial


def _keep(found: dict[str, Object], objects: Iterable[Object]) -> None:
    found.update({text(dig(obj, "metadata", "uid")): obj for obj in objects})
