"""What of a cluster concerns one RayService: its objects by ownership, their events, and all nodes.

Followed by uid from the RayService, because a name may have lived before. Watches overtake each other by milliseconds,
so what could be ours but whose owner is not known yet is held until it is.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.manifest import serve_service
from airflow_llm_provisioning.gateways.kubernetes.follow import Seen

CLUSTER_SCOPED: Final = frozenset({"nodes", "nodeclaims"})
CLUSTER_KINDS: Final = frozenset({"Node", "NodeClaim"})
EVENTS: Final = frozenset({"events", "events.events.k8s.io"})
MOST_HELD: Final = 500
# In a shared cluster hundreds of nodes report every few minutes; one that is still being set up is younger than this.
OLD: Final = timedelta(hours=1)


class Scope:
    """Decides for one recording what is written down.

    `subject`: {namespace, name, uid} of the RayService. `head_service`: the name of the newest RayCluster's head
    Service, None while there is none. `serve_service`: the Service whose ready endpoint ends the wait.
    """

    def __init__(self, subject: Mapping[str, str]) -> None:
        self._name = subject["name"]
        self._uid = subject["uid"]
        self.serve_service = serve_service(subject["name"])
        self._ours: set[str] = {subject["uid"]}
        self._held: deque[tuple[str, Seen]] = deque(maxlen=MOST_HELD)
        self._newest = ""
        self._created_at: datetime | None = None
        self._old_nodes: set[str] = set()
        self._hosts: set[str] = set()
        self.head_service: str | None = None

    def admit(self, resource: str, seen: Seen) -> Iterator[tuple[str, Seen]]:
        """Yield what is ours now: the thing itself, and what was held until it came."""
        ours = self._is_ours(resource, seen.object)
        if ours is None:
            self._held.append((resource, seen))
        elif ours:
            yield resource, seen
            if self.own(resource, seen.object):
                waiting = list(self._held)
                self._held.clear()
                for held_resource, held in waiting:
                    yield from self.admit(held_resource, held)

    def own(self, resource: str, obj: Mapping[str, Any]) -> bool:
        """Remember a thing of ours; True where it is new, so that what was held may be ours now."""
        if resource in EVENTS:
            return False
        if resource in CLUSTER_SCOPED:
            return self._note_node(obj)
        if resource == "rayservices":
            self._created_at = parse_instant(dig(obj, "metadata", "creationTimestamp"))
            # KubeRay 1.2+: spec.serveService may name the Service otherwise.
            self.serve_service = text(dig(obj, "spec", "serveService", "metadata", "name")) or self.serve_service
        if resource == "rayclusters":
            self._note_head(obj)
        if resource == "pods":
            self._hosts.add(text(dig(obj, "spec", "nodeName")))
        uid = text(dig(obj, "metadata", "uid"))
        if uid in self._ours:
            return False
        self._ours.add(uid)
        return True

    def _note_node(self, obj: Mapping[str, Any]) -> bool:
        """Remember which nodes were there long before the RayService: many, and most of them host nothing of ours."""
        (self._old_nodes.add if self._is_old(obj) else self._old_nodes.discard)(_name(obj))
        return False

    def _is_old(self, node: Mapping[str, Any]) -> bool:
        created_at = parse_instant(dig(node, "metadata", "creationTimestamp"))
        if created_at is None or self._created_at is None:
            return False
        return created_at < self._created_at - OLD

    def _note_head(self, cluster: Mapping[str, Any]) -> None:
        """Remember the newest RayCluster's head Service: while a RayService upgrades, the old one still speaks."""
        created = text(dig(cluster, "metadata", "creationTimestamp"))
        if created >= self._newest:
            self._newest = created
            # KubeRay names it so since 1.0; where a name is too long for a Service, the status has the shortened one.
            self.head_service = dig(cluster, "status", "head", "serviceName") or f"{_name(cluster)}-head-svc"

    def _is_ours(self, resource: str, obj: Mapping[str, Any]) -> bool | None:
        """True: ours. False: somebody else's. None: could be, its owner is not known yet."""
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
            return True  # the finish line must not wait for the watch of Services; whose it is, its reader looks at
        owners = {text(mapping(owner).get("uid")) for owner in items(dig(obj, "metadata", "ownerReferences"))}
        return self._known(owners | {text(dig(obj, "metadata", "uid"))}, _name(obj))

    def _node_matters(self, name: str) -> bool:
        """Nodes come before anybody can know whether a pod will land on them. One that was there long before the
        RayService is kept as it was found, and followed only once it hosts a pod of ours.
        """
        return name not in self._old_nodes or name in self._hosts

    def _known(self, uids: set[str], name: str) -> bool | None:
        if uids & self._ours:
            return True
        return None if name == self._name or name.startswith(f"{self._name}-") else False


def _service(endpointslice: Mapping[str, Any]) -> str:
    return text(dig(endpointslice, "metadata", "labels", "kubernetes.io/service-name"))


def _name(obj: Mapping[str, Any]) -> str:
    return text(dig(obj, "metadata", "name"))
