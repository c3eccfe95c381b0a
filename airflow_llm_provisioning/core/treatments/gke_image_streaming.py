"""GKE: Image Streaming from Artifact Registry, with caches that one earlier pull in the region has warmed."""

from airflow_llm_provisioning.core.effects import Between
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.delivered import IMAGE_DELIVERY, DeliveredImage, all_arrived
from airflow_llm_provisioning.core.treatments.steps import BUILD_IMAGE, STREAM_POOLS, WARM_IMAGE
from airflow_llm_provisioning.core.verdicts import Verdict, all_of, cloud_says


class GkeImageStreaming(DeliveredImage):
    """The container starts at once and reads its image lazily.

    It is served from Artifact Registry, in the nodes' region.
    """

    name = "gke_image_streaming"
    group = IMAGE_DELIVERY
    clouds = frozenset({"gke"})
    steps = (BUILD_IMAGE, STREAM_POOLS, WARM_IMAGE)
    claims: tuple[str, ...] = ("image_streamed",)
    feature = "image_streaming"
    arrives_s = Between(
        1.0,
        5.0,
        "a streamed image of any size is there after about 2 s (GKE's launch post, 2021); 4 s in llm-d pull 1902",
    )

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the nodes reported streaming for the images of head and worker, or Google rules it out."""
        said = cloud_says(view, "image_streamed")
        arrived = all_arrived(view, self.name, "streamed")
        # A node's own word is proof enough; Google's state alone can only say no.
        return all_of(self.name, [arrived] if said.value == "unknown" else [said, arrived])
