"""The patch types that are only about the document: JSON patch, JSON merge patch, strategic merge patch.

Each takes the object as it is and returns a new one. Server-side apply, which is about owners too, is in `apply.py`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llm_provisioning_simulator.kube.changes import copy_tree
from llm_provisioning_simulator.kube.statuses import StatusError, bad_request

Object = dict[str, Any]

# patchMergeKey of the built-in types' lists (k8s.io/api v0.34), by field name; lists that are not here are replaced.
_MERGE_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "addresses": ("type",),
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "podIPs": ("ip",),
    "ports": ("containerPort", "port"),
    "secrets": ("name",),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
_PRIMITIVE_SETS: Final = frozenset({"finalizers"})


def merge_patch(target: Any, patch: Any) -> Any:
    """Return the target under an RFC 7386 merge patch."""
    if not isinstance(patch, dict):
        return copy_tree(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(target: Object, operations: Any) -> Object:
    """Return the target under an RFC 6902 patch; a step that cannot be done is a 422, a patch that is none a 400."""
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    holder = {"": copy_tree(target)}
    for operation in operations:
        try:
            _STEPS[operation["op"]](holder, operation)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            message = "the server rejected our request due to an error in our request"
            raise StatusError(422, "Invalid", message, {}) from error
    return holder[""]


def strategic_merge(target: Any, patch: Object) -> Any:
    """Return the target under a strategic merge patch, with its directives ($patch, $retainKeys, ...)."""
    directive = patch.get("$patch")
    plain = {key: value for key, value in patch.items() if not key.startswith("$")}
    if directive == "replace" or not isinstance(target, dict):
        return {key: _fresh(value) for key, value in plain.items() if value is not None}
    if directive == "delete":
        return {}
    merged = dict(target)
    if "$retainKeys" in patch:
        merged = {key: value for key, value in merged.items() if key in patch["$retainKeys"]}
    for key, values in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            merged[name] = [item for item in merged.get(name) or () if item not in values]
    for key, value in plain.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _strategic_value(merged.get(key), value, key, patch.get(f"$setElementOrder/{key}"))
    return merged


def _strategic_value(present: Any, value: Any, field: str, order: Any) -> Any:
    if isinstance(value, dict):
        return strategic_merge(present, value)
    if not isinstance(value, list) or not isinstance(present, list):
        return _fresh(value)
    if field in _PRIMITIVE_SETS:
        return [*present, *(item for item in value if item not in present)]
    key = _merge_key(field, [*present, *value])
    if key is None:
        return _fresh(value)
    return _strategic_list(present, value, key, order)


def _strategic_list(present: Sequence[Object], patch: Sequence[Object], key: str, order: Any) -> list[Object]:
    found = {item[key]: item for item in present}
    if any(item.get("$patch") == "replace" for item in patch):
        found = {}
    for item in patch:
        name, directive = item.get(key), item.get("$patch")
        if directive == "delete":
            found.pop(name, None)
        elif directive is None:
            found[name] = strategic_merge(found.get(name), item)
    if order:
        wanted = [item[key] for item in order if item.get(key) in found]
        found = {name: found[name] for name in [*wanted, *(other for other in found if other not in wanted)]}
    return list(found.values())


def _merge_key(field: str, items: Sequence[Any]) -> str | None:
    for key in _MERGE_KEYS.get(field, ()):
        if all(isinstance(item, dict) and (key in item or item.get("$patch") == "replace") for item in items):
            return key
    return None


def _fresh(value: Any) -> Any:
    """Return a patch's value where nothing was before: without directives and nulls."""
    if isinstance(value, dict):
        return strategic_merge(None, value)
    if isinstance(value, list):
        return [_fresh(item) for item in value if not (isinstance(item, dict) and "$patch" in item)]
    return value


def _parts(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise ValueError(pointer)
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _parent(holder: Object, pointer: str) -> tuple[Any, Any]:
    """Return what holds the value a pointer names, and the key or index in it."""
    here: Any = holder
    keys: list[Any] = ["", *_parts(pointer)]
    for key in keys[:-1]:
        here = here[int(key)] if isinstance(here, list) else here[key]
    last = keys[-1]
    if isinstance(here, list):
        last = len(here) if last == "-" else int(last)
    elif not isinstance(here, dict):
        raise TypeError(pointer)
    return here, last


def _read(holder: Object, pointer: str) -> Any:
    here, key = _parent(holder, pointer)
    return here[key]


def _add(holder: Object, operation: Object) -> None:
    here, key = _parent(holder, operation["path"])
    if isinstance(here, list):
        if not 0 <= key <= len(here):
            raise IndexError(key)
        here.insert(key, operation["value"])
    else:
        here[key] = operation["value"]


def _remove(holder: Object, operation: Object) -> None:
    here, key = _parent(holder, operation["path"])
    del here[key]


def _replace(holder: Object, operation: Object) -> None:
    here, key = _parent(holder, operation["path"])
    here[key]  # raises where there is nothing to replace
    here[key] = operation["value"]


def _move(holder: Object, operation: Object) -> None:
    value = _read(holder, operation["from"])
    _remove(holder, {"path": operation["from"]})
    _add(holder, {"path": operation["path"], "value": value})


def _copy(holder: Object, operation: Object) -> None:
    _add(holder, {"path": operation["path"], "value": copy_tree(_read(holder, operation["from"]))})


def _test(holder: Object, operation: Object) -> None:
    if json.dumps(_read(holder, operation["path"]), sort_keys=True) != json.dumps(operation["value"], sort_keys=True):
        raise ValueError(operation["path"])


_STEPS: Final[Mapping[str, Callable[[Object, Object], None]]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}
