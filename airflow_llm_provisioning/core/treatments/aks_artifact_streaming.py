"""AKS: Artifact Streaming from a Premium registry, where the image was converted before any node pulled it.

It is proven by acr-nodemon's event on the pod, whose artifact the registry must list, or by the pull's own figures
where registry and pool do not leave it open; otherwise it stays unknown.
"""

from airflow_llm_provisioning.core.effects import Between
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.delivered import IMAGE_DELIVERY, DeliveredImage, all_arrived
from airflow_llm_provisioning.core.treatments.steps import BUILD_IMAGE, CONVERT_FOR_STREAMING
from airflow_llm_provisioning.core.verdicts import Verdict, all_of, cloud_says


class AksArtifactStreaming(DeliveredImage):
    """The tag leads the node to a streaming artifact instead of the image's layers.

    It is served by tag: a digest is not redirected.
    """

    name = "aks_artifact_streaming"
    group = IMAGE_DELIVERY
    clouds = frozenset({"aks"})
    steps = (BUILD_IMAGE, CONVERT_FOR_STREAMING)
    claims: tuple[str, ...] = ("image_streamed",)
    feature = "image_streaming"
    arrives_s = Between(
        2.0,
        10.0,
        "the kubelet's Pulled of a streamed image took 3.442 s (a Microsoft support blog, 2023-12); range assumed",
    )

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the nodes reported the registry's artifact, or pulled faster than any full pull what was set up
        for it.
        """
        return all_of(self.name, [cloud_says(view, "image_streamed"), all_arrived(view, self.name, "streamed")])
