"""Nodes that are there before the submission, held by placeholder pods that have pulled the image (over-provisioning).

Each placeholder has the shape, place and image of the head or of an engine worker, and less priority: the trial's pod
ends it and finds node and image. The Deployment then asks for the next node. This is the earlier method of the original
experiment's authors; their separate DaemonSet for pre-pulling is not needed, because the placeholders run the image
themselves (`core.treatments.prepull` is for buffers without pods). The nodes are paid for while no trial runs.
"""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.effects import Between, PhaseChange, becomes
from airflow_llm_provisioning.core.manifests import images, with_image
from airflow_llm_provisioning.core.manifests.groups import RayGroup, engine_groups, ray_groups, starting_replicas
from airflow_llm_provisioning.core.names import label_value
from airflow_llm_provisioning.core.prepared_objects import IMAGE, NAME
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import StepContext
from airflow_llm_provisioning.core.treatments.kept_nodes import GROUP_LABEL, LABEL, PLACEHOLDERS, KeptNodes, prepared_by
from airflow_llm_provisioning.core.treatments.placeholders import placeholder, priority_class

_EVICTED_S: Final = Between(
    0.0, 1.0, "a pod without a grace period is removed at once; the scheduler's first backoff is 1 s (its default)"
)


def _arguments(context: StepContext) -> Mapping[str, Any]:
    manifest = context.manifest()
    named = images(manifest)
    if len(named) == 1:
        manifest = with_image(manifest, {named[0]: IMAGE})
    groups = buffered_groups(manifest)
    return {
        "target": context.target.as_dict(),
        "treatment": CapacityBuffer.name,
        "objects": [priority_class(NAME), *(_deployment(manifest, group) for group in groups)],
        "image": context.image if len(named) == 1 else None,
        "idle": [{"what": "node", "amount": 1}],
    }


def buffered_groups(manifest: Mapping[str, Any]) -> list[RayGroup]:
    """Return the groups whose pods a start waits for: the head's and those that host the engine."""
    return [group for group in ray_groups(manifest) if group.role == "head" or group in engine_groups(manifest)]


def pods_of(manifest: Mapping[str, Any], group: RayGroup) -> int:
    """Return how many pods of a group are kept room for."""
    return max(1, starting_replicas(manifest, group))


def _deployment(manifest: Mapping[str, Any], group: RayGroup) -> dict[str, Any]:
    labels = {LABEL: NAME, GROUP_LABEL: label_value(group.name)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {
            "replicas": pods_of(manifest, group),
            "selector": {"matchLabels": labels},
            # A new placeholder needs a node of its own, so the old ones make room first.
            "strategy": {"type": "Recreate"},
            "template": placeholder(manifest, group, priority_class_name=NAME, labels=labels),
        },
    }


class CapacityBuffer(KeptNodes):
    """Placeholder pods keep nodes with the image ready for head and workers."""

    name = PLACEHOLDERS
    marked_by = "placeholder"
    steps = prepared_by(PLACEHOLDERS, _arguments)

    def _changes(self) -> list[PhaseChange]:
        return [*super()._changes(), becomes("scheduling", _EVICTED_S)]

    def _changed(self, view: TraceView) -> tuple[str, ...]:
        # A node that its placeholder left is told by its uid.
        return ()
