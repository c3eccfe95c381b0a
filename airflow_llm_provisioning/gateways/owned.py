"""Lists what is ours in a cluster, deletes one object of it, and says why one is still there.

Everything is found by labels, owner references and the ledger's names; whether it may be deleted is judged in the core.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, LABEL_TARGET, LABEL_TRIAL, OWNER
from airflow_llm_provisioning.core.owned import Recorded, Thing
from airflow_llm_provisioning.core.ownership import LABEL_APPLIED_BY, labels_of
from airflow_llm_provisioning.core.remains import explained
from airflow_llm_provisioning.exceptions import ClusterError, ConflictError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.cluster import LABEL_CLUSTER, LABEL_ORIGIN
from airflow_llm_provisioning.gateways.kubernetes.errors import NotFoundError
from airflow_llm_provisioning.gateways.kubernetes.lock import LOCK_NAME, expiry
from airflow_llm_provisioning.gateways.kubernetes.objects import Object, Objects
from airflow_llm_provisioning.gateways.kubernetes.resources import RESOURCES, resource_named
from airflow_llm_provisioning.gateways.remains import surroundings_of

# Few of them in a namespace: they are listed as they are. Of the others there may be thousands.
_LISTED: Final = (
    *("rayservices", "rayclusters", "leases", "capacitybuffers", "podtemplates"),
    *("daemonsets", "deployments", "jobs", "persistentvolumeclaims"),
)
_SELECTED: Final = ("pods", "services", "secrets", "configmaps")
_OF_CLUSTER: Final = ("nodepools", "ec2nodeclasses", "aksnodeclasses", "nodeclaims", "nodes", "priorityclasses")
_SELECTORS: Final = (f"{LABEL_MANAGED_BY}={OWNER}", LABEL_TRIAL)
_KEYS: Final = (LABEL_TRIAL, LABEL_APPLIED_BY)
_TRIES: Final = 5
# A clock that is wrong by less says nothing of interest.
_SKEW_TOLD_S: Final = 60.0

Problems = dict[str, str]


def earlier_clock(cluster: Cluster) -> tuple[datetime, str | None]:
    """Return the earlier one of our clock and the API server's, and a sentence where they differ: what only one of them
    takes for expired is kept.
    """
    now, ahead_s = cluster.clock(), cluster.ahead_s()
    told = None
    if abs(ahead_s) >= _SKEW_TOLD_S:
        way = "ahead of" if ahead_s > 0 else "behind"
        told = f"The clock of {cluster.name} is {abs(ahead_s):.0f} s {way} ours: the earlier one of the two counts."
    return now + timedelta(seconds=min(0.0, ahead_s)), told


async def live_holder(cluster: Cluster, namespace: str, now: datetime) -> str | None:
    """Return who holds the lock of trials in a namespace at that time; None if no one does."""
    lease = await cluster.get("leases", LOCK_NAME, namespace)
    holder = text(dig(lease, "spec", "holderIdentity"))
    return holder if lease is not None and holder and expiry(lease) > now else None


async def list_namespace(
    cluster: Cluster, place: str, namespace: str, entries: Collection[Recorded]
) -> tuple[list[Thing], Problems]:
    """Return what is ours in a namespace, in an order in which it can be deleted, and the kinds that could not be
    listed. `entries`: of this place; what they name is looked at also where it lost its labels.
    """
    found = _Found()
    await _each(found.problems, _LISTED[:1], lambda resource: _listed(found, cluster, resource, namespace))
    await _each(found.problems, _LISTED[1:], lambda resource: _listed(found, cluster, resource, namespace))
    await _each(found.problems, _SELECTED, lambda resource: _selected(found, cluster, resource, namespace))
    await _each(found.problems, ("pods", "services"), lambda resource: _children(found, cluster, resource, namespace))
    await _named_by_ledger(found, cluster, namespace, entries)
    return [_thing(place, obj) for obj in found.objects()], found.problems


async def list_cluster_scope(
    cluster: Cluster, place: str, targets: Collection[str], namespaces: Collection[str]
) -> tuple[list[Thing], Problems]:
    """Return what is ours and belongs to no namespace: node pools and classes by our label, nodes and node claims by
    the label of the targets (its values), and the nodes of trials' pods, which Luna marks alike for all.
    """
    found = _Found()
    ours, wanted = f"{LABEL_MANAGED_BY}={OWNER}", f"{LABEL_TARGET} in ({','.join(sorted(targets))})"

    async def look(resource: str) -> None:
        selector = wanted if resource in ("nodes", "nodeclaims") else ours
        found.keep(resource, (await cluster.list(resource, labels=selector))[0])

    await _each(found.problems, _OF_CLUSTER, look)
    busy: set[str] = set()
    await _each(found.problems, ("pods",), lambda _: _busy_nodes(found, cluster, namespaces, busy))
    things = [_thing(place, obj) for obj in found.objects()]
    return [replace(thing, busy=thing.kind == "Node" and thing.name in busy) for thing in things], found.problems


async def _busy_nodes(found: "_Found", cluster: Cluster, namespaces: Collection[str], busy: set[str]) -> None:
    """Keep the nodes on which a pod of a trial is; `busy` gets their names."""
    for namespace in namespaces:
        pods, _ = await cluster.list("pods", namespace, labels=LABEL_TRIAL)
        busy |= {text(dig(pod, "spec", "nodeName")) for pod in pods} - {""}
    known = {text(dig(node, "metadata", "name")) for node in found.of("nodes")}
    for name in sorted(busy - known):
        node = await cluster.get("nodes", name)
        found.keep("nodes", [{"kind": "Node", **node}] if node is not None else [])


async def delete_object(cluster: Cluster, thing: Thing, namespace: str | None, still: Callable[[Thing], bool]) -> bool:
    """Delete the object that was listed, and no other one of its name; False where it is gone already.

    Looked at again right before: `still` is asked of what is there now, and a ConflictError says that it refused.
    """
    resource = _resource_of(thing.kind)
    for _ in range(_TRIES):
        obj = await cluster.get(resource, thing.name, namespace)
        if obj is None or dig(obj, "metadata", "uid") != thing.uid:
            return False
        kind = resource_named(resource)
        now = _thing(thing.place, {"apiVersion": kind.api, "kind": kind.kind, **obj})
        if not still(now):
            raise ConflictError(f"{thing.kind} {thing.name} was changed since it was listed, so it was not deleted.")
        if now.deleted_at:
            return True
        try:
            return await cluster.delete(resource, thing.name, namespace, uid=thing.uid, resource_version=now.version)
        except ConflictError as error:
            # Its status was written meanwhile: look at it again.
            refused = error
    raise refused


async def why_left(cluster: Cluster, namespace: str | None, things: Iterable[Thing]) -> dict[str, str]:
    """Return, by uid, what each object that is still there waits for. What is gone by now has no reason."""
    objects: Objects = []
    for thing in things:
        found = await cluster.get(_resource_of(thing.kind), thing.name, namespace)
        if found is not None and dig(found, "metadata", "uid") == thing.uid:
            objects.append({"kind": thing.kind, **found})
    ending = await _namespace_ending(cluster, namespace)
    around = await surroundings_of(cluster, objects)
    return {text(dig(obj, "metadata", "uid")): explained([obj], around)[0] + ending for obj in objects}


async def _namespace_ending(cluster: Cluster, namespace: str | None) -> str:
    """Return what a namespace says that is being deleted and does not end (kubernetes, NamespaceCondition)."""
    try:
        found = await cluster.get("namespaces", namespace) if namespace else None
    except ClusterError:
        return ""
    if dig(found, "status", "phase") != "Terminating":
        return ""
    said = [
        text(condition.get("message"))
        for condition in map(mapping, items(dig(found, "status", "conditions")))
        if condition.get("status") == "True" and text(condition.get("message"))
    ]
    return "; ".join([f"; namespace {namespace} is Terminating", *said])


class _Found:
    """Objects by uid, in the order of their resources, and the kinds that could not be listed."""

    def __init__(self) -> None:
        self.problems: Problems = {}
        self._objects: dict[str, dict[str, Object]] = {}

    def keep(self, resource: str, objects: Iterable[Object]) -> None:
        """Keep these objects."""
        self._objects.setdefault(resource, {}).update({text(dig(obj, "metadata", "uid")): obj for obj in objects})

    def objects(self) -> Objects:
        """Return all, locks last: a lock protects until the others are gone."""
        order = sorted(self._objects, key=lambda resource: (resource == "leases", _RANK.get(resource, len(_RANK))))
        return [obj for resource in order for obj in self._objects[resource].values()]

    def of(self, resource: str) -> Objects:
        """Return those of a resource."""
        return list(self._objects.get(resource, {}).values())

    def uids(self) -> set[str]:
        """Return the uids of all."""
        return {uid for objects in self._objects.values() for uid in objects}


_RANK: Final = {name: rank for rank, name in enumerate((*_LISTED, *_SELECTED, *_OF_CLUSTER))}


async def _each(problems: Problems, resources: Iterable[str], look: Callable[[str], Awaitable[None]]) -> None:
    """Look at each resource; what cannot be listed is a problem of its kind, with the cluster's own sentence."""

    async def one(resource: str) -> None:
        try:
            await look(resource)
        except NotFoundError:
            # The cluster does not serve it, so there is none.
            return
        except ClusterError as error:
            problems[resource_named(resource).kind] = str(error)

    await asyncio.gather(*(one(resource) for resource in resources))


