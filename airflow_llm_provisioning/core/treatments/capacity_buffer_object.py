"""Nodes that are there before the submission, kept by a CapacityBuffer: the form of a buffer that autoscalers know.

Its pods exist in the autoscaler's head only: no pod is ended for the trial's, and none pulls the image, so a DaemonSet
does (`core.treatments.prepull`). When the trial takes the nodes, the autoscaler makes the next ones; afterwards it may
take the old ones back. Sources: `core.buffer_status`; GKE's page "Configure capacity buffers"; karpenter.sh,
"CapacityBuffers" (alpha); cluster-autoscaler's flags --capacity-buffer-controller-enabled and
--capacity-buffer-pod-injection-enabled (off by default). 1.34 knows v1alpha1 only, which is deprecated since v1beta1
came with 1.35, and was not namespaced at first (kubernetes/autoscaler PR 8825, 9062, 9084): it is refused.
"""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.buffer_status import ACTIVE, API, KIND
from airflow_llm_provisioning.core.manifests import images, with_image
from airflow_llm_provisioning.core.manifests.groups import RayGroup
from airflow_llm_provisioning.core.prepared_objects import IMAGE, NAME
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.treatments.autoscaler_switches import flags_off, gate_is_off
from airflow_llm_provisioning.core.treatments.base import Found, StepContext
from airflow_llm_provisioning.core.treatments.capacity_buffer import buffered_groups, pods_of
from airflow_llm_provisioning.core.treatments.kept_nodes import (
    OBJECT,
    KeptNodes,
    nodes_problems,
    prepared_by,
    told_nodes,
)
from airflow_llm_provisioning.core.treatments.placeholders import placeholder
from airflow_llm_provisioning.core.treatments.prepull import prepulls
from airflow_llm_provisioning.core.workload import Workload

_RESOURCE: Final = "capacitybuffers"
_GATE: Final = "CapacityBuffer"
# Both are off by default (kubernetes/autoscaler, cluster-autoscaler/config/flags/flags.go, 1.34 and 1.35).
_FLAGS: Final = ("capacity-buffer-controller-enabled", "capacity-buffer-pod-injection-enabled")


def _arguments(context: StepContext) -> Mapping[str, Any]:
    manifest = context.manifest()
    named = images(manifest)
    if len(named) == 1:
        manifest = with_image(manifest, {named[0]: IMAGE})
    kept = [(group, pods_of(manifest, group)) for group in buffered_groups(manifest)]
    buffers = [
        obj for place, (group, pods) in enumerate(kept, start=1) for obj in _buffer(manifest, group, pods, place)
    ]
    return {
        "target": context.target.as_dict(),
        "treatment": OBJECT,
        "objects": [*buffers, *prepulls(manifest, kept, least_nodes=told_nodes(context.target, OBJECT))],
        "image": context.image if len(named) == 1 else None,
        "idle": [{"what": "node", "amount": 1}],
    }


def _buffer(manifest: Mapping[str, Any], group: RayGroup, pods: int, place: int) -> list[dict[str, Any]]:
    """Return the template of one chunk, and the buffer that refers to it by its name."""
    name = NAME if place == 1 else f"{NAME}-{place}"
    template = placeholder(manifest, group, priority_class_name=None, labels={})
    spec = {"provisioningStrategy": ACTIVE, "podTemplateRef": {"name": name}, "replicas": pods}
    return [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name}, "template": template},
        {"apiVersion": API, "kind": KIND, "metadata": {"name": name}, "spec": spec},
    ]


class CapacityBufferObject(KeptNodes):
    """A CapacityBuffer keeps nodes ready for head and workers, and a DaemonSet pulls the image onto them."""

    name = OBJECT
    looks_at: tuple[str, ...] = (_RESOURCE, "deployments")
    steps = prepared_by(OBJECT, _arguments)

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return that Luna knows no such object, and what excludes it."""
        found = list(super().requires(profile, workload))
        if profile.autoscaler == "luna":
            found.append(f"{self.name}: Luna does not know {KIND}. Use capacity_buffer, whose placeholders it serves.")
        return tuple(found)

    def requires_of(self, target: Target, workload: Workload) -> tuple[str, ...]:
        """Return what the target says wrongly of its buffer."""
        return nodes_problems(target, self.name)

    def on_cluster(self, found: Found, *, declared: bool) -> tuple[str, ...]:
        """Return that the cluster does not serve the object, or that its Karpenter leaves it alone."""
        if not declared:
            return ()
        if found.get(_RESOURCE) is None:
            told = (
                f"{self.name}: the cluster does not serve {KIND} ({API}). GKE serves it since 1.35.2-gke.1842000; "
                "elsewhere install its CRD, and an autoscaler that has it switched on: the cluster autoscaler (1.35 or "
                "newer) with --capacity-buffer-controller-enabled and --capacity-buffer-pod-injection-enabled, or "
                f"Karpenter with the feature gate {_GATE}."
            )
            return (told,)
        if name := gate_is_off(found.get("deployments"), _GATE):
            told = f"{self.name}: Karpenter ({name}) leaves {KIND} alone: set {_GATE}=true in its FEATURE_GATES"
            return (f"{told} (Helm: settings.featureGates.capacityBuffer).",)
        return ()

    def on_cluster_of(self, target: Target, found: Found) -> tuple[str, ...]:
        """Return that the cluster autoscaler, which the target's nodes are of, leaves the object alone."""
        name, missing = flags_off(found.get("deployments"), _FLAGS) if target.nodes.autoscaler == "native" else ("", ())
        if not missing:
            return ()
        told = f"{self.name}: the cluster autoscaler ({name}) leaves {KIND} alone: start it with"
        return (f"{told} {' '.join(f'--{flag}=true' for flag in missing)} (1.35 or newer).",)
