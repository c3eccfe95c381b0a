"""EKS: Bottlerocket nodes whose data volume is restored from a snapshot that already holds the serving image.

The blocks come from S3 at first touch, so the cost moves from the pull to the container's start: it stays inside the
total.
"""

from airflow_llm_provisioning.core.effects import Between
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.delivered import IMAGE_DELIVERY, DeliveredImage, all_arrived
from airflow_llm_provisioning.core.treatments.steps import BUILD_IMAGE, SNAPSHOT_IMAGE
from airflow_llm_provisioning.core.verdicts import Verdict, all_of, cloud_says


class BottlerocketSnapshot(DeliveredImage):
    """The image is on the node's disk before kubelet asks for it.

    The reference in the snapshot must be the pods' to the letter: both are the registry's.
    """

    name = "bottlerocket_snapshot"
    group = IMAGE_DELIVERY
    clouds = frozenset({"eks"})
    steps = (BUILD_IMAGE, SNAPSHOT_IMAGE)
    claims: tuple[str, ...] = ("snapshot_mounted",)
    feature = "image_snapshot"
    arrives_s = Between(0.0, 2.0, "the kubelet finds an image that is on the disk (Pulled: already present on machine)")

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the volume came from our snapshot and kubelet found the image there.

        With imagePullPolicy Always (an admission plug-in can force it) kubelet asks the registry all the same, and
        reports a pull that moved no layers: on EKS, which streams nothing, they were on the disk.
        """
        arrived = all_arrived(view, self.name, "present", "streamed")
        return all_of(self.name, [cloud_says(view, "snapshot_mounted"), arrived])
