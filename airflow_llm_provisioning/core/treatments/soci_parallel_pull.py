"""EKS: Bottlerocket's SOCI snapshotter in its parallel mode downloads and unpacks the layers of an image side by side.

Nothing is prepared but the image in the target's own registry; the nodes' user data switches it on. Older versions of
Bottlerocket ignore the settings, and a slow disk eats the gain, so the settings alone prove nothing: AWS tells the user
data and the version of each node, and the rate of the pull tells the effect. Sources: bottlerocket.dev, settings
container-runtime-plugins 1.53 (its defaults download three layers and unpack one at a time);
aws-samples/karpenter-blueprints @1e0c62b soci-snapshotter/README.md (these settings, the volume, 600 MiB/s as the least
that is worth it).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.core.effects import Between, Effect, EffectFacts, becomes, seconds_for
from airflow_llm_provisioning.core.image_arrival import (
    FULL_PULL_BYTES_S,
    JUDGED_BYTES,
    ImageArrival,
)
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.treatments.base import BaseTreatment, DeploymentPlan
from airflow_llm_provisioning.core.treatments.delivered import arrivals, needs_one_image
from airflow_llm_provisioning.core.treatments.effect_ranges import BAKED_BYTES
from airflow_llm_provisioning.core.treatments.steps import BUILD_IMAGE
from airflow_llm_provisioning.core.verdicts import Verdict, all_of, cloud_says
from airflow_llm_provisioning.core.workload import Workload

SETTINGS: Final[Mapping[str, Any]] = {
    "container-runtime": {"snapshotter": "soci"},
    "container-runtime-plugins": {
        "soci-snapshotter": {
            "pull-mode": "parallel-pull-unpack",
            "parallel-pull-unpack": {
                "max-concurrent-downloads-per-image": 20,
                "concurrent-download-chunk-size": "16mb",
                "max-concurrent-unpacks-per-image": 12,
                "discard-unpacked-layers": True,
            },
        }
    },
}
# The volume of the published figures: layers are buffered on the disk, and a plain gp3 volume writes 125 MiB/s.
VOLUME: Final[Mapping[str, int]] = {"throughput": 1000, "iops": 16000}
LEAST_THROUGHPUT_MIB_S: Final = 600
# Published ordinary pulls move 0.07 to 0.15 GB/s (9.354 GB in 130.8 s; AI on EKS start-up workshop). From 0.1 GB/s on,
# a parallel pull over a slow link looks the same: such a rate neither proves nor refutes it.
ORDINARY_BYTES_S: Final = 100_000_000
_WHOLE_BYTES_S: Final = Between(
    240e6,
    403e6,
    "whole parallel pulls on Bottlerocket, volume of 1,000 MiB/s: 10.778 GB in 45.0 s, 9.354 GB in 23.2 s "
    "(aws-samples/karpenter-blueprints soci-snapshotter @1e0c62b, @529b88c)",
)
# Weights go to the same volume: where a gp3 volume's 125 MiB/s limit their download, it gets faster too.
_DISK: Final = "the volume writes 1,000 MiB/s (gp3 by itself 125, Amazon EBS user guide), or the network is the limit"
# From here on a gp3 volume may have been the limit: four fifths of its own 125 MiB/s.
_FILLS_BYTES_S: Final = 0.8 * 125 * 1024**2
_SINCE: Final = (1, 44)
_ALIAS: Final = re.compile(r"bottlerocket@v?(\d+)\.(\d+)")


class SociParallelPull(BaseTreatment):
    """The node pulls and unpacks the layers of an image in parallel."""

    name = "soci_parallel_pull"
    clouds = frozenset({"eks"})
    order = 40
    # A public registry sends less than a parallel pull can take: the image is served from the target's own.
    steps = (BUILD_IMAGE,)
    claims: tuple[str, ...] = ("parallel_pull_set",)

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why these nodes would ignore the settings, or gain nothing by them."""
        return (*_node_problems(profile), *needs_one_image(self.name, workload))

    def change(self, plan: DeploymentPlan, workload: Workload) -> DeploymentPlan:
        """Serve from the target's own registry."""
        return plan.in_own_registry()

    def nodes(self, profile: NodeProfile) -> NodeProfile:
        """Switch the snapshotter on by the nodes' user data, on a volume that keeps up; a volume of the user's own
        stays as it is.
        """
        added = dict(profile.options.get("user_data_settings") or {})
        volume = {key: profile.options.get(key, value) for key, value in VOLUME.items()}
        return profile.with_feature(self.name).with_options(user_data_settings={**added, **SETTINGS}, **volume)

    def effect(self, facts: EffectFacts) -> Effect | None:
        """Return that a whole pull has the rate of published parallel ones, packages that are baked included."""
        if not facts.image_bytes:
            return None
        added = BAKED_BYTES.high if "bake_packages" in facts.treatments - facts.measured else 0.0
        size = Between(facts.image_bytes, facts.image_bytes + added, _WHOLE_BYTES_S.source)
        changes = [becomes("image_pull", seconds_for(size, _WHOLE_BYTES_S))]
        plain_s = facts.seconds.get("weight_download") or facts.seconds.get("model_load")
        if facts.weight_bytes and plain_s and facts.weight_bytes / plain_s > _FILLS_BYTES_S:
            least_s = min(plain_s, facts.weight_bytes / (VOLUME["throughput"] * 1024**2))
            changes.append(becomes("weight_download", Between(least_s, plain_s, _DISK), at_most_before=True))
        return Effect(tuple(changes), ("the volume has its 1,000 MiB/s",))

    def verify(self, view: TraceView) -> Verdict:
        """Say whether AWS confirms the settings on every node, and the images of head and engine came faster than any
        ordinary pull. Pods on one node share a pull.
        """
        if view.head is None or not view.engine_pods:
            return Verdict(self.name, "unknown", ("The head's pod or the engine's pod was not seen.",))
        parts = [
            self._kept(pod.name, how)
            if how.delivered == "present" and _on_old_node(view, pod)
            else self._of(pod.name, how)
            for pod, how in arrivals(view)
        ]
        return all_of(self.name, [cloud_says(view, "parallel_pull_set"), *parts])

    def _kept(self, pod: str, how: ImageArrival) -> Verdict:
        told = f"How the image of pod {pod} came onto its node, which is older than the trial, is not known any more"
        return Verdict(self.name, "unknown", (f"{told}: a cluster keeps events for an hour.", *how.evidence))

    def _of(self, pod: str, how: ImageArrival) -> Verdict:
        rate = how.rate_bytes_s
        if how.delivered in ("present", "streamed"):
            return Verdict(self.name, "no", (f"The image of pod {pod} was not pulled in full.", *how.evidence))
        if how.delivered != "pulled" or rate is None or (how.size_bytes or 0) < JUDGED_BYTES:
            told = f"How fast the image of pod {pod} was pulled is not known."
            return Verdict(self.name, "unknown", (told, *how.evidence))
        told = f"The image of pod {pod} was pulled at {rate / 1e6:.0f} MB/s"
        if rate >= FULL_PULL_BYTES_S:
            return Verdict(self.name, "yes", (f"{told}, faster than an ordinary pull.", *how.evidence))
        if rate <= ORDINARY_BYTES_S:
            return Verdict(self.name, "no", (f"{told}, as fast as an ordinary pull.", *how.evidence))
        return Verdict(self.name, "unknown", (f"{told}: ordinary pulls may be as fast.", *how.evidence))


