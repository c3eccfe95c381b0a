"""Where a user says that head and workers run: `node_selector` and `tolerations`, each per role or once for both.

    node_selector: {head: {pool: cpu}, workers: {pool: gpu}}
    tolerations: {workers: [{key: dedicated, operator: Exists}]}

Without roles, as in version 0.1 (`node_selector: {pool: gpu}`), both roles run there.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.manifests.check_labels import label_problems, toleration_problems
from airflow_llm_provisioning.core.manifests.placement import GPU_TOLERATION, Placement
from airflow_llm_provisioning.core.manifests.tree import shown
from airflow_llm_provisioning.core.names import nearest

SELECTOR: Final = "node_selector"
TOLERATIONS: Final = "tolerations"
# The role of a group of pods (`head`, `worker`) -> its key here.
_KEYS: Final[Mapping[str, str]] = {"head": "head", "worker": "workers"}
_TOLERATION_KEYS: Final = frozenset({"key", "operator", "value", "effect", "tolerationSeconds"})


def role_marks(options: Mapping[str, Any], group: str) -> Placement | None:
    """Return the user's marks for the pods of `group` (`head` or `worker`); None where they name no nodes for it.

    A head that selects the workers' nodes tolerates the taint of GPU nodes like them: that is where both run.
    """
    selector, tolerations = _of_role(options.get(SELECTOR), group), _of_role(options.get(TOLERATIONS), group)
    if selector is None and not tolerations:
        return None
    needed = [dict(item) for item in tolerations or ()]
    if group == "head" and selector and selector == _of_role(options.get(SELECTOR), "worker"):
        needed.append(dict(GPU_TOLERATION))
    labels = {str(key): _label(value) for key, value in (selector or {}).items()}
    return Placement(node_selector=labels, tolerations=needed)


def has_selector(options: Mapping[str, Any]) -> bool:
    """Return whether the user names nodes for the workers."""
    return bool(_of_role(options.get(SELECTOR), "worker"))


def problems(options: Mapping[str, Any]) -> list[str]:
    """Return why these options cannot be read, in sentences."""
    return [*_selector_problems(options.get(SELECTOR)), *_toleration_problems(options.get(TOLERATIONS))]


def _label(value: Any) -> str:
    """Return a label's value; YAML reads `true` without quotes as a truth value."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_role(value: Any, group: str) -> Any:
    return value.get(_KEYS[group]) if _has_roles(value) else value


def _has_roles(value: Any) -> bool:
    """Return whether a value is given per role. The value of a label is text, the one of a role never is."""
    return isinstance(value, Mapping) and any(
        not isinstance(item, (str, int, float)) or item is None for item in value.values()
    )


def _unknown_roles(name: str, value: Mapping[str, Any]) -> Iterator[str]:
    for role in value:
        if role not in _KEYS.values():
            yield f"{name}.{shown(role)} is no role of a RayService{nearest(str(role), _KEYS.values())}."


def _selector_problems(value: Any) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield f"{SELECTOR} is {shown(value)}: give {{head: {{label: value}}, workers: {{label: value}}}}."
        return
    if _has_roles(value):
        yield from _unknown_roles(SELECTOR, value)
    for role, labels in value.items() if _has_roles(value) else [("", value)]:
        where = f"{SELECTOR}.{role}" if role else SELECTOR
        if not isinstance(labels, Mapping):
            yield f"{where} is {shown(labels)}: give the labels of its nodes as a mapping."
        elif any(isinstance(label, (Mapping, list)) or label is None for label in labels.values()):
            yield f"{where}: every label has one value, as text."
        else:
            told = {str(name): _label(label) for name, label in labels.items()}
            yield from (f"{problem}." for problem in label_problems(told, where))


def _toleration_problems(value: Any) -> Iterator[str]:
    if value is None:
        return
    if isinstance(value, Mapping):
        yield from _unknown_roles(TOLERATIONS, value)
    for role, entries in value.items() if isinstance(value, Mapping) else [("", value)]:
        where = f"{TOLERATIONS}.{role}" if role else TOLERATIONS
        if not isinstance(entries, (list, tuple)) or not all(isinstance(item, Mapping) for item in entries):
            yield f"{where} is {shown(entries)}: give a list of tolerations, each {{key, operator, value, effect}}."
            continue
        for key in {str(key) for item in entries for key in item} - _TOLERATION_KEYS:
            yield f"{where} has the key {shown(key)}{nearest(key, _TOLERATION_KEYS)}."
        for item in entries:
            yield from (f"{problem}." for problem in toleration_problems(item, where))