async def _listed(found: _Found, cluster: Cluster, resource: str, namespace: str) -> None:
    objects, _ = await cluster.list(resource, namespace)
    found.keep(resource, (obj for obj in objects if _is_marked(obj) and _is_interesting(resource, obj)))
    if resource == "rayclusters":
        services = {text(dig(obj, "metadata", "uid")) for obj in found.of("rayservices")}
        names = {text(dig(obj, "metadata", "name")) for obj in found.of("rayservices")}
        found.keep(resource, (obj for obj in objects if _owners(obj) & services or _origin(obj) in names))


def _is_interesting(resource: str, obj: Mapping[str, Any]) -> bool:
    return resource != "leases" or dig(obj, "metadata", "name") == LOCK_NAME or LABEL_TRIAL in labels_of(obj)


async def _selected(found: _Found, cluster: Cluster, resource: str, namespace: str) -> None:
    for selector in _SELECTORS:
        found.keep(resource, (await cluster.list(resource, namespace, labels=selector))[0])


async def _children(found: _Found, cluster: Cluster, resource: str, namespace: str) -> None:
    """Keep the pods and Services of what was found: they may carry no label of ours."""
    names = sorted(text(dig(obj, "metadata", "name")) for obj in found.of("rayclusters"))
    if not names and not found.of("rayservices"):
        return
    selector = f"{LABEL_CLUSTER} in ({','.join(names)})" if resource == "pods" else None
    if resource == "pods" and not names:
        return
    objects, _ = await cluster.list(resource, namespace, labels=selector)
    known = found.uids()
    found.keep(resource, (obj for obj in objects if _owners(obj) & known))


