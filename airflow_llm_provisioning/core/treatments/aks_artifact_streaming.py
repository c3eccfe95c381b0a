"""AKS: Artifact Streaming from a Premium registry, where the image was converted before any node pulled it.

No positive signal of it is documented for the cluster: the pull's own figures must prove it, and the registry and the
pool must not leave it open, or it stays unknown.
"""

from airflow_llm_provisioning.core.experiment import Delivery
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments.base import ServingPlan
from airflow_llm_provisioning.core.treatments.delivered import arrived_unpulled, both_arrived
from airflow_llm_provisioning.core.verdicts import Verdict, all_of, cloud_says
from airflow_llm_provisioning.core.workload import Workload


class AksArtifactStreaming:
    """The tag leads the node to a streaming artifact instead of the image's layers."""

    name = "aks_artifact_streaming"
    clouds = frozenset({"aks"})
    preparations: tuple[str, ...] = ("build_image", "enable_streaming")
    delivery: Delivery | None = "streaming"
    claims: tuple[str, ...] = ("image_streamed",)

    def change(self, plan: ServingPlan, workload: Workload) -> ServingPlan:
        """Serve from our registry, by tag: a digest is not redirected."""
        return plan.in_own_registry()

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the pulls were faster than any full pull, and registry and pool were set up for it."""
        return all_of(self.name, [cloud_says(view, "image_streamed"), both_arrived(view, self.name, "streamed")])

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that an image came without a pull, or None."""
        return arrived_unpulled(view)
