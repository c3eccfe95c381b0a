"""How a pod's image reached its node, as far as the kubelet, the node and the image's own digest tell.

It knows no treatment and judges none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.trace.objects import Event, History, container_statuses, containers
from airflow_llm_provisioning.core.trace.view import TraceView

Delivered = Literal["pulled", "present", "streamed", "unknown"]

# Assumed: no registry, network and decompression give more. Full pulls that were published move 0.1 to 0.15 GB/s
# (data-on-eks ray example, 11.6 GB in 121 s; acr #873, 4.08 GB in 168.8 s), streamed ones seem to move tens.
IMPLAUSIBLE_BYTES_S: Final = 500_000_000
# Below this a pull is short whatever happened, and a rate says nothing.
JUDGED_BYTES: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ImageArrival:
    """How a pod's image reached its node, as far as the kubelet and the node said.

    `pull_s`: the kubelet's own figure, without waiting for other pulls; `size_bytes`: compressed. Both None where no
    event says so. A streamed image still reports its full size: no bandwidth can be computed from it.
    """

    delivered: Delivered
    image: str | None
    pull_s: float | None
    size_bytes: int | None
    evidence: tuple[str, ...]

    @property
    def rate_bytes_s(self) -> float | None:
        """Size over pull time, meaningful only for `pulled`."""
        return self.size_bytes / self.pull_s if self.size_bytes and self.pull_s else None


def image_arrival(view: TraceView, pod: History | None) -> ImageArrival:
    """Say how a pod's image reached its node: from the pull events of its first container that has one, and the node's
    own streaming events. With `wait-gcs-ready` the worker's pull is charged to that init container (KubeRay 1.x).
    """
    if pod is None:
        return ImageArrival("unknown", None, None, None, ("The pod was not seen.",))
    pulls = [event for event in view.events_of(pod) if event.reason in ("Pulling", "Pulled")]
    full = next((event for event in pulls if event.reason == "Pulled" and _PULLED.search(event.message)), None)
    present = next((event for event in pulls if _found_present(pod, event)), None)
    image = _image_named(pulls)
    streaming = streaming_signals(view, pod)
    if full is not None:
        pull_s, size = pulled_figures(full.message)
        return _arrived_by_pull(pod, full, image, pull_s, size, streaming)
    if present is not None:
        sentence = f"Pod {pod.name}: {present.message} (event Pulled)"
        delivered: Delivered = "streamed" if streaming else "present"
        return ImageArrival(delivered, image, None, None, (sentence, *streaming))
    return ImageArrival("unknown", image, None, None, (f"Pod {pod.name}: no Pulled event was seen.", *streaming))


def streaming_signals(view: TraceView, pod: History) -> tuple[str, ...]:
    """Return what says that this pod's image was streamed.

    GKE: a Node event `ImageStreaming`, "Image <ref> is backed by image streaming." (PerfKitBenchmarker
    tests/kubernetes_conditions_test.py). AKS: a pod condition or event of acr-nodemon whose positive wording is not
    published, so any that speaks of streaming and is not a refusal counts (AgentBaker #3711, AKS #3928).
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
        if _streams(f"{event.reason} {event.message}")
    ]
    for entry in map(mapping, items(dig(pod.last, "status", "conditions"))):
        told = " ".join(text(entry.get(key)) for key in ("type", "reason", "message"))
        if entry.get("status") == "True" and _streams(told):
            found.append(f"Pod {pod.name}: condition {told}")
    return tuple(found)


def pulled_figures(message: str) -> tuple[float | None, int | None]:
    """Read seconds and bytes out of a `Pulled` message, in each wording (kubelet to 1.26, to 1.29, since).

    The first duration is the pull alone; the one "including waiting" counts the queue too.
    """
    match = _PULLED.search(message)
    size = _SIZE.search(message)
    return (go_duration_s(match.group(1)) if match else None), (int(size.group(1)) if size else None)


def go_duration_s(value: str) -> float | None:
    """Read a duration as Go prints it (`2m10.813s`, `796ms`) in seconds, or None."""
    parts = _GO_PART.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        return None
    return float(sum(float(number) * _GO_UNITS[unit] for number, unit in parts))


def images_of(pod: History | None) -> tuple[str, ...]:
    """Return the images of a pod's containers as specified, each once."""
    specs = [*items(dig(pod.last if pod else None, "spec", "initContainers"))]
    specs += items(dig(pod.last if pod else None, "spec", "containers"))
    return tuple(dict.fromkeys(text(mapping(spec).get("image")) for spec in specs if mapping(spec).get("image")))


def image_digest(pod: History | None) -> str | None:
    """Return the digest (`sha256:...`) that a pod's main container really ran, or None."""
    found: str | None = None
    for status in container_statuses(pod.last if pod else None):
        _, _, digest = text(status.get("imageID")).rpartition("@")
        found = digest if digest.startswith("sha256:") else found
    return found


_PULLED = re.compile(r"Successfully pulled image .*? in ((?:\d+(?:\.\d+)?(?:ns|us|µs|ms|h|m|s))+)")
_SIZE = re.compile(r"Image size: (\d+) bytes")
_PRESENT = re.compile(r"already present on machine")
_QUOTED = re.compile(r'image "([^"]+)"')
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|h|m|s)")
_GO_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def _arrived_by_pull(
    pod: History, event: Event, image: str | None, pull_s: float | None, size: int | None, streaming: Sequence[str]
) -> ImageArrival:
    sentences = [f"Pod {pod.name}: {event.message} (event Pulled)", *streaming]
    delivered: Delivered = "streamed" if streaming else "pulled"
    fast = size is not None and pull_s is not None and size >= JUDGED_BYTES and size > pull_s * IMPLAUSIBLE_BYTES_S
    if fast and not streaming:
        delivered = "streamed"
        sentences.append(f"{size} bytes in {pull_s} s were not moved over a network: mounted lazily, or local already.")
    return ImageArrival(delivered, image, pull_s, size, tuple(sentences))


def _image_named(pulls: Sequence[Event]) -> str | None:
    return next((match.group(1) for event in pulls if (match := _QUOTED.search(event.message))), None)


def _found_present(pod: History, event: Event) -> bool:
    """Whether an event says that an image was there before the pod: its second container finds it always."""
    if event.reason != "Pulled" or not _PRESENT.search(event.message):
        return False
    named = _QUOTED.search(event.message)
    users = [text(spec.get("name")) for spec in containers(pod.last) if named and spec.get("image") == named.group(1)]
    return not event.container or not users or event.container == users[0]


def _same_image(image: str, message: str) -> bool:
    return bool(image) and image in message


def _streams(told: str) -> bool:
    lower = told.lower()
    return "stream" in lower and not any(word in lower for word in ("disabled", "not ", "fail", "unsupported"))
