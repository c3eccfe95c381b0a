"""GKE: Image Streaming from Artifact Registry, with caches that one earlier pull in the region has warmed."""

from airflow_llm_provisioning.core.experiment import Delivery
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import ServingPlan
from airflow_llm_provisioning.core.treatments.delivered import both_arrived
from airflow_llm_provisioning.core.verdicts import Verdict
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
        """Say whether the nodes reported streaming for the images of head and worker."""
        return both_arrived(view, self.name, "streamed")
