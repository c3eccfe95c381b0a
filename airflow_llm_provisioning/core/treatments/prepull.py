"""A DaemonSet that pulls the serving image onto nodes that are kept without a pod of ours.

Placeholder pods run the image themselves. The pods of a CapacityBuffer are virtual, and static nodes have none, so
there this DaemonSet pulls it, and its ready pods mark the nodes that have it. Its pods ask for nothing: they take no
room from the workers, and node autoscalers count a node with only such pods as empty. It is ready when as many nodes
are there as are kept, and no more: the rest is left of an earlier trial.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.fields import items, mapping, text
from airflow_llm_provisioning.core.manifests.groups import RayGroup, pod_template
from airflow_llm_provisioning.core.names import fingerprint, label_value
from airflow_llm_provisioning.core.prepared_objects import MARKS_NODE, NAME, NODES
from airflow_llm_provisioning.core.treatments.kept_nodes import GROUP_LABEL, LABEL

# What of a pod decides onto which nodes it may go, beside its tolerations, and how it gets its images.
_PLACE: Final = ("nodeSelector", "schedulerName", "runtimeClassName", "serviceAccountName", "imagePullSecrets")
_OF_CONTAINER: Final = ("image", "imagePullPolicy", "securityContext")

Kept = Sequence[tuple[RayGroup, int]]
"""Groups, with how many of their pods there is room for."""


def prepulls(manifest: Mapping[str, Any], kept: Kept, *, least_nodes: int | None = None) -> list[dict[str, Any]]:
    """Return a DaemonSet for each set of nodes that is selected alike. `least_nodes`: how few nodes may be enough; by
    default one for each kind of node that is told apart by what its pods tolerate.
    """
    alike: dict[str, list[tuple[RayGroup, int]]] = {}
    for group, pods in kept:
        alike.setdefault(fingerprint(_place(manifest, group)), []).append((group, pods))
    return [_daemonset(manifest, groups, least_nodes) for groups in alike.values()]


def _daemonset(manifest: Mapping[str, Any], groups: Kept, least_nodes: int | None) -> dict[str, Any]:
    labels = {LABEL: NAME, GROUP_LABEL: label_value(groups[0][0].name)}
    specs = [mapping(pod_template(manifest, group).get("spec")) for group, _ in groups]
    tolerated = [list(items(spec.get("tolerations"))) for spec in specs]
    # Several pods may share a node, so fewer nodes than pods can be enough.
    most = sum(pods for _, pods in groups)
    least = min(most, least_nodes or len({fingerprint({"": item}) for item in tolerated}))
    spec = {
        **_place(manifest, groups[0][0]),
        "tolerations": list({fingerprint(mapping(one)): one for item in tolerated for one in item}.values()),
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "containers": _containers(specs),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"annotations": {NODES: f"{least}-{most}"}},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": {**labels, MARKS_NODE: "true"}}, "spec": spec},
        },
    }


def _place(manifest: Mapping[str, Any], group: RayGroup) -> dict[str, Any]:
    spec = mapping(pod_template(manifest, group).get("spec"))
    found = {key: spec[key] for key in _PLACE if key in spec}
    # A pod that may not be beside its like would be kept off nodes that it is for.
    affinity = mapping(spec.get("affinity")).get("nodeAffinity")
    return {**found, "affinity": {"nodeAffinity": affinity}} if affinity else found


def _containers(specs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one container for each image. It does nothing; in an image without `sleep` it does not stay up, and the
    preparation says so.
    """
    found: dict[str, dict[str, Any]] = {}
    for one in (mapping(item) for spec in specs for item in items(spec.get("containers"))):
        kept = {key: one[key] for key in _OF_CONTAINER if key in one}
        found.setdefault(text(one.get("image")), {**kept, "command": ["sleep", "infinity"]})
    return [{"name": f"image-{place}", **one} for place, one in enumerate(found.values(), start=1)]
