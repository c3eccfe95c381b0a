"""Fields that an API server leaves out of an object without refusing it.

A CRD that does not know a field prunes it (kubernetes.io, "Field pruning"); a feature gate that is off drops the fields
of built-in kinds that belong to it (kubernetes, pkg/api/pod/util.go, DropDisabledPodFields).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_llm_provisioning.core.manifests.tree import path_text

_Path = tuple[str | int, ...]


def dropped(sent: Mapping[str, Any], answer: Mapping[str, Any], without: Mapping[str, Any]) -> list[str]:
    """Return the places of `sent` that are not in the server's `answer`, the outermost of each, as text. Empty values
    are no loss, and what is in `without` too was not asked about. Values are not compared, because a server writes
    defaults and other units.
    """
    return [path_text(path) for path in _lost(sent, answer, ()) if not _has(without, path)]


def _lost(sent: Any, answer: Any, path: _Path) -> Iterator[_Path]:
    if isinstance(sent, Mapping):
        for key, value in sent.items():
            if _empty(value):
                continue
            if not isinstance(answer, Mapping) or key not in answer:
                yield (*path, key)
            else:
                yield from _lost(value, answer[key], (*path, key))
    elif _is_list(sent):
        for at, item in enumerate(sent):
            found = _same(item, at, answer)
            if found is None:
                yield (*path, at)
            else:
                yield from _lost(item, found, (*path, at))


def _same(item: Any, at: int, answer: Any) -> Any:
    """Return the item of the answer's list that has the same name, else the one at the same place."""
    if not _is_list(answer):
        return None
    if isinstance(item, Mapping) and "name" in item:
        return next((one for one in answer if isinstance(one, Mapping) and one.get("name") == item["name"]), None)
    return answer[at] if at < len(answer) else None


def _has(tree: Any, path: _Path) -> bool:
    for step in path:
        if isinstance(step, int):
            if not _is_list(tree) or step >= len(tree):
                return False
        elif not isinstance(tree, Mapping) or step not in tree:
            return False
        tree = tree[step]
    return True


def _empty(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, (str, Sequence, Mapping)) and not value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
