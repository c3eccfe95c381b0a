"""Where the pods of a RayService run and to whom they belong: node selectors, tolerations, labels, names.

Knows neither clouds nor autoscalers: each of them gives its marks as a `Placement`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from airflow_llm_provisioning.core.fields import mapping
from airflow_llm_provisioning.core.manifests.check import name_problems
from airflow_llm_provisioning.core.manifests.groups import (
    RayGroup,
    accelerators,
    engine_groups,
    pod_template,
    ray_container,
    ray_groups,
)
from airflow_llm_provisioning.core.manifests.tree import Node, Path, copied, entries, path_text, section, shown
from airflow_llm_provisioning.exceptions import ManifestError

# The taint of GPU nodes on EKS, GKE and AKS alike; slices of a GPU (MIG) are on such nodes too.
GPU_TOLERATION: Final[Mapping[str, str]] = {
    "key": "nvidia.com/gpu",
    "operator": "Exists",
    "effect": "NoSchedule",
}
_GPU_RESOURCES: Final = ("nvidia.com/gpu", "nvidia.com/mig-")
# What an API server adds; a manifest copied from one carries it, and a create with it is refused.
_SERVER_FIELDS: Final = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "ownerReferences",
    "selfLink",
    "generateName",
)
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
# By these marks a tool that deploys from a repository knows its objects, and deletes one that is not in it (Argo CD,
# docs, "Resource Tracking"; Helm, "adopt" annotations).
_TOOL_MARKS: Final = ("argocd.argoproj.io/", "meta.helm.sh/")


@dataclass(frozen=True, slots=True)
class Placement:
    """The marks by which a pod gets the nodes of a target; each node autoscaler has its own."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str]] = ()


def place(manifest: Mapping[str, Any], head: Placement, workers: Placement) -> Node:
    """Return the manifest with the marks of a target's nodes in its pods.

    Engine groups that ask for NVIDIA GPUs also tolerate the taint of GPU nodes. Raises ManifestError, naming both
    values, where the user has a node selector, label or annotation of that key with another value.
    """
    made: Node = copied(manifest)
    engines = set(engine_groups(made))
    for group in ray_groups(made):
        marks = head if group.role == "head" else workers
        template = pod_template(made, group)
        if marks.labels or marks.annotations:
            metadata = section(template, "metadata", group.template_path)
            _merge(metadata, "labels", marks.labels, (*group.template_path, "metadata"), group)
            _merge(metadata, "annotations", marks.annotations, (*group.template_path, "metadata"), group)
        pod_path = (*group.template_path, "spec")
        _merge(template["spec"], "nodeSelector", marks.node_selector, pod_path, group)
        needed = [*([GPU_TOLERATION] if group in engines and _wants_gpu(made, group) else []), *marks.tolerations]
        _tolerate(template["spec"], needed, pod_path)
    return made


def with_identity(manifest: Mapping[str, Any], name: str, namespace: str, labels: Mapping[str, str]) -> Node:
    """Return the manifest under this name, with `labels` on it and on every pod.

    The user's labels are kept, and ours win. What an API server added to a copied manifest is dropped. Raises
    ManifestError for a name that KubeRay refuses.
    """
    problems = name_problems(name)
    if problems:
        raise ManifestError(f"RayService {shown(name)} cannot be deployed: {'; '.join(problems)}.")
    made: Node = copied(manifest)
    made.pop("status", None)
    metadata = section(made, "metadata", ())
    for key in _SERVER_FIELDS:
        metadata.pop(key, None)
    metadata |= {"name": name, "namespace": namespace}
    if metadata.get("annotations"):
        section(metadata, "annotations", ("metadata",)).pop(_LAST_APPLIED, None)
    for key in ("labels", "annotations"):
        for mark in [mark for mark in mapping(metadata.get(key)) if mark.startswith(_TOOL_MARKS)]:
            del metadata[key][mark]
    section(metadata, "labels", ("metadata",)).update(labels)
    for group in ray_groups(made):
        path = (*group.template_path, "metadata")
        pod = section(pod_template(made, group), "metadata", group.template_path)
        section(pod, "labels", path).update(labels)
    return made


def _wants_gpu(manifest: Mapping[str, Any], group: RayGroup) -> bool:
    return any(name.startswith(_GPU_RESOURCES) for name in accelerators(ray_container(manifest, group)))


def _merge(parent: Node, key: str, added: Mapping[str, str], path: Path, group: RayGroup) -> None:
    if not added:
        return
    present = section(parent, key, path)
    for name, value in added.items():
        told = present.get(name, value)
        if told != value:
            raise ManifestError(
                f"Group {group.name} cannot be placed on this target: {path_text((*path, key, name))} is "
                f"{shown(told)}, and the target needs {shown(value)}."
            )
        present[name] = value


def _tolerate(pod: Node, needed: Sequence[Mapping[str, str]], path: Path) -> None:
    if not needed:
        return
    present = entries(pod, "tolerations", path)
    for wanted in needed:
        if not any(_covers(toleration, wanted) for toleration in present):
            present.append(dict(wanted))


def _covers(toleration: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Say whether a toleration tolerates all that `wanted` does (Kubernetes docs, "Taints and Tolerations")."""
    if toleration == wanted:
        return True
    if toleration.get("operator") != "Exists" or toleration.get("tolerationSeconds") is not None:
        return False
    return all(not toleration.get(key) or toleration[key] == wanted.get(key) for key in ("key", "effect"))
