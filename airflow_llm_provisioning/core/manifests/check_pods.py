"""What is wrong with a group of Ray pods: its template, containers, resources, variables and placement.

The kinds of values are those of KubeRay's CRD and of the Kubernetes pod; a wrong kind is refused by the API server.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import mapping
from airflow_llm_provisioning.core.manifests.check_labels import label_problems, toleration_problems
from airflow_llm_provisioning.core.manifests.groups import RAY_CONTAINER, is_accelerator
from airflow_llm_provisioning.core.manifests.tree import Path, kind_of, path_text, shown
from airflow_llm_provisioning.core.quantity import whole_count

_OBJECTS: Final = "objects"
_TEXTS: Final = "texts"
_MAPPING: Final = "mapping"

_TEMPLATE_KINDS: Final[Mapping[tuple[str, ...], str]] = {
    ("metadata",): _MAPPING,
    ("metadata", "labels"): _TEXTS,
    ("metadata", "annotations"): _TEXTS,
    ("spec", "nodeSelector"): _TEXTS,
    ("spec", "tolerations"): _OBJECTS,
    ("spec", "volumes"): _OBJECTS,
    ("spec", "initContainers"): _OBJECTS,
}
_CONTAINER_KINDS: Final[Mapping[tuple[str, ...], str]] = {
    ("env",): _OBJECTS,
    ("volumeMounts",): _OBJECTS,
    ("resources",): _MAPPING,
    ("resources", "requests"): _MAPPING,
    ("resources", "limits"): _MAPPING,
}
# The schema of a quantity in KubeRay's CRD; the API server's validation refuses a negative one.
_QUANTITY: Final = re.compile(
    r"\+?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})"
    r"(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}))?"
)


def group_problems(group: Any, path: Path) -> Iterator[str]:
    """Return what is wrong with the group at `path`."""
    if group is None:
        yield f"{path_text(path)} is missing"
    elif not isinstance(group, Mapping):
        yield f"{path_text(path)} is {kind_of(group)} and must be a mapping"
    elif not isinstance(mapping(group.get("template")).get("spec"), Mapping):
        yield f"{path_text((*path, 'template', 'spec'))} is missing"
    else:
        yield from _kind_problems(group, path, {("rayStartParams",): _TEXTS})
        template = group["template"]
        yield from _kind_problems(template, (*path, "template"), _TEMPLATE_KINDS)
        yield from _node_problems(template["spec"], (*path, "template", "spec"))
        yield from _containers_problems(template["spec"].get("containers"), (*path, "template", "spec", "containers"))


def _node_problems(spec: Mapping[str, Any], path: Path) -> Iterator[str]:
    yield from label_problems(mapping(spec.get("nodeSelector")), path_text((*path, "nodeSelector")))
    listed = spec.get("tolerations")
    for index, item in enumerate(listed if isinstance(listed, list) else []):
        yield from toleration_problems(mapping(item), path_text((*path, "tolerations", index))) if item else ()


def _containers_problems(containers: Any, path: Path) -> Iterator[str]:
    if not isinstance(containers, list) or not containers:
        yield f"{path_text(path)} holds no container"
        return
    for index, container in enumerate(containers):
        place = (*path, index)
        if not isinstance(container, Mapping):
            yield f"{path_text(place)} is {kind_of(container)} and must be a mapping"
            continue
        yield from _kind_problems(container, place, _CONTAINER_KINDS)
        if index == RAY_CONTAINER:
            yield from _ray_container_problems(container, place)


def _ray_container_problems(container: Mapping[str, Any], path: Path) -> Iterator[str]:
    image = container.get("image")
    if not isinstance(image, str) or not image.strip():
        yield f"{path_text((*path, 'image'))} is missing"
    variables = container.get("env")
    for index, entry in enumerate(variables if isinstance(variables, list) else []):
        yield from _variable_problems(mapping(entry), (*path, "env", index))
    for kind in ("requests", "limits"):
        for name, amount in mapping(mapping(container.get("resources")).get(kind)).items():
            yield from _amount_problems(name, amount, (*path, "resources", kind, str(name)))
    yield from _limit_problems(mapping(container.get("resources")), path)


def _limit_problems(resources: Mapping[str, Any], path: Path) -> Iterator[str]:
    """Yield devices that no API server gives: they are never shared, so a request is a limit (kubernetes,
    pkg/apis/core/validation, ValidateResourceRequirements).
    """
    limits = mapping(resources.get("limits"))
    for name, amount in mapping(resources.get("requests")).items():
        asked, most = whole_count(amount), whole_count(limits.get(name))
        if is_accelerator(name) and asked and asked != most:
            limit = "is missing" if name not in limits else f"is {shown(limits[name])}"
            told = f"{path_text((*path, 'resources', 'limits', str(name)))} {limit}"
            yield f"{told}; Kubernetes wants the same as requested ({shown(amount)})"


def _variable_problems(entry: Mapping[str, Any], path: Path) -> Iterator[str]:
    name = entry.get("name")
    if name is not None and not isinstance(name, str):
        yield f"{path_text((*path, 'name'))} is {kind_of(name)} and must be text (quote it)"
    elif not name:
        yield f"{path_text((*path, 'name'))} is missing"
    value = entry.get("value")
    if value is not None and not isinstance(value, str):
        yield f"{path_text((*path, 'value'))} is {kind_of(value)} and must be text (quote it)"


def _amount_problems(name: str, amount: Any, path: Path) -> Iterator[str]:
    if isinstance(amount, bool) or not isinstance(amount, (str, int, float)):
        yield f"{path_text(path)} is {kind_of(amount)} and must be a quantity"
    elif is_accelerator(name) and whole_count(amount) is None:
        yield f"{path_text(path)} is {shown(amount)} and must be a whole number"
    elif not _is_quantity(amount):
        yield f"{path_text(path)} is {shown(amount)} and must be a quantity such as 20Gi, 500m or 8"


def _is_quantity(amount: str | float) -> bool:
    return _QUANTITY.fullmatch(amount) is not None if isinstance(amount, str) else amount >= 0


def _kind_problems(parent: Mapping[str, Any], path: Path, kinds: Mapping[tuple[str, ...], str]) -> Iterator[str]:
    for keys, kind in kinds.items():
        value: Any = parent
        for key in keys:
            value = mapping(value).get(key)
        if value is not None:
            yield from _wrong_kind(value, (*path, *keys), kind)


def _wrong_kind(value: Any, path: Path, kind: str) -> Iterator[str]:
    if kind == _OBJECTS:
        yield from _wrong_objects(value, path)
    elif not isinstance(value, Mapping):
        yield f"{path_text(path)} is {kind_of(value)} and must be a mapping"
    elif kind == _TEXTS:
        for name, item in value.items():
            if not isinstance(item, str):
                yield f"{path_text((*path, str(name)))} is {kind_of(item)} and must be text (quote it)"


def _wrong_objects(value: Any, path: Path) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path_text(path)} is {kind_of(value)} and must be a list"
        return
    for index, item in enumerate(value):
        if not isinstance(item, Mapping):
            yield f"{path_text((*path, index))} is {kind_of(item)} and must be a mapping"
