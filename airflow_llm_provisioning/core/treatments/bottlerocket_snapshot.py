"""EKS: Bottlerocket nodes whose data volume is restored from a snapshot that already holds the serving image.

The blocks come from S3 at first touch, so the cost moves from the pull to the container's start: it stays inside the
total.
"""

from airflow_llm_provisioning.core.experiment import Delivery
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import ServingPlan
from airflow_llm_provisioning.core.treatments.delivered import arrived_unpulled, both_arrived
from airflow_llm_provisioning.core.verdicts import Verdict, all_of, cloud_says
from airflow_llm_provisioning.core.workload import Workload


class BottlerocketSnapshot:
    """The image is on the node's disk before kubelet asks for it."""

    name = "bottlerocket_snapshot"
    clouds = frozenset({"eks"})
    preparations: tuple[str, ...] = ("build_image", "snapshot_image")
    delivery: Delivery | None = "snapshot"
    claims: tuple[str, ...] = ("snapshot_mounted",)

    def change(self, plan: ServingPlan, workload: Workload) -> ServingPlan:
        """Serve from our registry: the reference in the snapshot must be the pods' to the letter."""
        return plan.in_own_registry()

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the volume came from our snapshot and kubelet found the image there.

        With imagePullPolicy Always (an admission plug-in can force it) kubelet asks the registry all the same, and
        reports a pull that moved no layers: on EKS, which streams nothing, they were on the disk.
        """
        arrived = both_arrived(view, self.name, "present", "streamed")
        return all_of(self.name, [cloud_says(view, "snapshot_mounted"), arrived])

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that an image came without a pull, or None."""
        return arrived_unpulled(view)
