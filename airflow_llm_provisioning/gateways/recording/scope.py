"""Decides which objects of a cluster belong to one RayService: owned objects, their events, and all nodes.

Ownership is followed by uid from the RayService, because a name may have been used before, and because KubeRay before
1.4 cuts names from the front. Watches overtake each other by milliseconds, so an object whose owner is not known yet is
held until its owner arrives.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.manifest import serve_service
from airflow_llm_provisioning.core.trace.ownership import claims_of, is_head_service, is_serve_service, owner_uids
from airflow_llm_provisioning.gateways.kubernetes.follow import ObservedVersion

CLUSTER_SCOPED: Final = frozenset({"nodes", "nodeclaims"})
CLUSTER_KINDS: Final = frozenset({"Node", "NodeClaim"})
EVENTS: Final = frozenset({"events", "events.events.k8s.io"})
# Kinds of owners, and of objects of events, whose own owner may arrive later; a missing kind may be any.
MAY_BE_OWNED: Final = frozenset({"RayCluster", "Service", "EndpointSlice", "Pod", "ServiceAccount", "Role", ""})
MAX_HELD: Final = 500
MAX_FOREIGN: Final = 5000
# In a large cluster hundreds of nodes report every few minutes; a node that is still being set up is younger than this.
OLD: Final = timedelta(hours=1)


class Scope:
    """Decides for one recording which objects are recorded.

    `subject`: {namespace, name, uid} of the RayService. `head_service`: the name of the newest RayCluster's head
    Service, or None. `serve_service`: the Service whose ready endpoint ends the wait.
    """

    def __init__(self, subject: Mapping[str, str]) -> None:
        self._name = subject["name"]
        self._uid = subject["uid"]
        self.serve_service = serve_service(subject["name"])
        self._owned: set[str] = {subject["uid"]}
        self._held: deque[tuple[str, ObservedVersion]] = deque(maxlen=MAX_HELD)
        self._newest = self._newest_uid = ""
        self._created_at: datetime | None = None
        self._old_nodes: set[str] = set()
        self._hosts: set[str] = set()
        self._head_services: dict[str, str] = {}
        self._foreign: dict[str, None] = {}
        self._claims: set[str] = set()
        self.head_service: str | None = None

    def admit(self, resource: str, seen: ObservedVersion) -> Iterator[tuple[str, ObservedVersion]]:
        """Yield the versions that are known to belong to the trial now: this one, and held ones that it makes known."""
        owned = self._is_owned(resource, seen.object)
        if owned is None:
            self._held.append((resource, seen))
        elif owned:
            yield resource, seen
            if self.add_owned(resource, seen.object):
                waiting = list(self._held)
                self._held.clear()
                for held_resource, held in waiting:
                    yield from self.admit(held_resource, held)

    def add_owned(self, resource: str, obj: Mapping[str, Any]) -> bool:
        """Remember an owned object; True if it is new, so that held versions may be owned now."""
        if resource in EVENTS:
            return False
        if resource in CLUSTER_SCOPED:
            return self._note_node(obj)
        if resource == "rayservices":
            self._created_at = parse_instant(dig(obj, "metadata", "creationTimestamp"))
            # KubeRay 1.2+: spec.serveService may give the Service another name.
            self.serve_service = text(dig(obj, "spec", "serveService", "metadata", "name")) or self.serve_service
        if resource == "rayclusters":
            self._note_head(obj)
        if resource == "services":
            self._note_service(obj)
        if resource == "pods":
            self._hosts.add(text(dig(obj, "spec", "nodeName")))
            self._claims.update(claims_of(obj))
        uid = text(dig(obj, "metadata", "uid"))
        if uid in self._owned:
            return False
        self._owned.add(uid)
        return True

    def _note_node(self, obj: Mapping[str, Any]) -> bool:
        """Remember which nodes are much older than the RayService: there are many, and most of them host no pod of the
        trial.
        """
        (self._old_nodes.add if self._is_old(obj) else self._old_nodes.discard)(_name(obj))
        return False

    def _is_old(self, node: Mapping[str, Any]) -> bool:
        created_at = parse_instant(dig(node, "metadata", "creationTimestamp"))
        if created_at is None or self._created_at is None:
            return False
        return created_at < self._created_at - OLD

    def _note_head(self, cluster: Mapping[str, Any]) -> None:
        """Remember the newest RayCluster's head Service; during an upgrade the old RayCluster still has updates."""
        created = text(dig(cluster, "metadata", "creationTimestamp"))
        if created >= self._newest:
            self._newest = created
            # The status has the name that KubeRay before 1.4 shortens; the Service itself tells it earlier.
            told = dig(cluster, "status", "head", "serviceName") or self._head_services.get(_uid(cluster))
            self.head_service = told or f"{_name(cluster)}-head-svc"
            self._newest_uid = _uid(cluster)

    def _note_service(self, service: Mapping[str, Any]) -> None:
        """Remember the names of the serve Service and of the heads' Services; KubeRay before 1.4 shortens them."""
        if is_serve_service(service, self._uid, self.serve_service):
            self.serve_service = _name(service)
        elif is_head_service(service):
            self._head_services |= dict.fromkeys(owner_uids(service), _name(service))
            self.head_service = self._head_services.get(self._newest_uid, self.head_service)

    def _is_owned(self, resource: str, obj: Mapping[str, Any]) -> bool | None:
        """True: owned. False: foreign. None: unknown, because its owner is not known yet."""
        if resource in CLUSTER_SCOPED:
            return not self._is_old(obj) or self._node_matters(_name(obj))
        if resource == "rayservices":
            return bool(dig(obj, "metadata", "uid") == self._uid)
        if resource in EVENTS:
            about = mapping(obj.get("involvedObject") or obj.get("regarding"))
            if about.get("kind") in CLUSTER_KINDS:
                return self._node_matters(text(about.get("name")))
            if about.get("kind") == "PersistentVolumeClaim" and about.get("name") in self._claims:
                return True  # a claim has no owner; the pod names it
            return self._known({text(about.get("uid"))}, {text(about.get("kind"))}, self._is_before(obj))
        if resource == "endpointslices" and _service(obj) == self.serve_service:
            return True  # the ready endpoint must not wait for the watch of Services; the reader checks the owner
        return self._is_owned_object(resource, obj)

    def _is_owned_object(self, resource: str, obj: Mapping[str, Any]) -> bool | None:
        owners = [mapping(owner) for owner in items(dig(obj, "metadata", "ownerReferences"))]
        uids = {text(owner.get("uid")) for owner in owners}
        known = self._known({*uids, _uid(obj)}, {text(owner.get("kind")) for owner in owners}, not owners)
        # The RayService is known from the start, so what it does not own is foreign, and all that follows from it.
        if known is None and resource == "rayclusters":
            known = False
        if known is False:
            self._foreign[_uid(obj)] = None
            if len(self._foreign) > MAX_FOREIGN:
                self._foreign.pop(next(iter(self._foreign)))
        return known

    def _is_before(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event is older than the RayService: it is about another object."""
        created_at = parse_instant(dig(event, "metadata", "creationTimestamp"))
        return created_at is not None and self._created_at is not None and created_at < self._created_at

    def _node_matters(self, name: str) -> bool:
        """Return whether a node is recorded.

        A new node is always recorded, because it exists before its pods are known. A node that is much older than the
        RayService is recorded once, and followed only after it hosts a pod of the trial.
        """
        return name not in self._old_nodes or name in self._hosts

    def _known(self, uids: set[str], kinds: set[str], hopeless: bool) -> bool | None:
        """Return whether one of `uids` is owned; None if a later object may make it known.

        `kinds`: of the owners, or of an event's object. An object of KubeRay waits for its owner under any name;
        everything else in the namespace is foreign.
        """
        if uids & self._owned:
            return True
        if hopeless or uids & self._foreign.keys() or not kinds <= MAY_BE_OWNED:
            return False
        return None


def _service(endpointslice: Mapping[str, Any]) -> str:
    return text(dig(endpointslice, "metadata", "labels", "kubernetes.io/service-name"))


def _name(obj: Mapping[str, Any]) -> str:
    return text(dig(obj, "metadata", "name"))


def _uid(obj: Mapping[str, Any]) -> str:
    return text(dig(obj, "metadata", "uid"))
