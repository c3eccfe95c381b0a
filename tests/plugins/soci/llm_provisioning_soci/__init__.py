"""SOCI parallel pull on EKS: layers are downloaded and unpacked side by side by the node's snapshotter.

A whole treatment in one file of another distribution. Bottlerocket has the settings since 1.44
(bottlerocket-os/bottlerocket, settings.container-runtime); 9.35 GB were pulled in 23.2 s instead of 130.8 s
(Amazon's announcement of the feature). No Kubernetes object names the snapshotter, so the rate of the pull must prove
it.
"""

from collections.abc import Mapping
from typing import Any

from airflow_llm_provisioning.core.image_arrival import JUDGED_BYTES, image_arrival
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.treatments import BaseTreatment, DeploymentPlan
from airflow_llm_provisioning.core.treatments.steps import BUILD_IMAGE
from airflow_llm_provisioning.core.verdicts import Verdict, all_of
from airflow_llm_provisioning.core.workload import Workload

# bottlerocket-os settings reference 1.44: one layer is unpacked at a time unless it is told otherwise. A gp3 volume's
# 125 MiB/s would hold the unpacking up.
SETTINGS: Mapping[str, Any] = {
    "container-runtime": {"snapshotter": "soci"},
    "container-runtime-plugins": {
        "soci-snapshotter": {
            "pull-mode": "parallel-pull-unpack",
            "parallel-pull-unpack": {"max-concurrent-unpacks-per-image": 12},
        }
    },
}
VOLUME = {"throughput": 1000, "iops": 16000}
# Full pulls that were published move 0.1 to 0.15 GB/s, parallel ones 0.24 to 0.4.
PARALLEL_BYTES_S = 200_000_000


class LayersInParallel(BaseTreatment):
    """The node pulls and unpacks layers in parallel."""

    name = "layers_in_parallel"
    clouds = frozenset({"eks"})
    order = 40
    # A public registry sends less than a parallel pull can take: the image is served from the target's own.
    steps = (BUILD_IMAGE,)

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why it is impossible with these nodes."""
        if profile.autoscaler != "karpenter":
            return (f"layers_in_parallel sets Karpenter's node class, and these nodes are {profile.autoscaler}'s.",)
        return ()

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Serve from the target's own registry."""
        return plan.in_own_registry()

    def nodes(self, profile: NodeProfile) -> NodeProfile:
        """Switch Bottlerocket's SOCI snapshotter on, by the nodes' user data."""
        return profile.with_feature(self.name).with_options(user_data_settings=SETTINGS, **VOLUME)

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the images of head and worker came faster than a plain pull can be."""
        return all_of(self.name, [self._of(view, role) for role in ("head", "worker")])

    def _of(self, view: TraceView, role: str) -> Verdict:
        how = image_arrival(view, view.head if role == "head" else view.worker)
        rate = how.rate_bytes_s
        if how.delivered != "pulled" or rate is None or (how.size_bytes or 0) < JUDGED_BYTES:
            return Verdict(
                self.name, "unknown", (f"How fast the {role}'s image was pulled is not known.", *how.evidence)
            )
        told = f"The {role}'s image was pulled at {rate / 1e6:.0f} MB/s."
        return Verdict(self.name, "yes" if rate >= PARALLEL_BYTES_S else "no", (told, *how.evidence))
