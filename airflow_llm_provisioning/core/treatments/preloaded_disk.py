"""GKE: nodes with a secondary boot disk that already holds the layers of the serving image.

The disk is made from a disk image that a preparation filled. GKE's containerd finds layers there by their chain id, so
the kubelet still asks the registry, reports a pull, and is done in seconds; what is touched first is read over the
network. The disk is used only where image streaming is on, and a pool gets it only when it is made
(cloud.google.com/kubernetes-engine/docs/how-to/data-container-image-preloading, read November 2026).

Which disk a node has is told by a label that GKE alone can set, `gke-secondary-boot-disk-<image>`, with the value
`CONTAINER_IMAGE_CACHE.<project>`. That the disk was used is told by no object of Kubernetes, only by the node's own log
(`backed by secondary boot disk caching`): the time of the pull tells it.
"""

from typing import Final

from airflow_llm_provisioning.core.effects import Between
from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.image_arrival import (
    FULL_PULL_BYTES_S,
    IMPLAUSIBLE_BYTES_S,
    JUDGED_BYTES,
    ImageArrival,
    image_digest,
    streaming_signals,
)
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.objects import History
from airflow_llm_provisioning.core.treatments.delivered import (
    IMAGE_DELIVERY,
    DeliveredImage,
    arrivals,
    needs_one_image,
)
from airflow_llm_provisioning.core.treatments.steps import BUILD_IMAGE, SNAPSHOT_IMAGE, STREAM_POOLS
from airflow_llm_provisioning.core.verdicts import Verdict, all_of
from airflow_llm_provisioning.core.workload import Workload

LABEL: Final = "cloud.google.com.node-restriction.kubernetes.io/gke-secondary-boot-disk-"
MODE: Final = "CONTAINER_IMAGE_CACHE"
# 1.28.3-gke.1067000, on clusters of the Standard mode (the page above).
_SINCE_MINOR: Final = 28


