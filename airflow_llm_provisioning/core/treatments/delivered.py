"""What the image deliveries have in common: the head and every pod of the engine must have got their image that way."""

from typing import Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, becomes
from airflow_llm_provisioning.core.image_arrival import (
    FULL_PULL_BYTES_S,
    JUDGED_BYTES,
    Delivered,
    ImageArrival,
    image_arrival,
)
from airflow_llm_provisioning.core.prepared_pulls import pulled_before
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan
from airflow_llm_provisioning.core.treatments.effect_ranges import (
    installs_at_start,
    ray_first_touch,
    vllm_first_touch,
)
from airflow_llm_provisioning.core.verdicts import Verdict, all_of
from airflow_llm_provisioning.core.workload import Workload

# The group of alternatives: each cloud has its own.
IMAGE_DELIVERY: Final = "image_delivery"


class DeliveredImage(BaseTreatment):
    """An image that is served from the target's own registry and reaches the nodes without a whole pull.

    `feature`: what the nodes need for it. `arrives_s`: seconds until such an image is there, with their source.
    """

    order = 30
    feature: str
    arrives_s: Between

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Serve from the target's registry."""
        return plan.in_own_registry()

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why the workload's image cannot be put into the target's registry."""
        return needs_one_image(self.name, workload)

    def nodes(self, profile: NodeProfile) -> NodeProfile:
        """Give the nodes what the delivery needs."""
        return profile.with_feature(self.feature)

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that nothing is pulled in full, and that what is touched is read over the network."""
        return delivery_effect(facts, self.arrives_s)

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that an image came without a pull, or None."""
        return arrived_unpulled(view)


def needs_one_image(name: str, workload: Workload) -> tuple[str, ...]:
    """Return why no single image can be built for a workload: its Ray containers run different ones."""
    images = workload.images
    if len(images) == 1:
        return ()
    told = f"{name} prepares one image, and the Ray containers of workload {workload.name!r} run {len(images)}"
    return (f"{told}: {', '.join(images)}. Give head and workers the same image.",)


def delivery_effect(facts: EffectFacts, arrives_s: Between) -> Effect:
    """Return what a delivered image changes: it arrives in these seconds, and Ray's content, and vLLM's where the image
    holds it, is read when it is touched first.
    """
    touched = ray_first_touch(facts.cloud)
    baked = "bake_packages" in facts.treatments
    held = vllm_first_touch(facts.cloud) if baked or not installs_at_start(facts) else ()
    told = "the image holds vLLM" if held else "vLLM is installed at start, so it is read from the node's own disk"
    return Effect((becomes("image_pull", arrives_s), *touched, *held), (told,))


def all_arrived(view: TraceView, claim: str, *wanted: Delivered) -> Verdict:
    """Say whether the images of the head and of every pod of the engine arrived one of the wanted ways; one that was
    pulled says no, silence is unknown, and so is, where streaming is wanted, a pull that is too fast to be surely a
    full one. Pods on one node share an arrival.
    """
    if view.head is None or not view.engine_pods:
        return Verdict(claim, "unknown", ("The head's pod or the engine's pod was not seen.",))
    parts = []
    for pod, how in arrivals(view):
        if how.delivered in wanted:
            parts.append(Verdict(claim, "yes", how.evidence))
        elif how.delivered in ("unknown", "present") or ("streamed" in wanted and _doubtful(how)):
            parts.append(
                Verdict(claim, "unknown", (f"How the image of pod {pod.name} arrived is not known.", *how.evidence))
            )
        else:
            parts.append(Verdict(claim, "no", how.evidence))
    return all_of(claim, parts)


def _doubtful(how: ImageArrival) -> bool:
    """Return whether a large image came faster than any published full pull, and too slowly to be surely streamed."""
    rate, size = how.rate_bytes_s, how.size_bytes
    return rate is not None and size is not None and size >= JUDGED_BYTES and rate > FULL_PULL_BYTES_S


def arrived_unpulled(view: TraceView) -> str | None:
    """Return what says that a pod's image did not have to be pulled onto a node younger than the trial, or None."""
    for pod, how in arrivals(view):
        if how.delivered == "streamed" or (how.delivered == "present" and _on_young_node(view, pod)):
            return " ".join(how.evidence)
    return None


def arrivals(view: TraceView) -> list[tuple[History, ImageArrival]]:
    """Return how the image of the head and of every pod of the engine came. Pods of the trial on one node share an
    arrival, its companions among them: what one of them pulled, the next one finds. So do the pods that were prepared
    on the node before the trial.
    """
    found = [(pod, image_arrival(view, pod)) for pod in view.serving_pods]
    every = [*found, *((pod, image_arrival(view, pod)) for pod in view.companions)]
    came = pulled_before(view) | {
        (view.node_name_of(pod), how.image): how
        for pod, how in reversed(every)
        if how.delivered in ("pulled", "streamed")
    }
    return [
        (pod, came.get((view.node_name_of(pod), how.image), how) if how.delivered == "present" else how)
        for pod, how in found
    ]


def _on_young_node(view: TraceView, pod: History) -> bool:
    node = view.node_of(pod)
    return node is not None and view.younger_than_submission(node) is True