def _on_old_node(view: TraceView, pod: History) -> bool:
    node = view.node_of(pod)
    return node is not None and view.younger_than_submission(node) is False


def _node_problems(profile: NodeProfile) -> list[str]:
    name, options, found = SociParallelPull.name, profile.options, []
    alias = str(options.get("ami_alias", "bottlerocket@latest"))
    pinned = _ALIAS.match(alias)
    if options.get("auto_mode"):
        found.append(f"{name}: EKS Auto Mode takes no user data; it pulls in parallel by itself where it can.")
    if not alias.startswith("bottlerocket"):
        found.append(f"{name} writes settings of Bottlerocket, and ami_alias is {alias!r}: use bottlerocket@latest.")
    if pinned and (int(pinned[1]), int(pinned[2])) < _SINCE:
        found.append(f"{name} needs Bottlerocket 1.44 or newer, and {alias} would ignore its settings.")
    if profile.has("image_snapshot"):
        found.append(
            f"{name} and bottlerocket_snapshot exclude each other: the SOCI snapshotter does not use the layers that "
            "the snapshot holds."
        )
    throughput = options.get("throughput")
    if throughput is not None and int(throughput) < LEAST_THROUGHPUT_MIB_S:
        found.append(
            f"{name}: the data volume's throughput is {throughput} MiB/s, and below {LEAST_THROUGHPUT_MIB_S} MiB/s "
            "the disk eats the gain: set the option throughput to 1000."
        )
    return found
