"""What all forms of a buffer share: nodes that are there before the submission and hold the image, believed only where
they are the ones that were prepared.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, PhaseChange, becomes, gone
from airflow_llm_provisioning.core.fields import items, mapping, text
from airflow_llm_provisioning.core.image_arrival import image_arrival
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, Step, StepContext
from airflow_llm_provisioning.core.verdicts import Verdict, all_of
from airflow_llm_provisioning.core.workload import Workload

PLACEHOLDERS: Final = "capacity_buffer"
OBJECT: Final = "capacity_buffer_object"
STATIC: Final = "capacity_buffer_static"
FORMS: Final = (PLACEHOLDERS, OBJECT, STATIC)

LABEL: Final = "llm-provisioning/buffer"
GROUP_LABEL: Final = "llm-provisioning/placeholder-of"
# How few nodes are enough, where pods that tolerate different taints share one.
LEAST_NODES: Final = "least_nodes"
_NODE: Final = ("node_request", "node_boot", "node_setup", "gpu_setup")
_THERE_S: Final = Between(
    0.0, 2.0, "the kubelet finds an image that is on the disk (Pulled: already present on machine)"
)


def prepared_by(treatment: str, arguments: Callable[[StepContext], Mapping[str, Any]]) -> tuple[Step, ...]:
    """Return the preparation of a form: its objects, once for the target, on nodes that are set up."""
    operator = "airflow_llm_provisioning.operators:PrepareObjects"
    name = f"prepare_{treatment}"
    return (Step(name, operator, arguments, before_nodes=False, per_image=False, one_image=True),)


def buffer_of(profile: NodeProfile) -> str | None:
    """Return the form of buffer that keeps nodes for a target, None where there is none."""
    return next((name for name in FORMS if profile.has(name)), None)


def told_nodes(target: Target, treatment: str) -> int | None:
    """Return how few nodes a target says are enough for its buffer (`least_nodes`), None where it says nothing."""
    return target.told_of(treatment).get(LEAST_NODES)


def nodes_problems(target: Target, treatment: str) -> tuple[str, ...]:
    """Return what is wrong with what a target says of its buffer, in sentences."""
    value = target.told_of(treatment).get(LEAST_NODES)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return ()
    where = f"options.treatments.{treatment}.{LEAST_NODES}"
    return (f"{treatment}: {where} of target {target.name!r} is {value!r}; it is a number of nodes, 1 or more.",)


def stays_after_trials(profile: NodeProfile) -> bool:
    """Return whether a target's nodes may stay after a trial because its buffer takes them back. What is too much is
    waited for when the next trial opens.
    """
    return profile.has(OBJECT) or profile.has(STATIC)


class KeptNodes(BaseTreatment):
    """Nodes with the image are kept for head and workers. `marked_by`: which pods mark such a node."""

    order = 60
    keeps_warm: tuple[str, ...] = ("node", "image_cache")
    marked_by = "pre-pull pod"

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return that a target has one buffer, if its nodes have another form's mark."""
        others = [name for name in FORMS if name != self.name and profile.has(name)]
        told = f"A target has one buffer: {self.name} and {', '.join(others)} exclude each other."
        return (f"{told} Give each a target of its own.",) if others else ()

    def nodes(self, profile: NodeProfile) -> NodeProfile:
        """Mark the nodes as buffered: a variant without the buffer needs a target of its own, or it would find them."""
        return profile.with_feature(self.name)

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that no node is waited for and nothing is pulled."""
        return Effect(tuple(self._changes()))

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the head and every engine worker ran on a node of the buffer and found the image there."""
        pods = view.serving_pods
        if view.head is None or not view.engine_pods:
            return Verdict(self.name, "unknown", ("The head's pod or the engine's pod was not seen.",))
        buffered = self._nodes(view)
        if buffered is None:
            return Verdict(self.name, "no", ("No buffer was prepared for the target before the trial was opened.",))
        if changed := self._changed(view):
            return Verdict(self.name, "no", changed)
        return all_of(self.name, [part for pod in pods for part in self._of(view, pod, buffered)])

    def kept(self, view: TraceView) -> Verdict:
        """Say whether each old node that a pod met is one that was marked when the trial was opened: the node by its
        uid, and with it the image that the marking pod had pulled.
        """
        claim, buffered = f"{self.name}_kept", self._nodes(view)
        if buffered is None:
            return Verdict(claim, "no", ("No buffer was prepared for the target before the trial was opened.",))
        if changed := self._changed(view):
            return Verdict(claim, "no", changed)
        old = [
            node
            for pod in view.serving_pods
            if (node := view.node_of(pod)) is not None and view.younger_than_submission(node) is not True
        ]
        return all_of(claim, [self._held(claim, node, buffered) for node in old])

    def _changes(self) -> list[PhaseChange]:
        there = [gone(phase, "the node is there before the submission") for phase in _NODE]
        return [*there, becomes("image_pull", _THERE_S)]

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
            return Verdict(claim, "yes", (f"Node {node.name} held a {self.marked_by} when the trial was opened.",))
        others = ", ".join(sorted(buffered.values())) or "none"
        told = f"Node {node.name} held no {self.marked_by} when the trial was opened ({others} did)."
        return Verdict(claim, "no", (told,))

    def _found(self, view: TraceView, pod: History) -> Verdict:
        how = image_arrival(view, pod)
        if how.delivered in ("present", "streamed"):
            return Verdict(self.name, "yes", how.evidence)
        if how.delivered == "pulled":
            told = f"The image of pod {pod.name} was not on its node."
            return Verdict(self.name, "no", (told, *how.evidence))
        return Verdict(self.name, "unknown", (f"How the image of pod {pod.name} arrived is not known.", *how.evidence))

    def _step(self, view: TraceView) -> Mapping[str, Any] | None:
        return PlannedFacts.of(view.trial).prepared_steps.get(f"prepare_{self.name}")

    def _changed(self, view: TraceView) -> tuple[str, ...]:
        """Return how what keeps the nodes differed from what was prepared when the trial was opened, in sentences: a
        node that it let go may still be there.
        """
        return tuple(map(text, items(mapping(self._step(view)).get("problems"))))

    def _nodes(self, view: TraceView) -> dict[str, str] | None:
        """Return the buffer's nodes when the trial was opened, uid -> name; None where none was prepared."""
        found = self._step(view)
        if found is None:
            return None
        nodes = map(mapping, items(found.get("nodes")))
        return {text(node.get("uid")): text(node.get("name")) for node in nodes if node.get("uid")}
