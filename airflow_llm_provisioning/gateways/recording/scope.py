"""Decides which objects of a cluster belong to one RayService: owned objects, their events, and all nodes.

Ownership is followed by uid from the RayService, because a name may have been used before. Watches overtake each other
by milliseconds, so an object whose owner is not known yet is held until its owner arrives.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.manifest import serve_service
from airflow_llm_provisioning.gateways.kubernetes.follow import ObservedVersion

CLUSTER_SCOPED: Final = frozenset({"nodes", "nodeclaims"})
CLUSTER_KINDS: Final = frozenset({"Node", "NodeClaim"})
EVENTS: Final = frozenset({"events", "events.events.k8s.io"})
MAX_HELD: Final = 500
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
        self._newest = ""
        self._created_at: datetime | None = None
        self._old_nodes: set[str] = set()
        self._hosts: set[str] = set()
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
        if resource == "pods":
            self._hosts.add(text(dig(obj, "spec", "nodeName")))
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
            # KubeRay uses this name since 1.0. If it is too long for a Service, the status contains the shortened name.
            self.head_service = dig(cluster, "status", "head", "serviceName") or f"{_name(cluster)}-head-svc"

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
            return self._known({text(about.get("uid"))}, text(about.get("name")))
        if resource == "endpointslices" and _service(obj) == self.serve_service:
            return True  # the ready endpoint must not wait for the watch of Services; the reader checks the owner
        owners = {text(mapping(owner).get("uid")) for owner in items(dig(obj, "metadata", "ownerReferences"))}
        return self._known(owners | {text(dig(obj, "metadata", "uid"))}, _name(obj))

    def _node_matters(self, name: str) -> bool:
        """Return whether a node is recorded.

        A new node is always recorded, because it exists before its pods are known. A node that is much older than the
        RayService is recorded once, and followed only after it hosts a pod of the trial.
        """
        return name not in self._old_nodes or name in self._hosts

    def _known(self, uids: set[str], name: str) -> bool | None:
        if uids & self._owned:
            return True
        return None if name == self._name or name.startswith(f"{self._name}-") else False


def _service(endpointslice: Mapping[str, Any]) -> str:
    return text(dig(endpointslice, "metadata", "labels", "kubernetes.io/service-name"))


def _name(obj: Mapping[str, Any]) -> str:
    return text(dig(obj, "metadata", "name"))