async def _named_by_ledger(found: _Found, cluster: Cluster, namespace: str, entries: Collection[Recorded]) -> None:
    kinds = {resource.kind.lower(): plural for plural, resource in RESOURCES.items()}
    for entry in entries:
        resource = kinds.get(entry.kind)
        if resource is None or RESOURCES[resource].kind in found.problems:
            continue
        if any(dig(obj, "metadata", "name") == entry.name for obj in found.of(resource)):
            continue
        try:
            obj = await cluster.get(resource, entry.name, namespace)
        except ClusterError as error:
            found.problems[RESOURCES[resource].kind] = str(error)
            continue
        if obj is not None:
            found.keep(resource, [{"kind": RESOURCES[resource].kind, **obj}])


def _is_marked(obj: Mapping[str, Any]) -> bool:
    labels = labels_of(obj)
    return labels.get(LABEL_MANAGED_BY) == OWNER or any(key in labels for key in _KEYS)


def _owners(obj: Mapping[str, Any]) -> set[str]:
    return {text(mapping(owner).get("uid")) for owner in items(dig(obj, "metadata", "ownerReferences"))}


def _origin(obj: Mapping[str, Any]) -> str:
    return text(labels_of(obj).get(LABEL_ORIGIN))


def _resource_of(kind: str) -> str:
    return next(plural for plural, resource in RESOURCES.items() if resource.kind == kind)


def _thing(place: str, obj: Mapping[str, Any]) -> Thing:
    created = text(dig(obj, "metadata", "creationTimestamp"))
    labels = {key: text(value) for key, value in labels_of(obj).items()}
    return Thing(
        place=place,
        kind=text(obj.get("kind")),
        name=text(dig(obj, "metadata", "name")),
        labels=labels,
        created_at=datetime.fromisoformat(created) if created else None,
        uid=text(dig(obj, "metadata", "uid")) or None,
        version=text(dig(obj, "metadata", "resourceVersion")) or None,
        owners=tuple(sorted(_owners(obj))),
        deleted_at=text(dig(obj, "metadata", "deletionTimestamp")) or None,
        of_ray=LABEL_ORIGIN in labels or LABEL_CLUSTER in labels,
    )
