"""GKE: Image Streaming from Artifact Registry, with caches that one earlier pull in the region has warmed."""

from airflow_llm_provisioning.core.experiment import Delivery
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import ServingPlan
from airflow_llm_provisioning.core.treatments.delivered import arrived_unpulled, both_arrived
from airflow_llm_provisioning.core.verdicts import Verdict, all_of, cloud_says
from airflow_llm_provisioning.core.workload import Workload


class GkeImageStreaming:
    """The container starts at once and reads its image lazily."""

    name = "gke_image_streaming"
    clouds = frozenset({"gke"})
    preparations: tuple[str, ...] = ("build_image", "enable_streaming", "warm_image")
    delivery: Delivery | None = "streaming"
    claims: tuple[str, ...] = ("image_streamed",)

    def change(self, plan: ServingPlan, workload: Workload) -> ServingPlan:
        """Serve from Artifact Registry, in the nodes' region."""
        return plan.in_own_registry()

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the nodes reported streaming for the images of head and worker, or Google rules it out."""
        said = cloud_says(view, "image_streamed")
        arrived = both_arrived(view, self.name, "streamed")
        # A node's own word is proof enough; Google's state alone can only say no.
        return all_of(self.name, [arrived] if said.value == "unknown" else [said, arrived])

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that an image came without a pull, or None."""
        return arrived_unpulled(view)
