"""What of a cluster concerns one RayService: its objects by ownership, their events, and all nodes.

Followed by uid from the RayService, because a name may have lived before. Watches overtake each other by milliseconds,
so what could be ours but whose owner is not known yet is held until it is.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.manifest import serve_service
from airflow_llm_provisioning.gateways.kubernetes.watch import Seen

# Nodes come before anybody can know whether a pod will land on them.
CLUSTER_SCOPED: Final = frozenset({"nodes", "nodeclaims"})
CLUSTER_KINDS: Final = frozenset({"Node", "NodeClaim"})
EVENTS: Final = frozenset({"events", "events.events.k8s.io"})
MOST_HELD: Final = 500


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
        self.head_service: str | None = None

    def admit(self, resource: str, seen: Seen) -> Iterator[tuple[str, Seen]]:
        """Yield what is ours now: the thing itself, and what was held until it came."""
        ours = self._is_ours(resource, seen.object)
        if ours is None:
            self._held.append((resource, seen))
        elif ours:
            yield resource, seen
            yield from self._own(resource, seen.object)

    def _own(self, resource: str, obj: Mapping[str, Any]) -> Iterator[tuple[str, Seen]]:
        if resource in EVENTS or resource in CLUSTER_SCOPED:
            return
        if resource == "rayservices":
            # KubeRay 1.2+: spec.serveService may name the Service otherwise.
            self.serve_service = text(dig(obj, "spec", "serveService", "metadata", "name")) or self.serve_service
        if resource == "rayclusters":
            self._note_head(obj)
        uid = text(dig(obj, "metadata", "uid"))
        if uid in self._ours:
            return
        self._ours.add(uid)
        waiting = list(self._held)
        self._held.clear()
        for held_resource, held in waiting:
            yield from self.admit(held_resource, held)

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
            return True
        if resource == "rayservices":
            return bool(dig(obj, "metadata", "uid") == self._uid)
        if resource in EVENTS:
            about = mapping(obj.get("involvedObject") or obj.get("regarding"))
            if about.get("kind") in CLUSTER_KINDS:
                return True
            return self._known({text(about.get("uid"))}, text(about.get("name")))
        if resource == "endpointslices" and _service(obj) == self.serve_service:
            return True  # the finish line must not wait for the watch of Services; whose it is, its reader looks at
        owners = {text(mapping(owner).get("uid")) for owner in items(dig(obj, "metadata", "ownerReferences"))}
        return self._known(owners | {text(dig(obj, "metadata", "uid"))}, _name(obj))

    def _known(self, uids: set[str], name: str) -> bool | None:
        if uids & self._ours:
            return True
        return None if name == self._name or name.startswith(f"{self._name}-") else False


def _service(endpointslice: Mapping[str, Any]) -> str:
    return text(dig(endpointslice, "metadata", "labels", "kubernetes.io/service-name"))


def _name(obj: Mapping[str, Any]) -> str:
    return text(dig(obj, "metadata", "name"))
