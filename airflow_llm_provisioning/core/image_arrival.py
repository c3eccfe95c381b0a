"""How a pod's image reached its node, from the kubelet's events, the node's events and the image's digest.

This module knows no treatment.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.trace.objects import Event, History, container_statuses, containers
from airflow_llm_provisioning.core.trace.view import TraceView

Delivered = Literal["pulled", "present", "streamed", "unknown"]

# Assumption: registry, network and decompression are never faster. Published full pulls move 0.1 to 0.15 GB/s
# (data-on-eks ray example, 11.6 GB in 121 s; acr #873, 4.08 GB in 168.8 s). Streamed pulls appear to move tens of GB/s.
IMPLAUSIBLE_BYTES_S: Final = 500_000_000
# Assumption: up to here a pull may be a full one: some margin above the published ones. Between the two, a rate alone
# proves nothing: a real streamed "pull" of 1.0 to 1.7 GB took 3.44 s (a Microsoft support blog, 2023-12).
FULL_PULL_BYTES_S: Final = 200_000_000
# Below this size every pull is short, and its rate proves nothing.
JUDGED_BYTES: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ImageArrival:
    """How a pod's image reached its node, as reported by the kubelet and the node.

    `pull_s`: the kubelet's figure without the wait for other pulls; `size_bytes`: compressed. Both are None if no event
    contains them. A streamed image reports its full size, so no bandwidth can be computed from it.
    """

    delivered: Delivered
    image: str | None
    pull_s: float | None
    size_bytes: int | None
    evidence: tuple[str, ...]

    @property
    def rate_bytes_s(self) -> float | None:
        """Size divided by pull time; meaningful only for `pulled`."""
        return self.size_bytes / self.pull_s if self.size_bytes and self.pull_s else None


def image_arrival(view: TraceView, pod: History | None) -> ImageArrival:
    """Return how a pod's image reached its node.

    The sources are the pull events of the first container that has one, and the node's streaming events. With
    `wait-gcs-ready` the worker's pull belongs to that init container (KubeRay 1.x).
    """
    if pod is None:
        return ImageArrival("unknown", None, None, None, ("The recording contains no such pod.",))
    pulls = kubelet_pulls(view, pod)
    full = next((event for event in pulls if event.reason == "Pulled" and _PULLED.search(event.message)), None)
    present = next((event for event in pulls if _found_present(pod, event)), None)
    image = _image_named(pulls)
    streaming = streaming_signals(view, pod)
    if full is not None:
        pull_s, size = pulled_figures(full.message)
        return _arrived_by_pull(pod.name, full, image, pull_s, size, streaming)
    if present is not None:
        sentence = f"Pod {pod.name}: {present.message} (event Pulled)"
        delivered: Delivered = "streamed" if streaming else "present"
        return ImageArrival(delivered, image, None, None, (sentence, *streaming))
    return ImageArrival("unknown", image, None, None, (f"Pod {pod.name}: no Pulled event was recorded.", *streaming))


def arrival_told(pod: str, images: Sequence[str], events: Sequence[Event]) -> ImageArrival:
    """Return how the image of a pod came, from events alone: those of the pod's pulls, and those of its node about
    streaming. `pod`: its name; `images`: of its containers.
    """
    pulls = [event for event in events if event.reason in ("Pulling", "Pulled") and not _by_nodemon(event)]
    streaming = [
        f"Node {event.involved_name}: {event.message} (event ImageStreaming)"
        for event in events
        if event.reason == "ImageStreaming" and any(_same_image(image, event.message) for image in images)
    ]
    streaming += [
        f"Pod {pod}: {event.message} (event {event.reason})" for event in events if _nodemon_streams(event, images)
    ]
    full = next((event for event in pulls if event.reason == "Pulled" and _PULLED.search(event.message)), None)
    if full is None:
        return ImageArrival("unknown", _image_named(pulls), None, None, (f"Pod {pod}: no pull was recorded.",))
    return _arrived_by_pull(pod, full, _image_named(pulls), *pulled_figures(full.message), streaming)


@dataclass(frozen=True, slots=True)
class StreamedImage:
    """What AKS's acr-nodemon reports of a streamed pull: the image as the pod names it, and the artifact's digest."""

    image: str
    artifact: str


def streamed_image(message: str) -> StreamedImage | None:
    """Read acr-nodemon's event about a pod, AKS's positive signal of artifact streaming; None for any other message.

    `Streaming enabled for "<image>", upgraded to streaming artifact with digest "sha256:...", container started in 5s`
    (reason Pulling, without a time stamp; recorded on Kubernetes 1.27.3, a Microsoft support blog, 2023-12-24).
    """
    found = _UPGRADED.search(message)
    return StreamedImage(found[1], found[2]) if found else None


def kubelet_pulls(view: TraceView, pod: History) -> list[Event]:
    """Return the events Pulling and Pulled of a pod's kubelet about its Ray container's image, or, where there is none,
    about any container's. acr-nodemon's own have the same reason, and so have those of image volumes (`volume_pulls`).

    An init container or a sidecar may have another image, and a small one is pulled first.
    """
    found = [event for event in view.events_of(pod) if event.reason in ("Pulling", "Pulled")]
    found = [event for event in found if not _by_nodemon(event) and not _of_volume(pod, event)]
    beside = set(images_of(pod)) - {serving_image(pod)}
    return [event for event in found if _image_named([event]) not in beside] or found


def volume_pulls(view: TraceView, pod: History) -> list[Event]:
    """Return the events Pulling and Pulled of a pod's image volumes. They name no container (kubelet 1.33 to 1.35,
    kuberuntime_manager.go, getImageVolumes).
    """
    found = [event for event in view.events_of(pod) if event.reason in ("Pulling", "Pulled")]
    return [event for event in found if not _by_nodemon(event) and _of_volume(pod, event)]


def _of_volume(pod: History, event: Event) -> bool:
    named = _QUOTED.search(event.message)
    volumes = (mapping(volume) for volume in items(dig(pod.last, "spec", "volumes")))
    references = {text(dig(volume, "image", "reference")) for volume in volumes} - {""}
    return not event.container and named is not None and named.group(1) in references


def streaming_signals(view: TraceView, pod: History) -> tuple[str, ...]:
    """Return the evidence that this pod's image was streamed.

    GKE: a Node event `ImageStreaming`, "Image <ref> is backed by image streaming." (PerfKitBenchmarker
    tests/kubernetes_conditions_test.py). AKS: an event of acr-nodemon on the pod (`streamed_image`); a pod condition's
    positive wording is not published, so any text about streaming that is no refusal counts there (AgentBaker #3711,
    AKS #3928).
    """
    images = images_of(pod)
    found = [
        f"Node {event.involved_name}: {event.message} (event ImageStreaming)"
        for event in view.events_of(view.node_of(pod), "ImageStreaming")
        if any(_same_image(image, event.message) for image in images)
    ]
    found += [
        f"Pod {pod.name}: {event.message} (event {event.reason})"
        for event in view.events_of(pod)
        if _nodemon_streams(event, images)
    ]
    for entry in map(mapping, items(dig(pod.last, "status", "conditions"))):
        told = " ".join(text(entry.get(key)) for key in ("type", "reason", "message"))
        if entry.get("status") == "True" and _streams(told):
            found.append(f"Pod {pod.name}: condition {told}")
    return tuple(found)


def pulled_figures(message: str) -> tuple[float | None, int | None]:
    """Read seconds and bytes from a `Pulled` message, in each wording (kubelet up to 1.26, up to 1.29, later).

    The first duration is the pull alone; the one "including waiting" contains the wait in the queue.
    """
    match = _PULLED.search(message)
    size = _SIZE.search(message)
    return (go_duration_s(match.group(1)) if match else None), (int(size.group(1)) if size else None)


def go_duration_s(value: str) -> float | None:
    """Parse a duration in Go's format (`2m10.813s`, `796ms`) into seconds; None for anything else."""
    parts = _GO_PART.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        return None
    return float(sum(float(number) * _GO_UNITS[unit] for number, unit in parts))


def serving_image(pod: History) -> str:
    """Return the image of a pod's Ray container, its first (kuberay 1.7, RayContainerIndex); empty if unknown."""
    return next((text(mapping(spec).get("image")) for spec in items(dig(pod.last, "spec", "containers"))), "")


def images_of(pod: History | None) -> tuple[str, ...]:
    """Return the images in the specification of a pod's containers, each once."""
    specs = [*items(dig(pod.last if pod else None, "spec", "initContainers"))]
    specs += items(dig(pod.last if pod else None, "spec", "containers"))
    return tuple(dict.fromkeys(text(mapping(spec).get("image")) for spec in specs if mapping(spec).get("image")))


def image_digest(pod: History | None) -> str | None:
    """Return the digest (`sha256:...`) that a pod's main container ran, or None."""
    found: str | None = None
    for status in container_statuses(pod.last if pod else None):
        _, _, digest = text(status.get("imageID")).rpartition("@")
        found = digest if digest.startswith("sha256:") else found
    return found


_UPGRADED = re.compile(r'Streaming enabled for "([^"]+)", upgraded to streaming artifact with digest "(sha256:\w+)"')
_NODEMON = "acr-nodemon"
_PULLED = re.compile(r"Successfully pulled image .*? in ((?:\d+(?:\.\d+)?(?:ns|us|µs|ms|h|m|s))+)")
_SIZE = re.compile(r"Image size: (\d+) bytes")
_PRESENT = re.compile(r"already present on machine")
_QUOTED = re.compile(r'image "([^"]+)"')
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|h|m|s)")
_GO_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def _arrived_by_pull(
    pod: str, event: Event, image: str | None, pull_s: float | None, size: int | None, streaming: Sequence[str]
) -> ImageArrival:
    sentences = [f"Pod {pod}: {event.message} (event Pulled)", *streaming]
    delivered: Delivered = "streamed" if streaming else "pulled"
    fast = size is not None and pull_s is not None and size >= JUDGED_BYTES and size > pull_s * IMPLAUSIBLE_BYTES_S
    if fast and not streaming:
        delivered = "streamed"
        sentences.append(
            f"{size} bytes in {pull_s} s are too fast for a network: the image was mounted lazily or was already local."
        )
    return ImageArrival(delivered, image, pull_s, size, tuple(sentences))


def _image_named(pulls: Sequence[Event]) -> str | None:
    return next((match.group(1) for event in pulls if (match := _QUOTED.search(event.message))), None)


def _found_present(pod: History, event: Event) -> bool:
    """Return whether an event shows that an image was on the node before the pod. A second container of the pod always
    finds it.
    """
    if event.reason != "Pulled" or not _PRESENT.search(event.message):
        return False
    named = _QUOTED.search(event.message)
    users = [text(spec.get("name")) for spec in containers(pod.last) if named and spec.get("image") == named.group(1)]
    return not event.container or not users or event.container == users[0]


def _by_nodemon(event: Event) -> bool:
    return _NODEMON in event.component or streamed_image(event.message) is not None


def _nodemon_streams(event: Event, images: Sequence[str]) -> bool:
    told = streamed_image(event.message)
    if told is not None:
        return told.image in images
    # What it quotes is the image's name, which may hold any word.
    return _by_nodemon(event) and _streams(re.sub(r'"[^"]*"', "", event.message))


def _same_image(image: str, message: str) -> bool:
    return bool(image) and image in message


def _streams(told: str) -> bool:
    lower = told.lower()
    return "stream" in lower and not any(word in lower for word in ("disabled", "not ", "fail", "unsupported"))
