"""GKE: Image Streaming from Artifact Registry, with caches that one earlier pull in the region has warmed."""

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
from airflow_llm_provisioning.core.treatments.steps import BUILD_IMAGE, STREAM_POOLS, WARM_IMAGE
from airflow_llm_provisioning.core.verdicts import Verdict, all_of, cloud_says
from airflow_llm_provisioning.core.workload import Workload

_ARRIVES_S: Final = Between(
    1.0, 5.0, "a streamed image of any size is there after about 2 s (GKE's launch post, 2021); 4 s in llm-d pull 1902"
)


class GkeImageStreaming(BaseTreatment):
    """The container starts at once and reads its image lazily."""

    name = "gke_image_streaming"
    group = IMAGE_DELIVERY
    order = 30
    clouds = frozenset({"gke"})
    steps = (BUILD_IMAGE, STREAM_POOLS, WARM_IMAGE)
    claims: tuple[str, ...] = ("image_streamed",)

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Serve from Artifact Registry, in the nodes' region."""
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
        """Say whether the nodes reported streaming for the images of head and worker, or Google rules it out."""
        said = cloud_says(view, "image_streamed")
        arrived = all_arrived(view, self.name, "streamed")
        # A node's own word is proof enough; Google's state alone can only say no.
        return all_of(self.name, [arrived] if said.value == "unknown" else [said, arrived])

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that an image came without a pull, or None."""
        return arrived_unpulled(view)
