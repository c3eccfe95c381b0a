"""Server-side apply: merge what a manager wants, take away what it wants no longer, and mind who owns the rest.

After sigs.k8s.io/structured-merge-diff v6 (merge/update.go), with the list types of the built-in kinds for all kinds.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from llm_provisioning_simulator.kube.changes import copy_tree
from llm_provisioning_simulator.kube.ownership import (
    Path,
    Tree,
    contains,
    entry_of,
    insert,
    item_key,
    leaves,
    list_keys,
    paths,
    without,
)
from llm_provisioning_simulator.kube.statuses import StatusError, bad_request

Object = dict[str, Any]


def apply(
    live: Object | None,
    config: Object,
    manager: str,
    *,
    force: bool,
    now: str,
    subresource: str | None = None,
    fill_in: Callable[[Object], None] = lambda _: None,
) -> tuple[Object, list[Object]]:
    """Return the object after the apply and its managedFields; 409 when others own fields that it would change.

    `fill_in` sets a kind's defaults in place: inside a list that is owned as a whole they are no change.
    """
    if (config.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    given, filled = leaves(config), copy_tree(config)
    fill_in(filled)
    wanted = {path: value for path, value in leaves(filled).items() if path in given}
    before = (live or {}).get("metadata", {}).get("managedFields") or []
    own = next((entry for entry in before if _is_own(entry, manager, subresource)), None)
    others = [entry for entry in before if entry is not own]
    clashes = _clashes(leaves(live) if live else {}, wanted, others)
    if clashes and not force:
        raise _conflict(clashes)
    new = copy_tree(_merged(live, config, "") if live else config)
    held = own["fieldsV1"] if own else {}
    for path in _given_up(held, wanted, others):
        _take_away(new, path)
    fill_in(new)
    tree: Tree = {}
    for path in wanted:
        insert(tree, path)
    kept = [_less(entry, [path for _, path in clashes]) for entry in others]
    entries = [entry for entry in kept if entry["fieldsV1"]]
    if own and live and tree == held and new == live:
        return new, before
    entries.append(entry_of(manager, "Apply", config["apiVersion"], now, tree, subresource))
    return new, entries


def _is_own(entry: Object, manager: str, subresource: str | None) -> bool:
    return (entry.get("manager"), entry.get("operation"), entry.get("subresource")) == (manager, "Apply", subresource)


def _clashes(live: dict[Path, Any], wanted: dict[Path, Any], others: Sequence[Object]) -> list[tuple[Object, Path]]:
    """Return (owner's entry, path) of every field that others own and that would get another value."""
    differing = [path for path, value in wanted.items() if live.get(path) != value and not path[-1].startswith("k:")]
    return [(entry, path) for entry in others for path in differing if contains(entry.get("fieldsV1") or {}, path)]


def _conflict(clashes: Sequence[tuple[Object, Path]]) -> StatusError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{entry["manager"]}"{_through(entry)} using {entry["apiVersion"]}',
            "field": _shown(path),
        }
        for entry, path in clashes
    ]
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    if len(causes) == 1:
        listed = f"{causes[0]['message']}: {causes[0]['field']}"
    else:
        groups: dict[str, list[str]] = {}
        for cause in causes:
            groups.setdefault(cause["message"], []).append(cause["field"])
        listed = "\n".join(
            f"{said.replace('conflict', 'conflicts', 1)}:\n- " + "\n- ".join(found) for said, found in groups.items()
        )
    return StatusError(409, "Conflict", f"Apply failed with {count}: {listed}", {"causes": causes})


def _through(entry: Object) -> str:
    return f' with subresource "{entry["subresource"]}"' if entry.get("subresource") else ""


def _shown(path: Path) -> str:
    """Return a path as people read it: `.spec.containers[name="x"].image`."""
    parts = []
    for key in path:
        if key.startswith("k:"):
            parts.append(f"[{','.join(f'{name}={json.dumps(value)}' for name, value in json.loads(key[2:]).items())}]")
        else:
            parts.append(f".{key[2:]}" if key.startswith("f:") else f"[={key[2:]}]")
    return "".join(parts)


def _less(entry: Object, gone: Sequence[Path]) -> Object:
    tree = entry.get("fieldsV1") or {}
    left = without(tree, gone)
    return entry if left is tree else entry | {"fieldsV1": left}


def _given_up(held: Tree, wanted: dict[Path, Any], others: Sequence[Object]) -> list[Path]:
    """Return what the manager held and wants no longer, as far as no other manager holds it; items before their fields.

    A map that was applied empty is held itself; it stays when fields below it are wanted now.
    """
    above = {path[:depth] for path in wanted for depth in range(1, len(path))}
    left = [path for path in paths(held) if path not in wanted and path not in above]
    free = [path for path in left if not any(_holds_below(entry.get("fieldsV1") or {}, path) for entry in others)]
    return sorted(free, key=len)


def _holds_below(tree: Tree, path: Path) -> bool:
    for key in path:
        if key not in tree:
            return False
        tree = tree[key]
    return True


def _merged(live: Any, config: Any, field: str) -> Any:
    if isinstance(live, dict) and isinstance(config, dict):
        found = dict(live)
        for key, value in config.items():
            found[key] = _merged(live[key], value, key) if key in live else copy_tree(value)
        return found
    if isinstance(live, list) and isinstance(config, list):
        if field == "finalizers":
            return [*live, *(item for item in config if item not in live)]
        keys = list_keys(field, [*live, *config])
        if keys:
            return _merged_items(live, config, keys)
    return copy_tree(config)


def _merged_items(live: Sequence[Object], config: Sequence[Object], keys: Sequence[str]) -> list[Object]:
    found = {item_key(item, keys): item for item in live}
    for item in config:
        key = item_key(item, keys)
        found[key] = _merged(found[key], item, "") if key in found else copy_tree(item)
    return list(found.values())


def _take_away(item: Any, path: Path) -> None:
    """Remove what a path names from an object, in place, and the maps this empties below the object's first level."""
    holders: list[tuple[Any, Any]] = []
    here = item
    for key in path:
        place = _place(here, key)
        if place is None:
            return
        holders.append((here, place))
        here = here[place]
    holder, place = holders.pop()
    del holder[place]
    while len(holders) > 1 and holder in ({}, []):
        holder, place = holders.pop()
        del holder[place]


def _place(here: Any, key: str) -> Any:
    """Return the key or index in a container that a tree key names, or None."""
    if key.startswith("f:"):
        return key[2:] if isinstance(here, dict) and key[2:] in here else None
    if not isinstance(here, list):
        return None
    asked = json.loads(key[2:])
    if key.startswith("v:"):
        return here.index(asked) if asked in here else None
    same = (index for index, item in enumerate(here) if all(item.get(name) == value for name, value in asked.items()))
    return next(same, None)
