"""One simulated cluster's objects: what etcd and the API server's registry are to a real cluster.

The HTTP server and every controller go through here; all calls are synchronous and happen at once, on one event loop.
It must not know HTTP, nor what any kind's controller does. Objects that are handed out are copies, except from `peek`
and `peek_all`. A write that the real server would refuse raises a StatusError.
"""

import random
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, Final, Literal
from uuid import uuid4

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.kube import admission, events, ownership
from llm_provisioning_simulator.kube.changes import Change, ChangeLog, Subscription, copy_tree
from llm_provisioning_simulator.kube.definitions import builtin_definitions, establish
from llm_provisioning_simulator.kube.garbage import GarbageCollector, Key, Propagation
from llm_provisioning_simulator.kube.resources import CRDS, Resource, ResourceTable
from llm_provisioning_simulator.kube.stamps import stamp
from llm_provisioning_simulator.kube.statuses import already_exists, forbidden, invalid, not_found

Object = dict[str, Any]
Objects = list[Object]

FIRST_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
_FIRST_VERSION: Final = 1000
"""A cluster's own start has written as much before a client comes: what it forgot since is too old to be watched."""
# Go's utilrand.String: no vowels and nothing that looks like something else.
_NAME_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_KEPT_METADATA: Final = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "resourceVersion",
    "generation",
    "generateName",
    "managedFields",
)


