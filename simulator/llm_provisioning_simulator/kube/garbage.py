"""How objects end: grace periods, finalizers, owners and dependents, namespaces and definitions with what they hold.

Kubernetes' garbage collector runs beside the API server and takes some milliseconds; here it acts at once.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from llm_provisioning_simulator.kube.changes import copy_tree
from llm_provisioning_simulator.kube.resources import CRDS, Resource
from llm_provisioning_simulator.kube.stamps import stamp

if TYPE_CHECKING:
    from llm_provisioning_simulator.kube.store import ObjectStore

Object = dict[str, Any]
Propagation = Literal["Background", "Foreground", "Orphan"]

_FOREGROUND: Final = "foregroundDeletion"
_COLLECTOR: Final = "kube-controller-manager"
_DEFAULT_GRACE_S: Final = 30
_HOLDERS: Final = ("Namespace", "CustomResourceDefinition")
"""Kinds that end only after what they hold."""


class Key(NamedTuple):
    """Where an object is: resource, namespace ("" when it has none), name."""

    resource: str
    namespace: str
    name: str


class GarbageCollector:
    """Deletes objects of one store, and what must go or stay with them."""

    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._places: dict[str, Key] = {}
        """uid -> where that object is."""
        self._dependents: dict[str, set[Key]] = defaultdict(set)
        """uid of an owner -> what it owns."""

    def added(self, key: Key, new: Object) -> None:
        """Note a new object; one whose owners are all gone goes again, as the real collector sees to a little later."""
        metadata = new["metadata"]
        self._places[metadata["uid"]] = key
        owners = _owners(new)
        for uid in owners:
            self._dependents[uid].add(key)
        if owners and not any(uid in self._places for uid in owners):
            _soon(lambda: self._delete_all([key]))

    def altered(self, key: Key, old: Object, new: Object) -> None:
        """Note an object's change of owners."""
        before, after = _owners(old), _owners(new)
        for uid in before - after:
            self._dependents[uid].discard(key)
        for uid in after - before:
            self._dependents[uid].add(key)

    def delete(self, kind: Resource, old: Object, grace_s: float | None, propagation: Propagation) -> Object:
        """Delete a stored object; return its last state, with a deletionTimestamp where it stays for now."""
        key = _key(kind, old)
        uid = old["metadata"]["uid"]
        if propagation == "Orphan":
            self._orphan(uid)
        new = copy_tree(self._store.peek(*_place(key)) or old)
        metadata = new["metadata"]
        if propagation == "Foreground" and self._dependents.get(uid):
            metadata["finalizers"] = [
                *(item for item in metadata.get("finalizers", ()) if item != _FOREGROUND),
                _FOREGROUND,
            ]
        grace = _grace_s(kind, old, grace_s)
        contents = list(self._contents(kind, key.name, new))
        if not grace and not metadata.get("finalizers") and not contents:
            return self.finish(kind, new, old)
        self._mark(kind, new, grace)
        if new != old:
            self._store.commit("MODIFIED", kind, new, old)
        if propagation == "Foreground":
            self._delete_all(self._dependents.get(uid, ()), "Foreground")
        self._delete_all(contents)
        return self._store.peek(*_place(key)) or new

    def may_go(self, new: Object) -> bool:
        """Tell whether a changed object was only waiting for its last finalizer."""
        metadata = new["metadata"]
        waits = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
        return "deletionTimestamp" in metadata and not waits and new["kind"] not in _HOLDERS

    def finish(self, kind: Resource, new: Object, old: Object) -> Object:
        """Take an object out, then do what its end causes: dependents, an owner that waited, an emptied namespace."""
        metadata = new["metadata"]
        key = _key(kind, old)
        if "deletionTimestamp" in metadata:
            metadata["deletionGracePeriodSeconds"] = 0
        self._store.commit("DELETED", kind, new, old)
        self._places.pop(metadata["uid"], None)
        owners = _owners(old)
        for uid in owners:
            self._dependents[uid].discard(key)
        if kind.plural == CRDS:
            self._store.resources.drop(new["spec"]["names"]["plural"])
        self._delete_all(self._left_behind(metadata["uid"]))
        for uid in owners:
            self._release(uid)
        self._end_emptied(key)
        return new

    def _mark(self, kind: Resource, new: Object, grace: int) -> None:
        """Write on an object that it is to be deleted; a shorter grace replaces a longer one. Like the real API server,
        the deletionTimestamp is the end of the grace, not the moment of the call.
        """
        metadata = new["metadata"]
        marked = "deletionTimestamp" in metadata
        if marked and grace >= metadata["deletionGracePeriodSeconds"]:
            return
        metadata["deletionTimestamp"] = stamp(self._store.clock.now() + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        if kind.counts_generation and not marked:
            metadata["generation"] += 1
        if kind.plural == "namespaces":
            new["status"] = {"phase": "Terminating"}

    def _delete_all(self, keys: Iterable[Key], propagation: Propagation = "Background") -> None:
        for key in list(keys):
            found = self._store.peek(*_place(key))
            if found is not None:
                self.delete(self._store.resources[key.resource], found, None, propagation)

    def _left_behind(self, uid: str) -> list[Key]:
        """Return what a gone owner leaves without any owner; those with another one lose only the reference."""
        lonely = []
        for key in sorted(self._dependents.pop(uid, ())):
            found = self._store.peek(*_place(key))
            if found is not None and any(owner in self._places for owner in _owners(found)):
                self._disown(key, uid)
            elif found is not None:
                lonely.append(key)
        return lonely

    def _orphan(self, uid: str) -> None:
        for key in sorted(self._dependents.pop(uid, ())):
            self._disown(key, uid)

    def _disown(self, key: Key, uid: str) -> None:
        def change(item: Object) -> None:
            left = [owner for owner in item["metadata"]["ownerReferences"] if owner.get("uid") != uid]
            item["metadata"]["ownerReferences"] = left
            if not left:
                del item["metadata"]["ownerReferences"]

        self._store.mutate(key.resource, key.name, key.namespace or None, change, manager=_COLLECTOR)

    def _release(self, uid: str) -> None:
        """Let an owner go that waited, in the foreground, for its last dependent."""
        key = self._places.get(uid)
        owner = self._store.peek(*_place(key)) if key and not self._dependents.get(uid) else None
        if key is None or owner is None or _FOREGROUND not in (owner["metadata"].get("finalizers") or ()):
            return

        def change(item: Object) -> None:
            item["metadata"]["finalizers"].remove(_FOREGROUND)

        self._store.mutate(key.resource, key.name, key.namespace or None, change, manager=_COLLECTOR)

    def _contents(self, kind: Resource, name: str, new: Object) -> Iterator[Key]:
        """Yield what must go before the object itself: a namespace's objects, a definition's objects."""
        if kind.plural == "namespaces":
            yield from (key for key in self._places.values() if key.namespace == name)
        elif kind.plural == CRDS:
            plural = new["spec"]["names"]["plural"]
            yield from (key for key in self._places.values() if key.resource == plural)

    def _end_emptied(self, key: Key) -> None:
        """End the namespace or definition that only waited for this object."""
        kind = self._store.resources.get(key.resource)
        for resource, name in (("namespaces", key.namespace), (CRDS, kind.group_resource if kind else "")):
            found = self._store.peek(resource, name) if name else None
            if found is None or "deletionTimestamp" not in found["metadata"]:
                continue
            if not any(self._contents(self._store.resources[resource], name, found)):
                self.finish(self._store.resources[resource], copy_tree(found), found)


def _grace_s(kind: Resource, old: Object, asked_s: float | None) -> int:
    """Return the grace period of a delete: only a pod that a node holds and that still runs has one
    (registry/core/pod/strategy.go, CheckGracefulDelete, v1.34).
    """
    if kind.plural != "pods" or not (old.get("spec") or {}).get("nodeName"):
        return 0
    if (old.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    own = old["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S)
    return max(0, round(own if asked_s is None else asked_s))


def _key(kind: Resource, item: Object) -> Key:
    metadata = item["metadata"]
    return Key(kind.plural, metadata.get("namespace", ""), metadata["name"])


def _place(key: Key) -> tuple[str, str, str]:
    """Return a key in the order `ObjectStore.peek` takes it."""
    return key.resource, key.name, key.namespace


def _owners(item: Object) -> set[str]:
    return {owner["uid"] for owner in item["metadata"].get("ownerReferences") or () if owner.get("uid")}


def _soon(action: Callable[[], None]) -> None:
    """Do something after the caller has finished: at once where no loop runs (a test, a script)."""
    try:
        asyncio.get_running_loop().call_soon(action)
    except RuntimeError:
        action()
