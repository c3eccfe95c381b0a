"""EKS: Bottlerocket nodes whose data volume is restored from a snapshot that already holds the serving image.

The blocks come from S3 at first touch, so the cost moves from the pull to the container's start: it stays inside the
total.
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
from airflow_llm_provisioning.core.treatments.steps import BUILD_IMAGE, SNAPSHOT_IMAGE
from airflow_llm_provisioning.core.verdicts import Verdict, all_of, cloud_says
from airflow_llm_provisioning.core.workload import Workload

_ARRIVES_S: Final = Between(
    0.0, 2.0, "the kubelet finds an image that is on the disk (Pulled: already present on machine)"
)


class BottlerocketSnapshot(BaseTreatment):
    """The image is on the node's disk before kubelet asks for it."""

    name = "bottlerocket_snapshot"
    group = IMAGE_DELIVERY
    order = 30
    clouds = frozenset({"eks"})
    steps = (BUILD_IMAGE, SNAPSHOT_IMAGE)
    claims: tuple[str, ...] = ("snapshot_mounted",)

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Serve from our registry: the reference in the snapshot must be the pods' to the letter."""
        return plan.in_own_registry()

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why the workload's image cannot be put into the target's registry."""
        return needs_one_image(self.name, workload)

    def nodes(self, profile: NodeProfile) -> NodeProfile:
        """Let the data volume come from the snapshot."""
        return profile.with_feature("image_snapshot")

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that nothing is pulled in full, and that what is touched is read over the network."""
        return delivery_effect(facts, _ARRIVES_S)

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the volume came from our snapshot and kubelet found the image there.

        With imagePullPolicy Always (an admission plug-in can force it) kubelet asks the registry all the same, and
        reports a pull that moved no layers: on EKS, which streams nothing, they were on the disk.
        """
        arrived = all_arrived(view, self.name, "present", "streamed")
        return all_of(self.name, [cloud_says(view, "snapshot_mounted"), arrived])

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that an image came without a pull, or None."""
        return arrived_unpulled(view)
