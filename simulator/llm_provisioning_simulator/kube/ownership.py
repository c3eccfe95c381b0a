"""Who wrote which field: metadata.managedFields, as trees in the FieldsV1 form of sigs.k8s.io/structured-merge-diff v6.

A path is a tuple of tree keys: `f:name` for a field, `k:{"name":"x"}` for an item of a keyed list, `v:"x"` for an item
of a set. Lists that are neither are owned as a whole. Trees that are stored are never altered: they are shared between
versions of an object.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from llm_provisioning_simulator.kube.changes import copy_tree

Object = dict[str, Any]
Path = tuple[str, ...]
Tree = dict[str, Any]

# Merge keys of the built-in types' lists (k8s.io/api v0.34, +listMapKey and patchMergeKey), by the list's field name:
# the first set of keys that all items have is the list's.
_LIST_KEYS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "conditions": (("type",),),
    "containers": (("name",),),
    "initContainers": (("name",),),
    "ephemeralContainers": (("name",),),
    "env": (("name",),),
    "volumes": (("name",),),
    "volumeMounts": (("mountPath",),),
    "volumeDevices": (("devicePath",),),
    "ports": (("containerPort", "protocol"), ("port", "protocol"), ("containerPort",), ("port",)),
    "imagePullSecrets": (("name",),),
    "hostAliases": (("ip",),),
    "ownerReferences": (("uid",),),
    "addresses": (("type",),),
    "podIPs": (("ip",),),
    "hostIPs": (("ip",),),
}
_SETS: Final = frozenset({"finalizers"})
# Fields without an owner (structured-merge-diff's stripMeta in k8s.io/apimachinery, managedfields/internal).
_UNOWNED_METADATA: Final = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "managedFields",
        "selfLink",
    }
)


def list_keys(field: str, items: Sequence[Any]) -> tuple[str, ...] | None:
    """Return the merge keys of a list, or None when it is replaced as a whole."""
    for keys in _LIST_KEYS.get(field, ()):
        if all(isinstance(item, dict) and all(key in item for key in keys) for item in items):
            return keys
    return None


def item_key(item: Object, keys: Sequence[str]) -> str:
    """Return the tree key of an item of a keyed list."""
    return "k:{" + ",".join(f'"{key}":{json.dumps(item[key])}' for key in sorted(keys)) + "}"


def created(new: Object, manager: str, now: str) -> list[Object]:
    """Return the managedFields of an object that `manager` has just created."""
    return [entry_of(manager, "Update", new["apiVersion"], now, _tree(_owned_part(new), ""))]


def updated(
    old: Object,
    new: Object,
    manager: str,
    now: str,
    subresource: str | None,
) -> list[Object]:
    """Return the managedFields after a plain write: what changed belongs to the writer alone."""
    entries = old["metadata"].get("managedFields") or ()
    changed, removed = changes(old, new)
    if not changed and not removed:
        return list(entries)
    found: list[Object] = []
    own: Object | None = None
    for entry in entries:
        if _same_writer(entry, manager, "Update", subresource):
            own = entry
            continue
        tree = without(entry.get("fieldsV1") or {}, [*changed, *removed])
        if tree:
            found.append(entry if tree is entry.get("fieldsV1") else entry | {"fieldsV1": tree})
    tree = copy_tree(without(own["fieldsV1"] if own else {}, removed))
    for path in changed:
        insert(tree, path)
    if tree:
        found.append(entry_of(manager, "Update", new["apiVersion"], now, tree, subresource))
    return found


def entry_of(
    manager: str, operation: str, api_version: str, now: str, tree: Tree, subresource: str | None = None
) -> Object:
    """Return one entry of managedFields."""
    entry: Object = {
        "manager": manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": tree,
    }
    return entry | {"subresource": subresource} if subresource else entry


def changes(old: Object, new: Object) -> tuple[list[Path], list[Path]]:
    """Return the paths whose value was set or altered, and those that are gone."""
    before, after = _owned_part(old), _owned_part(new)
    changed: list[Path] = []
    removed: list[Path] = []
    _compare(before, after, (), changed, removed)
    return changed, removed


def leaves(item: Object) -> dict[Path, Any]:
    """Return every path of an object that can be owned, with its value."""
    return dict(_walk(_owned_part(item), ""))


def paths(tree: Tree, prefix: Path = ()) -> Iterator[Path]:
    """Yield the paths a tree holds."""
    for key, below in tree.items():
        if key == ".":
            yield prefix
        elif below:
            yield from paths(below, (*prefix, key))
        else:
            yield (*prefix, key)


def contains(tree: Tree, path: Path) -> bool:
    """Tell whether a tree holds this very path."""
    for key in path:
        if key not in tree:
            return False
        tree = tree[key]
    return not tree or "." in tree


def insert(tree: Tree, path: Path) -> None:
    """Add a path to a tree, in place."""
    for depth, key in enumerate(path):
        below = tree.get(key)
        if below is None:
            below = tree[key] = {}
        elif not below and depth < len(path) - 1:
            # The key was held as a whole until now, and stays so beside what is below it.
            below["."] = {}
        tree = below
    if tree:
        tree["."] = {}


def without(tree: Tree, gone: Sequence[Path]) -> Tree:
    """Return a tree less some paths: the same tree when it holds none of them."""
    held = [path for path in gone if contains(tree, path)]
    if not held:
        return tree
    fresh: Tree = copy_tree(tree)
    for path in held:
        _discard(fresh, path)
    return fresh


def _discard(tree: Tree, path: Path) -> None:
    trail = [tree]
    for key in path:
        trail.append(trail[-1][key])
    trail[-1].pop(".", None)
    for depth in range(len(path), 0, -1):
        if trail[depth]:
            return
        del trail[depth - 1][path[depth - 1]]


def _same_writer(entry: Object, manager: str, operation: str, subresource: str | None) -> bool:
    found = (entry.get("manager"), entry.get("operation"), entry.get("subresource"))
    return found == (manager, operation, subresource)


def _owned_part(item: Object) -> Object:
    metadata = {key: value for key, value in (item.get("metadata") or {}).items() if key not in _UNOWNED_METADATA}
    rest = {key: value for key, value in item.items() if key not in ("apiVersion", "kind", "metadata")}
    return {"metadata": metadata, **rest} if metadata else rest


def _children(value: Any, field: str) -> dict[str, Any] | None:
    """Return what is below a value by tree key; None for a value that is owned as a whole."""
    if isinstance(value, dict):
        return {f"f:{key}": item for key, item in value.items()}
    if not isinstance(value, list) or not value:
        return None
    if field in _SETS:
        return {f"v:{json.dumps(item)}": item for item in value}
    keys = list_keys(field, value)
    return None if keys is None else {item_key(item, keys): item for item in value}


def _compare(old: Any, new: Any, path: Path, changed: list[Path], removed: list[Path]) -> None:
    field = path[-1][2:] if path else ""
    before, after = _children(old, field), _children(new, field)
    if not before or not after:
        _replaced(old, new, path, changed, removed)
        return
    for key, value in after.items():
        if key not in before:
            changed.extend((*path, *found) for found, _ in _walk(value, key))
        elif before[key] != value:
            _compare(before[key], value, (*path, key), changed, removed)
    for key, value in before.items():
        if key not in after:
            removed.extend((*path, *found) for found, _ in _walk(value, key))


def _replaced(old: Any, new: Any, path: Path, changed: list[Path], removed: list[Path]) -> None:
    """A value that is a whole before or after: all its paths before that are not there after are gone."""
    if not path:
        fresh, stale = [item for item, _ in _walk(new, "")], [item for item, _ in _walk(old, "")]
    else:
        fresh = [(*path[:-1], *item) for item, _ in _walk(new, path[-1])]
        stale = [(*path[:-1], *item) for item, _ in _walk(old, path[-1])]
    changed.extend(fresh)
    kept = set(fresh)
    removed.extend(item for item in stale if item not in kept)


def _tree(value: Any, field: str) -> Tree:
    """Return the tree that holds all of a value."""
    below = _children(value, field)
    if not below:
        return {}
    tree: Tree = {}
    for key, item in below.items():
        tree[key] = _tree(item, key[2:]) if isinstance(item, (dict, list)) else {}
        if key.startswith("k:"):
            tree[key]["."] = {}
    return tree


def _walk(value: Any, key: str) -> Iterator[tuple[Path, Any]]:
    """Yield the paths at and below a value; an item of a keyed list is held itself too."""
    here = (key,) if key else ()
    below = _children(value, key[2:])
    if not below:
        if key:
            yield here, value
        return
    if key.startswith("k:"):
        yield here, value
    for name, item in below.items():
        for path, found in _walk(item, name):
            yield (*here, *path), found
