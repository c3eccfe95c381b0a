"""What the API server refuses of labels that nodes are selected by, and of tolerations.

The rules are those of Kubernetes 1.35 (apimachinery, util/validation; pkg/apis/core/validation, ValidateTolerations).
Templates and variables that are filled in later are the caller's.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.manifests.tree import shown
from airflow_llm_provisioning.core.names import nearest

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PREFIX: Final = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_OPERATORS: Final = ("Exists", "Equal", "Lt", "Gt")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def label_problems(labels: Mapping[str, Any], where: str) -> Iterator[str]:
    """Yield what is wrong with labels whose values are texts; other values are left out."""
    for name, value in labels.items():
        if not is_label_name(str(name)):
            yield f"{where} has the label {shown(name)}, and no label can have that name"
        elif isinstance(value, str) and value and not _NAME.fullmatch(value):
            yield (
                f"{where} selects {shown(name)} by {shown(value)}; a label's value has at most 63 letters, digits, "
                "hyphens, points and underscores"
            )


def toleration_problems(toleration: Mapping[str, Any], where: str) -> Iterator[str]:
    """Yield what is wrong with one toleration."""
    key, operator, effect = (toleration.get(name) for name in ("key", "operator", "effect"))
    if key not in (None, "") and not (isinstance(key, str) and is_label_name(key)):
        yield f"{where} has the key {shown(key)}, and no taint can have it"
    if operator not in (None, "", *_OPERATORS):
        yield f"{where} has the operator {shown(operator)}{nearest(str(operator), _OPERATORS)}"
    if effect not in (None, "", *_EFFECTS):
        yield f"{where} has the effect {shown(effect)}{nearest(str(effect), _EFFECTS)}"
    if operator == "Exists" and toleration.get("value") not in (None, ""):
        yield f"{where} has a value beside the operator Exists; Kubernetes allows none"
    if key in (None, "") and operator in (None, "", "Equal"):
        yield f"{where} has no key; without one the operator must be Exists"


def is_label_name(name: str) -> bool:
    """Return whether a text can name a label: a name, or a domain, a slash and a name."""
    prefix, slash, own = name.rpartition("/")
    return _NAME.fullmatch(own) is not None and (not slash or _PREFIX.fullmatch(prefix) is not None)
