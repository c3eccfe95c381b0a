"""Placeholder pods: of the shape, place and images of a RayService's pods, and of less priority than these.

They make a node autoscaler provide the node and the kubelet pull the images; when the real pod comes, the scheduler
ends them for it. Sources: kubernetes.io, "Pod Priority and Preemption"; cluster-autoscaler FAQ, "How can I configure
overprovisioning" and --expendable-pods-priority-cutoff (no node is made for pods of a priority below -10).
"""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.fields import items, mapping
from airflow_llm_provisioning.core.manifests.groups import RayGroup, pod_template

PRIORITY: Final = -5
# What of a pod decides where it can run and how it gets its images.
_PLACE: Final = (
    *("nodeSelector", "affinity", "tolerations", "schedulerName", "runtimeClassName", "serviceAccountName"),
    *("imagePullSecrets", "securityContext", "topologySpreadConstraints"),
)
_OF_CONTAINER: Final = ("name", "image", "imagePullPolicy", "resources", "securityContext")


def priority_class(name: str) -> dict[str, Any]:
    """Return the class of placeholder pods: below every pod without a class, and it ends no other pod."""
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": PRIORITY,
        "preemptionPolicy": "Never",
        "description": "Placeholder pods that hold nodes for pods of llm-provisioning trials.",
    }


def placeholder(
    manifest: Mapping[str, Any], group: RayGroup, *, priority_class_name: str | None, labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return the template of a placeholder for the pods of one group: {metadata, spec}. It runs nothing but `sleep`; in
    an image without it the container does not stay up, and the node and the image are there all the same. Without a
    class it is for an autoscaler alone.
    """
    template = pod_template(manifest, group)
    metadata, spec = mapping(template.get("metadata")), mapping(template.get("spec"))
    containers = [
        {key: one[key] for key in _OF_CONTAINER if key in one} | {"command": ["sleep", "infinity"]}
        for one in map(mapping, items(spec.get("containers")))
    ]
    return {
        "metadata": {
            "labels": {**mapping(metadata.get("labels")), **labels},
            **({"annotations": dict(mapping(metadata["annotations"]))} if metadata.get("annotations") else {}),
        },
        "spec": {
            **{key: spec[key] for key in _PLACE if key in spec},
            **({"priorityClassName": priority_class_name} if priority_class_name else {}),
            # It has nothing to save: the scheduler waits for no grace.
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": containers,
        },
    }
