"""Nodes that are there before the submission, held by placeholder pods that have pulled the image (over-provisioning).

Each placeholder has the shape, place and image of the head or of an engine worker, and less priority: the trial's pod
ends it and finds node and image. The Deployment then asks for the next node. This is the earlier method of the original
experiment's authors; their separate DaemonSet for pre-pulling is not needed, because the placeholders run the image
themselves. The nodes are paid for while no trial runs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, becomes, gone
from airflow_llm_provisioning.core.fields import items, mapping, text
from airflow_llm_provisioning.core.image_arrival import image_arrival
from airflow_llm_provisioning.core.manifests import images, with_image
from airflow_llm_provisioning.core.manifests.groups import (
    RayGroup,
    engine_groups,
    ray_groups,
    starting_replicas,
)
from airflow_llm_provisioning.core.names import label_value
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.prepared_objects import IMAGE, NAME
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, Step, StepContext
from airflow_llm_provisioning.core.treatments.placeholders import placeholder, priority_class
from airflow_llm_provisioning.core.verdicts import Verdict, all_of

LABEL: Final = "llm-provisioning/buffer"
GROUP_LABEL: Final = "llm-provisioning/placeholder-of"
_NODE: Final = ("node_request", "node_boot", "node_setup", "gpu_setup")
_EVICTED_S: Final = Between(
    0.0, 1.0, "a pod without a grace period is removed at once; the scheduler's first backoff is 1 s (its default)"
)
_THERE_S: Final = Between(
    0.0, 2.0, "the kubelet finds an image that is on the disk (Pulled: already present on machine)"
)


def _arguments(context: StepContext) -> Mapping[str, Any]:
    manifest = context.manifest()
    named = images(manifest)
    if len(named) == 1:
        manifest = with_image(manifest, {named[0]: IMAGE})
    groups = [group for group in ray_groups(manifest) if group.role == "head" or group in engine_groups(manifest)]
    return {
        "target": context.target.as_dict(),
        "treatment": CapacityBuffer.name,
        "objects": [priority_class(NAME), *(_deployment(manifest, group) for group in groups)],
        "image": context.image if len(named) == 1 else None,
        "idle": [{"what": "node", "amount": 1}],
    }


def _deployment(manifest: Mapping[str, Any], group: RayGroup) -> dict[str, Any]:
    labels = {LABEL: NAME, GROUP_LABEL: label_value(group.name)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {
            "replicas": max(1, starting_replicas(manifest, group)),
            "selector": {"matchLabels": labels},
            # A new placeholder needs a node of its own, so the old ones make room first.
            "strategy": {"type": "Recreate"},
            "template": placeholder(manifest, group, priority_class_name=NAME, labels=labels),
        },
    }


class CapacityBuffer(BaseTreatment):
    """Placeholder pods keep nodes with the image ready for head and workers."""

    name = "capacity_buffer"
    order = 60
    keeps_warm: tuple[str, ...] = ("node", "image_cache")
    steps = (
        Step(
            "prepare_capacity_buffer",
            "airflow_llm_provisioning.operators:PrepareObjects",
            _arguments,
            before_nodes=False,
            per_image=False,
            one_image=True,
        ),
    )

    def nodes(self, profile: NodeProfile) -> NodeProfile:
        """Mark the nodes as buffered: a variant without the buffer needs a target of its own, or it would find them."""
        return profile.with_feature(self.name)

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that no node is waited for and nothing is pulled; a placeholder has to end first."""
        there = [gone(phase, "the node is there before the submission") for phase in _NODE]
        return Effect((*there, becomes("scheduling", _EVICTED_S), becomes("image_pull", _THERE_S)))

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the head and every engine worker ran on a node of the buffer and found the image there."""
        pods = view.serving_pods
        if view.head is None or not view.engine_pods:
            return Verdict(self.name, "unknown", ("The head's pod or the engine's pod was not seen.",))
        buffered = self._nodes(view)
        if buffered is None:
            return Verdict(self.name, "no", ("No buffer was prepared for the target before the trial was opened.",))
        return all_of(self.name, [part for pod in pods for part in self._of(view, pod, buffered)])

    def kept(self, view: TraceView) -> Verdict:
        """Say whether each old node that a pod met is one that held a placeholder when the trial was opened: the node
        by its uid, and with it the image that the placeholder had pulled.
        """
        claim, buffered = f"{self.name}_kept", self._nodes(view)
        if buffered is None:
            return Verdict(claim, "no", ("No buffer was prepared for the target before the trial was opened.",))
        old = [
            node
            for pod in view.serving_pods
            if (node := view.node_of(pod)) is not None and view.younger_than_submission(node) is not True
        ]
        return all_of(claim, [self._held(claim, node, buffered) for node in old])

    def _of(self, view: TraceView, pod: History, buffered: Mapping[str, str]) -> Sequence[Verdict]:
        node = view.node_of(pod)
        young = None if node is None else view.younger_than_submission(node)
        if node is None or young is None:
            return [Verdict(self.name, "unknown", (f"The node of pod {pod.name}, or its age, was not seen.",))]
        if young:
            told = f"Node {node.name} of pod {pod.name} was created after the submission: no buffer held it."
            return [Verdict(self.name, "no", (told,))]
        return [self._held(self.name, node, buffered), self._found(view, pod)]

    def _held(self, claim: str, node: History, buffered: Mapping[str, str]) -> Verdict:
        if node.uid in buffered:
            return Verdict(claim, "yes", (f"Node {node.name} held a placeholder when the trial was opened.",))
        others = ", ".join(sorted(buffered.values())) or "none"
        return Verdict(
            claim, "no", (f"Node {node.name} held no placeholder when the trial was opened ({others} did).",)
        )

    def _found(self, view: TraceView, pod: History) -> Verdict:
        how = image_arrival(view, pod)
        if how.delivered in ("present", "streamed"):
            return Verdict(self.name, "yes", how.evidence)
        if how.delivered == "pulled":
            told = f"The image of pod {pod.name} was not on its node."
            return Verdict(self.name, "no", (told, *how.evidence))
        return Verdict(self.name, "unknown", (f"How the image of pod {pod.name} arrived is not known.", *how.evidence))

    def _nodes(self, view: TraceView) -> dict[str, str] | None:
        """Return the buffer's nodes when the trial was opened, uid -> name; None where none was prepared."""
        steps = PlannedFacts.of(view.trial).prepared_steps
        found = steps.get("prepare_capacity_buffer")
        if found is None:
            return None
        nodes = map(mapping, items(found.get("nodes")))
        return {text(node.get("uid")): text(node.get("name")) for node in nodes if node.get("uid")}
