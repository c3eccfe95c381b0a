"""AKS: Artifact Streaming from a Premium registry, where the image was converted before any node pulled it.

It is proven by acr-nodemon's event on the pod, whose artifact the registry must list, or by the pull's own figures
where registry and pool do not leave it open; otherwise it stays unknown.
"""

from typing import Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan
from airflow_llm_provisioning.core.treatments.delivered import (
    IMAGE_DELIVERY,
    all_arrived,
    arrived_unpulled,
    delivery_effect,
    needs_one_image,
)
from airflow_llm_provisioning.core.treatments.steps import BUILD_IMAGE, CONVERT_FOR_STREAMING
from airflow_llm_provisioning.core.verdicts import Verdict, all_of, cloud_says
from airflow_llm_provisioning.core.workload import Workload

_ARRIVES_S: Final = Between(
    2.0,
    10.0,
    "the kubelet's Pulled of a streamed image took 3.442 s (a Microsoft support blog, 2023-12); range assumed",
)


class AksArtifactStreaming(BaseTreatment):
    """The tag leads the node to a streaming artifact instead of the image's layers."""

    name = "aks_artifact_streaming"
    group = IMAGE_DELIVERY
    order = 30
    clouds = frozenset({"aks"})
    steps = (BUILD_IMAGE, CONVERT_FOR_STREAMING)
    claims: tuple[str, ...] = ("image_streamed",)

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Serve from our registry, by tag: a digest is not redirected."""
        return plan.in_own_registry()

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why the workload's image cannot be put into the target's registry."""
        return needs_one_image(self.name, workload)

    def nodes(self, profile: NodeProfile) -> NodeProfile:
        """Let the nodes stream images."""
        return profile.with_feature("image_streaming")

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that nothing is pulled in full, and that what is touched is read over the network."""
        return delivery_effect(facts, _ARRIVES_S)

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the nodes reported the registry's artifact, or pulled faster than any full pull what was set up
        for it.
        """
        return all_of(self.name, [cloud_says(view, "image_streamed"), all_arrived(view, self.name, "streamed")])

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that an image came without a pull, or None."""
        return arrived_unpulled(view)
