"""A placeholder pod asks for the worker's node at the submission, long before Ray's autoscaler asks for the worker.

In a dynamic start the worker's pod comes only when head and Serve are up: its node and its image pull are one after the
other with them. A placeholder of the worker's shape, place and image makes them run beside them, and the worker takes
its place by priority. Nothing runs before the submission, so nothing costs while idle. It is what the original
experiment's authors look forward to, a direct line from Ray's autoscaler to node allocation, with plain Kubernetes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, beside
from airflow_llm_provisioning.core.fields import dig, text
from airflow_llm_provisioning.core.image_arrival import image_arrival, images_of
from airflow_llm_provisioning.core.manifests.groups import (
    engine_groups,
    setup_of,
    starting_replicas,
)
from airflow_llm_provisioning.core.manifests.worker_demand import pods_asked_for
from airflow_llm_provisioning.core.names import LABEL_TARGET, label_value
from airflow_llm_provisioning.core.scaling import ScalingSetup
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, Step, StepContext
from airflow_llm_provisioning.core.treatments.early_node_proof import (
    LABEL,
    NAME,
    asked_for_early,
    came_early,
    placeholder_of,
)
from airflow_llm_provisioning.core.treatments.kept_nodes import buffer_of
from airflow_llm_provisioning.core.treatments.placeholders import placeholder, priority_class
from airflow_llm_provisioning.core.verdicts import Verdict, all_of
from airflow_llm_provisioning.core.workload import Workload

_NODE: Final = ("worker_node_request", "worker_node_boot", "worker_node_setup", "worker_gpu_setup")
# kubelet hands the context of a pod's sync to the runtime's pull (pkg/kubelet/kuberuntime), and cancels it when the pod
# ends (pkg/kubelet/pod_workers.go); containerd goes on with a layer that another pull asks for again.
_LOST: Final = Between(
    0.0, 1.0, "assumed: a pull that is under way when the worker comes goes on, or is lost with the placeholder"
)
# The recorder watches pods that have this key; KubeRay looks for its clusters' names, and no cluster has this one.
RECORDED: Final[Mapping[str, str]] = {"ray.io/cluster": "llm-placeholder"}


def class_name(target: str) -> str:
    """Return the priority class of a target's placeholders; `target`: its name, or the label that its trials carry."""
    return f"llm-early-node-{label_value(target).lower().replace('_', '-')}"[:63].rstrip("-.")


def _arguments(context: StepContext) -> Mapping[str, Any]:
    target = context.target
    return {
        "target": target.as_dict(),
        "treatment": EarlyNode.name,
        "objects": [priority_class(class_name(target.name))],
    }


class EarlyNode(BaseTreatment):
    """The worker's node is asked for at the submission."""

    name = NAME
    order = 60
    steps = (
        Step(
            "prepare_early_node",
            "airflow_llm_provisioning.operators:PrepareObjects",
            _arguments,
            before_nodes=False,
            per_image=False,
        ),
    )

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why there is nothing to be early for: a workload without dynamic starts, or the nodes of a buffer,
        which are there before.
        """
        if buffer := buffer_of(profile):
            told = f"{self.name} and {buffer} exclude each other: the buffer's node is there before the submission"
            return (f"{told}. Leave one of them out.",)
        if ScalingSetup.DYNAMIC in workload.offered_setups:
            return ()
        told = f"{self.name} is for dynamic starts, and workload {workload.name!r} asks for its workers at once"
        return (f"{told}: let Ray's autoscaler begin without workers, or leave the treatment out.",)

    def vain_in(self, setup: ScalingSetup) -> str | None:
        """Return that a static start asks for its workers at the submission by itself."""
        if setup is ScalingSetup.DYNAMIC:
            return None
        return f"{self.name} changes nothing in a {setup} start, which asks for its workers at the submission"

    def companions(self, manifest: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """Return the placeholder pods: for each group of engine workers that starts without a pod, as many as the
        engine takes.
        """
        if setup_of(manifest) is not ScalingSetup.DYNAMIC:
            return ()
        target = text(dig(manifest, "metadata", "labels", LABEL_TARGET))
        groups = [g for g in engine_groups(manifest) if g.role == "worker" and not starting_replicas(manifest, g)]
        return tuple(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                **placeholder(
                    manifest,
                    group,
                    priority_class_name=class_name(target),
                    labels={LABEL: label_value(group.name), **RECORDED},
                ),
            }
            for group in groups
            for _ in range(pods_asked_for(manifest, group))
        )

    def verify(self, view: TraceView) -> Verdict:
        """Say whether a placeholder asked for the node of every engine worker before the worker was there, and the
        worker took its place.
        """
        workers = [pod for pod in view.engine_pods if pod is not view.head]
        if not workers or view.rayservice is None:
            return Verdict(self.name, "unknown", ("The pods of the engine were not seen.",))
        if not view.dynamic:
            return Verdict(self.name, "no", ("The workers were asked for at the submission: it was no dynamic start.",))
        waited = [pod for pod in view.companions if LABEL in pod.labels]
        if not waited:
            return self._none_seen(workers)
        parts, left = [], list(waited)
        for pod in workers:
            asking = placeholder_of(view, pod, left)
            parts.append(self._of(view, pod, asking))
            if asking is not None and view.node_name_of(asking) != view.node_name_of(pod):
                # It asked for one node: that of another worker was asked for by another placeholder.
                left.remove(asking)
        return all_of(self.name, parts)

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that the worker's node and pull begin with the submission. What is left of them when the worker comes
        follows from the other phases, with what other treatments do to these.
        """
        if facts.setup != ScalingSetup.DYNAMIC or facts.seconds.get("worker_image_pull") is None:
            return None
        return Effect(
            tuple(beside(phase, _LOST) for phase in (*_NODE, "worker_image_pull")),
            assumptions=("the node autoscaler makes the worker's node while it makes the head's",),
        )

    def _of(self, view: TraceView, worker: History, asking: History | None) -> Verdict:
        node = view.node_of(worker)
        if node is None or node.created is None or worker.created is None:
            return Verdict(self.name, "unknown", (f"When the node of pod {worker.name} was created is not known.",))
        if view.younger_than_submission(node) is False:
            return self._no(f"Node {node.name} was there before the submission, so nothing asked for it early.")
        if asking is None:
            return self._no(f"No placeholder asked for node {node.name} of pod {worker.name}.")
        if not set(images_of(worker)) & set(images_of(asking)):
            pulls, runs = ", ".join(images_of(asking)), ", ".join(images_of(worker))
            return self._no(f"The placeholder pulls {pulls}, and pod {worker.name} runs {runs}.")
        early = came_early(node, worker, asking) or asked_for_early(view, node, worker, asking)
        if early.value != "yes":
            return Verdict(self.name, early.value, early.evidence)
        ended = tuple(f"Pod {asking.name}: {event.message}" for event in view.events_of(asking, "Preempted")[:1])
        return Verdict(self.name, "yes", (*early.evidence, *ended, *image_arrival(view, worker).evidence))

    def _none_seen(self, workers: Sequence[History]) -> Verdict:
        """A placeholder is there until its worker comes, so a recording that began later says nothing about it."""
        there = next((pod for pod in workers if pod.versions[0].kind == "LISTED"), None)
        if there is None:
            return self._no("No placeholder pod came with the RayService.")
        told = f"No placeholder pod was seen, and pod {there.name} was there when the recording began."
        return Verdict(self.name, "unknown", (told,))

    def _no(self, sentence: str) -> Verdict:
        return Verdict(self.name, "no", (sentence,))