class PreloadedDisk(DeliveredImage):
    """The layers of the image are on a disk of the node before the kubelet asks for them."""

    name = "preloaded_disk"
    alternative_to = IMAGE_DELIVERY
    clouds = frozenset({"gke"})
    steps = (BUILD_IMAGE, SNAPSHOT_IMAGE, STREAM_POOLS)
    keeps_warm: tuple[str, ...] = ("image_cache",)
    feature = name
    arrives_s = Between(
        1.0,
        6.0,
        "assumed: the manifest is fetched and the layers are mounted, as with Image Streaming; GKE's blog names pulls "
        "up to 29 times faster at 16 GB",
    )

    def requires(self, profile: NodeProfile, workload: Workload) -> tuple[str, ...]:
        """Return why the disk would not be seen to be used, or no single image can be prepared."""
        told = "a node that streams the image does not show whether its disk was used"
        streams = [f"{self.name} and gke_image_streaming exclude each other: {told}."]
        if not profile.has("image_streaming"):
            streams = []
        return (*streams, *needs_one_image(self.name, workload))

    def requires_of(self, target: Target, workload: Workload) -> tuple[str, ...]:
        """Return why the target's nodes cannot get such a disk, and which options cannot work."""
        return tuple(_target_problems(target))

    def verify(self, view: TraceView) -> Verdict:
        """Say whether the nodes of the head and of every engine worker have the disk that was prepared, it holds the
        image that ran, and the pull was too fast for a network.
        """
        if view.head is None or not view.engine_pods:
            return Verdict(self.name, "unknown", ("The head's pod or the engine's pod was not seen.",))
        planned = PlannedFacts.of(view.trial)
        if not planned.disk_image:
            told = "No disk image was prepared for the target before the trial was opened."
            return Verdict(self.name, "no" if planned.known else "unknown", (told,))
        arrived = [self._arrived(view, pod, how) for pod, how in arrivals(view)]
        return all_of(self.name, [*self._identity(view, planned), *arrived])

    def kept(self, view: TraceView) -> Verdict:
        """Say whether the nodes have the disk that was prepared, and it holds the image that ran."""
        claim, planned = f"{self.name}_kept", PlannedFacts.of(view.trial)
        if not planned.disk_image:
            return Verdict(claim, "no", ("No disk image was prepared for the target before the trial was opened.",))
        # An image on a node that is older than the trial was put there by an earlier pull, not by its disk.
        old = [
            Verdict(claim, "no", (f"Node {node.name} was there before the submission, and earlier pods filled it.",))
            for pod in view.serving_pods
            if (node := view.node_of(pod)) is not None and view.younger_than_submission(node) is not True
        ]
        return all_of(claim, [*self._identity(view, planned), *old])

    def undeclared(self, view: TraceView) -> str | None:
        """Return what says that a pod's node has a secondary boot disk of container images, or None."""
        for node in filter(None, map(view.node_of, view.serving_pods)):
            for disk, mode in (_disks_of(node) or {}).items():
                if mode.startswith(f"{MODE}."):
                    return f"Node {node.name} has a secondary boot disk of container images from {disk}."
        return None

    def _identity(self, view: TraceView, planned: PlannedFacts) -> list[Verdict]:
        pods = view.serving_pods
        return [part for pod in pods for part in (self._has_disk(view, pod, planned), self._holds(pod, planned))]

    def _has_disk(self, view: TraceView, pod: History, planned: PlannedFacts) -> Verdict:
        node = view.node_of(pod)
        disks = _disks_of(node)
        if node is None or disks is None:
            return Verdict(self.name, "unknown", (f"The node of pod {pod.name}, or its labels, were not seen.",))
        wanted = planned.disk_image.rpartition("/")[2]
        project = planned.disk_image.removeprefix("projects/").partition("/")[0]
        if disks.get(wanted) == f"{MODE}.{project}":
            return Verdict(self.name, "yes", (f"Node {node.name} has a secondary boot disk from {wanted}.",))
        others = ", ".join(sorted(f"{disk} ({mode})" for disk, mode in disks.items())) or "none"
        told = f"Node {node.name} has no secondary boot disk of container images from {wanted} (it has: {others})."
        return Verdict(self.name, "no", (told,))

    def _holds(self, pod: History, planned: PlannedFacts) -> Verdict:
        ran, held = image_digest(pod), planned.disk_digest
        if not ran or not held:
            told = f"Which image pod {pod.name} ran, or which one the disk image holds, is not known."
            return Verdict(self.name, "unknown", (told,))
        if ran == held:
            return Verdict(self.name, "yes", (f"Pod {pod.name} ran {ran}, which the disk image holds.",))
        return Verdict(self.name, "no", (f"Pod {pod.name} ran {ran}, and the disk image holds {held}.",))

    def _arrived(self, view: TraceView, pod: History, how: ImageArrival) -> Verdict:
        """Judge a pull by its rate. A node that says that it streams the image read it from elsewhere, at least in
        part.
        """
        if streaming_signals(view, pod):
            told = f"The node streamed the image of pod {pod.name}: whether the disk was read is not known."
            return Verdict(self.name, "unknown", (told, *how.evidence))
        rate = how.rate_bytes_s
        if rate is None or (how.size_bytes or 0) < JUDGED_BYTES:
            told = f"How fast the image of pod {pod.name} arrived is not known."
            return Verdict(self.name, "unknown", (told, *how.evidence))
        told = f"The image of pod {pod.name} arrived at {rate / 1e6:.0f} MB/s"
        if rate > IMPLAUSIBLE_BYTES_S:
            return Verdict(self.name, "yes", (f"{told}, too fast for a network.", *how.evidence))
        if rate <= FULL_PULL_BYTES_S:
            return Verdict(self.name, "no", (f"{told}, as fast as a full pull.", *how.evidence))
        return Verdict(self.name, "unknown", (f"{told}: a part of it may have been pulled.", *how.evidence))


def _disks_of(node: History | None) -> dict[str, str] | None:
    """Return the secondary boot disks of a node as its labels name them, image -> mode and project; None: not seen."""
    labels = mapping(dig(node.last, "metadata", "labels")) if node is not None else {}
    if not labels:
        return None
    return {key.removeprefix(LABEL): text(value) for key, value in labels.items() if key.startswith(LABEL)}


def _target_problems(target: Target) -> list[str]:
    name, profile, found = PreloadedDisk.name, target.nodes, []
    if profile.autoscaler != "native" or profile.options.get("auto_provisioning"):
        found.append(
            f"{name} needs node pools of the target's own, which get the disk when they are made: use autoscaler "
            "native with gpu_instance_type, without auto_provisioning."
        )
    if not profile.cpu_instance_type:
        found.append(f"{name}: the head's node needs the disk too: set cpu_instance_type, so that it has a pool.")
    minor = profile.kubernetes_minor.rpartition(".")[2]
    if minor.isdigit() and int(minor) < _SINCE_MINOR:
        found.append(f"{name} needs GKE 1.{_SINCE_MINOR}.3 or newer, and the target says {profile.kubernetes_minor}.")
    if mapping(target.options.get("snapshot")).get("volume_initialization_rate_mib_s") is not None:
        found.append(f"{name}: volume_initialization_rate_mib_s is a setting of EBS: leave it out on GKE.")
    return found