class ObjectStore:
    """One cluster's objects. `without_groups`: API groups this cluster does not serve, e.g. Karpenter's."""

    def __init__(self, clock: SimClock, *, without_groups: Collection[str] = (), seed: int | None = None) -> None:
        self.clock = clock
        self.resources = ResourceTable(without_groups=without_groups)
        self.limits: dict[str, Callable[[Object], list[str]]] = {}
        """Plural -> what of a valid object the simulator cannot run, in sentences."""
        self.image_volumes = True
        """Whether the gate ImageVolume is on; without it such volumes are dropped from new pods."""
        self.gates: dict[str, Callable[[Object], None]] = {}
        """Plural -> the webhooks' answer about a new object; a StatusError refuses it."""
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        self._log = ChangeLog(first=_FIRST_VERSION)
        self._version = _FIRST_VERSION
        self._addresses = 1
        self._names = random.Random(seed)
        self._garbage = GarbageCollector(self)
        self._events = events.EventRecorder(self)
        for name in FIRST_NAMESPACES:
            self.create("namespaces", {"metadata": {"name": name}}, manager="kube-apiserver")
        for definition in builtin_definitions(self.resources):
            self.create(CRDS, definition, manager="kube-apiserver")

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._version

    def create(self, resource: str, obj: Mapping[str, Any], *, namespace: str | None = None, manager: str) -> Object:
        """Store a new object (`metadata.generateName` honoured) and return it as stored."""
        return copy_tree(self.add(resource, obj, namespace=namespace, manager=manager))

    def add(
        self,
        resource: str,
        obj: Mapping[str, Any],
        *,
        namespace: str | None = None,
        manager: str,
        managed: Objects | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Like `create`, and return what is stored: read only. `managed`: the managedFields to keep instead of those of
        a plain create. `dry_run`: do everything but store.
        """
        kind = self.resources[resource]
        new = copy_tree(dict(obj))
        key = self._identify(kind, new, namespace)
        metadata = new["metadata"]
        now = stamp(self.clock.now())
        metadata["uid"] = str(uuid4())
        metadata["creationTimestamp"] = now
        if kind.counts_generation:
            metadata["generation"] = 1
        # Admission and validation come first, as on the real server: an invalid object is never "already there".
        admission.admit(kind, new, None, self)
        if key in self._objects.get(resource, {}):
            raise already_exists(kind, key[1])
        metadata["managedFields"] = managed if managed is not None else ownership.created(new, manager, now)
        if dry_run:
            return new
        self.commit("ADDED", kind, new, None)
        self._garbage.added(Key(resource, *key), new)
        return new

    def get(self, resource: str, name: str, namespace: str | None = None) -> Object | None:
        """Return a copy of an object, or None."""
        found = self.peek(resource, name, namespace)
        return None if found is None else copy_tree(found)

    def peek(self, resource: str, name: str, namespace: str | None = None) -> Object | None:
        """Return the stored object itself: read only."""
        return self._objects.get(resource, {}).get((namespace or "", name))

    def list(self, resource: str, namespace: str | None = None, *, labels: Mapping[str, str] | None = None) -> Objects:
        """Return copies of the objects of a namespace (None: of all), sorted by name; `labels` must all match."""
        return [copy_tree(item) for item in self.peek_all(resource, namespace, labels=labels)]

    def peek_all(
        self, resource: str, namespace: str | None = None, *, labels: Mapping[str, str] | None = None
    ) -> Objects:
        """Like `list`, without the copies: read only."""
        found = self._objects.get(resource, {})
        keys = sorted(key for key in found if namespace is None or key[0] == namespace)
        if not labels:
            return [found[key] for key in keys]
        wanted = labels.items()
        return [found[key] for key in keys if wanted <= (found[key]["metadata"].get("labels") or {}).items()]

    def mutate(
        self,
        resource: str,
        name: str,
        namespace: str | None,
        change: Callable[[Object], None],
        *,
        subresource: str | None = None,
        manager: str,
    ) -> Object | None:
        """Alter an object in place on a copy and store it; a change that changes nothing writes nothing. None: gone."""
        old = self.peek(resource, name, namespace)
        if old is None:
            return None
        new = copy_tree(old)
        change(new)
        return copy_tree(self.replace(resource, old, new, subresource=subresource, manager=manager))

    def replace(
        self,
        resource: str,
        old: Object,
        new: Object,
        *,
        manager: str,
        subresource: str | None = None,
        managed: Objects | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Store `new` (which becomes the store's) over `old`, and return what is stored: read only.

        What a client cannot change is kept from `old`. `managed`: the managedFields that come with it, when the caller
        has worked them out (server-side apply, or a client that rewrote them).
        """
        kind = self.resources[resource]
        before, metadata = old["metadata"], _keep_identity(old, new)
        if managed is not None:
            metadata["managedFields"] = managed
        if new == old:
            return old
        admission.admit(kind, new, old, self)
        if new == old:
            return old
        # Binding a pod to its node is not a change of what was asked for (recordings: generation stays 1).
        if kind.counts_generation and subresource != "binding" and _spec_changed(old, new):
            metadata["generation"] = before["generation"] + 1
        if managed is None:
            now = stamp(self.clock.now())
            metadata["managedFields"] = ownership.updated(old, new, manager, now, subresource)
        if dry_run:
            return new
        if self._garbage.may_go(new):
            return self._garbage.finish(kind, new, old)
        self._garbage.altered(Key(resource, before.get("namespace", ""), before["name"]), old, new)
        return self.commit("MODIFIED", kind, new, old)

    def delete(
        self,
        resource: str,
        name: str,
        namespace: str | None = None,
        *,
        grace_s: float | None = None,
        propagation: Propagation = "Background",
    ) -> bool:
        """Delete an object as the API would; False when there is none.

        Finalizers keep it, with a deletionTimestamp. What it owns goes with it. A pod on a node keeps its grace period
        (`grace_s`, else its own): its kubelet ends it with `remove`.
        """
        old = self.peek(resource, name, namespace)
        if old is None:
            return False
        self.delete_object(resource, old, grace_s=grace_s, propagation=propagation)
        return True

    def delete_object(
        self, resource: str, old: Object, *, grace_s: float | None = None, propagation: Propagation = "Background"
    ) -> Object:
        """Delete a stored object; return its last state: with a deletionTimestamp where it stays for now."""
        return self._garbage.delete(self.resources[resource], old, grace_s, propagation)

    def remove(self, resource: str, name: str, namespace: str | None = None) -> bool:
        """End a pod for good, as its kubelet does when its containers have stopped; finalizers are still honoured."""
        old = self.peek(resource, name, namespace)
        if old is None:
            return False
        self.delete_object(resource, old, grace_s=0)
        return True

    async def subscribe(self, *resources: str) -> AsyncIterator[tuple[str, str, Object]]:
        """Yield (ADDED|MODIFIED|DELETED, resource, copy), beginning with ADDED of what exists."""
        existing = [
            Change("ADDED", resource, item, None, self._version)
            for resource in resources
            for item in self.peek_all(resource)
        ]
        async for change in self._log.subscribe(resources, existing):
            yield change.type, change.resource, copy_tree(change.object)

    def watch(self, resource: str, since: int | None = None) -> Subscription | None:
        """Open a subscription for the server: from now on, or after a resourceVersion; None if that is too old.

        Its changes are shared objects: read only.
        """
        backlog = [] if since is None else self._log.since(resource, since)
        return None if backlog is None else self._log.subscribe((resource,), backlog)

    def oldest_watchable(self, resource: str) -> int:
        """Return the oldest resourceVersion a watch of this resource may start from."""
        return self._log.oldest(resource)

    def wake_watchers(self) -> None:
        """Make every open watch look around: a fault was switched or the server ends."""
        self._log.wake_all()

    def record_event(
        self,
        involved: Mapping[str, Any],
        reason: str,
        message: str,
        *,
        component: str,
        style: Literal["kubelet", "controller", "undated"],
        type_: str = "Normal",
        field_path: str | None = None,
        host: str | None = None,
        action: str = "",
    ) -> Object:
        """Record an event about an object, in the words of a kubelet or of a controller: see `events.py`."""
        source = events.Source(component, style, host)
        return self._events.record(involved, source, reason, message, type_, field_path, action)

    def random_suffix(self, length: int = 5) -> str:
        """Return random letters as generated names end in."""
        return "".join(self._names.choices(_NAME_ALPHABET, k=length))

    def _identify(self, kind: Resource, new: Object, namespace: str | None) -> tuple[str, str]:
        """Give a new object its name and namespace, and refuse it where that cannot be."""
        new["apiVersion"], new["kind"] = kind.api_version, kind.kind
        metadata = dict(new.get("metadata") or {})
        new["metadata"] = metadata
        name = metadata.get("name")
        if not name:
            prefix = metadata.get("generateName")
            if not prefix:
                message = "Required value: name or generateName is required"
                raise invalid(kind, "", [("FieldValueRequired", "metadata.name", message)])
            name = metadata["name"] = prefix[:58] + self.random_suffix()
        for field in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"):
            metadata.pop(field, None)
        if not kind.namespaced:
            metadata.pop("namespace", None)
            return "", name
        home = metadata["namespace"] = namespace or metadata.get("namespace") or "default"
        found = self.peek("namespaces", home)
        if found is None:
            raise not_found(self.resources["namespaces"], home)
        if found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {home} because it is being terminated"
            raise forbidden(kind, name, why)
        return home, name

    def next_cluster_ip(self) -> str:
        """Return the next free address of the cluster's services, 10.96.0.0/16."""
        self._addresses += 1
        return f"10.96.{self._addresses // 256}.{self._addresses % 256}"

    def commit(self, type_: str, kind: Resource, new: Object, old: Object | None) -> Object:
        """Give an object the next resourceVersion, put it in or out, and publish it; for `garbage.py` and this file."""
        self._version += 1
        metadata = new["metadata"]
        metadata["resourceVersion"] = str(self._version)
        key = (metadata.get("namespace", ""), metadata["name"])
        if type_ == "DELETED":
            del self._objects[kind.plural][key]
        else:
            self._objects.setdefault(kind.plural, {})[key] = new
        if kind.plural == CRDS and type_ != "DELETED":
            establish(self.resources, new)
        self._log.publish(Change(type_, kind.plural, new, old, self._version))
        return new


def _keep_identity(old: Object, new: Object) -> Object:
    """Undo, in place, what a writer cannot change; return the new object's metadata."""
    before, metadata = old["metadata"], dict(new.get("metadata") or {})
    for field in _KEPT_METADATA:
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    new["apiVersion"], new["kind"], new["metadata"] = old["apiVersion"], old["kind"], metadata
    return metadata


def _spec_changed(old: Object, new: Object) -> bool:
    """Tell whether anything but metadata and status differs."""
    ignored = ("metadata", "status")
    return any(new.get(field) != old.get(field) for field in old.keys() | new.keys() if field not in ignored)
