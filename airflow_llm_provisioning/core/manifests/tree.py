"""Reading and changing manifests as plain dicts: key paths, and values as an error may show them.

Every access that finds the wrong kind of value raises a ManifestError with the key path. Knows nothing of Ray.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.exceptions import ManifestError

Path = tuple[str | int, ...]
Node = dict[str, Any]

_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_/-]*")


def path_text(path: Path) -> str:
    """Return a key path as a user writes it: `spec.workers[0].image`; odd keys are quoted and shortened."""
    made = ""
    for part in path:
        if isinstance(part, int):
            made += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part) and len(part) <= 63:
            made += f".{part}" if made else part
        else:
            made += f"[{shown(part)}]"
    return made or "the top level"


def shown(value: Any, length: int = 80) -> str:
    """Return a value as an error shows it: one line, at most `length` characters, its kind where it is a collection."""
    if isinstance(value, (Mapping, list, tuple)):
        return kind_of(value)
    made = repr(value)
    return made if len(made) <= length else f"{made[: length - 4]}...{made[-1]}"


def kind_of(value: Any) -> str:
    """Return what a value is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "a truth value"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else f"a {type(value).__name__}"


def copied(value: Any) -> Any:
    """Return a deep copy made of plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [copied(item) for item in value]
    return value


def found(value: Any, path: Path) -> Any:
    """Return what stands at `path`, or None where a part of it is absent or of another kind."""
    for part in path:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and part < len(value) else None
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value


def section(parent: Node, key: str, path: Path) -> Node:
    """Return the mapping at `key`, made if absent. `path` is that of `parent`."""
    value = parent.get(key)
    if value is None:
        value = parent[key] = {}
    made: Node = _expect(value, dict, "a mapping", (*path, key))
    return made


def entries(parent: Node, key: str, path: Path) -> list[Node]:
    """Return the list of mappings at `key`, made if absent. `path` is that of `parent`."""
    value = parent.get(key)
    if value is None:
        value = parent[key] = []
    listed: list[Node] = _expect(value, list, "a list", (*path, key))
    for index, item in enumerate(listed):
        _expect(item, dict, "a mapping", (*path, key, index))
    return listed


def _expect(value: Any, kind: type, words: str, path: Path) -> Any:
    if not isinstance(value, kind):
        raise ManifestError(f"{path_text(path)} is {kind_of(value)} and must be {words}.")
    return value
