"""How an image reached its node: pulled, present, streamed, or unknown."""

import copy
from pathlib import Path
from typing import Any

import pytest
from proof.generated import generate
from replay_server import recorded

from airflow_llm_provisioning.core.image_arrival import (
    StreamedImage,
    go_duration_s,
    image_arrival,
    kubelet_pulls,
    pulled_figures,
    streamed_image,
)
from airflow_llm_provisioning.core.trace import TraceView


def altered(seed: int, change: Any) -> TraceView:
    """Return the view of a deployment with `change(line)` applied to copies of its lines; None drops a line."""
    lines = [change(copy.deepcopy(line)) for line in generate(seed).lines]
    return TraceView([line for line in lines if line is not None])


def dict_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@pytest.mark.parametrize(
    ("message", "figures"),
    [
        ('Successfully pulled image "x" in 2m10.813s', (130.813, None)),
        ('Successfully pulled image "x" in 796ms (1.2s including waiting)', (0.796, None)),
        ('Successfully pulled image "x" in 1h2m3s (1h2m3s including waiting). Image size: 12 bytes.', (3723.0, 12)),
        ('Container image "x" already present on machine', (None, None)),
        ('Container image "x" already present on machine and can be accessed by the pod', (None, None)),
    ],
)
def test_every_wording_of_pulled_is_read(message: str, figures: tuple[float | None, int | None]) -> None:
    """The wordings of three kubelet generations and of a present image are read."""
    assert pulled_figures(message) == figures


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "2m 3s"])
def test_what_is_no_duration_is_none(text: str) -> None:
    """An unreadable duration is missing, not zero."""
    assert go_duration_s(text) is None


def test_the_workers_pull_is_its_init_containers() -> None:
    """KubeRay's wait-gcs-ready pulls the worker's image, so the arrival is read there."""
    view = altered(1, lambda line: line)
    arrival = image_arrival(view, view.worker)
    assert arrival.delivered == "pulled"
    assert arrival.size_bytes == 11_600_000_000
    assert arrival.rate_bytes_s is not None


def test_a_small_image_that_is_pulled_before_is_not_the_serving_image() -> None:
    """An init container of the user's has an image of its own, pulled in a second: the Ray container's image counts."""
    note = 'Successfully pulled image "busybox:1.37.0" in 1s (1s including waiting). Image size: 2200000 bytes.'
    plain = altered(1, lambda line: line)
    assert plain.worker is not None
    (first, *_) = [event for event in plain.events_of(plain.worker) if event.reason == "Pulling"]

    def with_init(line: dict[str, Any]) -> dict[str, Any]:
        if line["resource"] == "pods" and line["object"]["metadata"]["uid"] == plain.worker.uid:  # type: ignore[union-attr]
            line["object"]["spec"].setdefault("initContainers", []).insert(0, {"name": "a", "image": "busybox:1.37.0"})
        if line["resource"].startswith("events") and line["object"]["metadata"]["uid"] == first.uid:
            line["object"] |= {"reason": "Pulled", "message" if "message" in line["object"] else "note": note}
        return line

    view = altered(1, with_init)
    arrival = image_arrival(view, view.worker)
    assert (arrival.size_bytes, arrival.delivered) == (11_600_000_000, "pulled")
    assert view.worker is not None
    assert not any("busybox" in event.message for event in kubelet_pulls(view, view.worker))


def test_a_pull_too_fast_for_a_network_was_not_pulled() -> None:
    """Gigabytes in a second were mounted, even if the kubelet reports a pull."""

    def quick(line: dict[str, Any]) -> dict[str, Any]:
        for key in ("message", "note"):
            if "Successfully" in str(dict_of(line["object"]).get(key)):
                line["object"][key] = 'Successfully pulled image "i" in 1.5s. Image size: 11600000000 bytes.'
        return line

    view = altered(1, quick)
    assert image_arrival(view, view.worker).delivered == "streamed"


def test_a_nodes_streaming_event_names_the_image() -> None:
    """GKE's node event names the streamed image; an event about another image proves nothing."""

    def told(image: str) -> TraceView:
        deployment = generate(1)
        event = {
            "metadata": {"uid": "s"}, "reason": "ImageStreaming",
            "message": f"Image {image} is backed by image streaming.",
            "involvedObject": {"kind": "Node", "name": "node-gpu", "uid": "node-gpu"},
        }  # fmt: skip
        line = {**deployment.lines[-1], "resource": "events", "type": "ADDED", "object": event}
        return TraceView([*deployment.lines, line])

    ours = told("registry.example/llm:1")
    assert image_arrival(ours, ours.worker).delivered == "streamed"
    theirs = told("registry.example/other:1")
    assert image_arrival(theirs, theirs.worker).delivered == "pulled"


def test_without_events_the_arrival_is_unknown() -> None:
    """Lost events do not prove that an image was present."""
    view = altered(1, lambda line: None if "events" in line["resource"] else line)
    assert image_arrival(view, view.worker).delivered == "unknown"


def test_the_second_container_of_an_image_proves_nothing() -> None:
    """The second container finds the image because the first one pulled it; that event may be lost."""

    def without_the_pull(line: dict[str, Any]) -> dict[str, Any] | None:
        obj = dict_of(line["object"])
        told = str(obj.get("message") or obj.get("note"))
        return None if "Successfully pulled" in told or told.startswith("Pulling image") else line

    view = altered(1, without_the_pull)
    assert image_arrival(view, view.worker).delivered == "unknown"


ARTIFACT = "sha256:2cba83dae18f99b6c958e9e34421dadaeee0db1cde4adc0241180de80efd4f34"
IMAGE = "registry.example/llm:1"


def upgraded(image: str = IMAGE) -> str:
    """Return acr-nodemon's message as recorded on Kubernetes 1.27.3."""
    return (
        f'Streaming enabled for "{image}", upgraded to streaming artifact with digest "{ARTIFACT}", '
        "container started in 5s"
    )


def with_pod_event(message: str, component: str = "acr-nodemon, kubelet", **fields: Any) -> TraceView:
    """Return a view in which the worker has one more event of reason Pulling, undated as acr-nodemon's is."""
    deployment = generate(1)
    worker = TraceView(deployment.lines).worker
    assert worker is not None
    event = {
        "metadata": {"uid": "nodemon"}, "reason": "Pulling", "message": message, "firstTimestamp": None,
        "lastTimestamp": None, "eventTime": None, "source": {"component": component, "host": "node-gpu"},
        "involvedObject": {"kind": "Pod", "name": worker.name, "uid": worker.uid},
        **fields,
    }  # fmt: skip
    line = {**deployment.lines[-1], "resource": "events", "type": "ADDED", "object": event}
    return TraceView([*deployment.lines, line])


def test_nodemons_event_names_image_and_artifact() -> None:
    """AKS's positive signal, transcribed from the recording; a kubelet's own messages are none."""
    assert streamed_image(upgraded()) == StreamedImage(IMAGE, ARTIFACT)
    assert streamed_image(f'Pulling image "{IMAGE}"') is None
    assert streamed_image(f'Streaming failed for "{IMAGE}"') is None


@pytest.mark.parametrize("component", ["acr-nodemon", "acr-nodemon, kubelet", ""])
def test_nodemons_event_proves_a_streamed_pull_and_is_no_pull_itself(component: str) -> None:
    """It has the kubelet's reason Pulling and no time stamp, so it is kept out of the pull's figures and milestones."""
    view = with_pod_event(upgraded(), component)
    arrival = image_arrival(view, view.worker)
    assert arrival.delivered == "streamed"
    assert ARTIFACT in " ".join(arrival.evidence)
    assert view.worker is not None
    assert all(streamed_image(event.message) is None for event in kubelet_pulls(view, view.worker))
    assert (arrival.pull_s, arrival.size_bytes) == (image_arrival(plain(), plain().worker).pull_s, 11_600_000_000)


def test_recorded_events_are_read(shared_folder: Path) -> None:
    """The recorded events of a streamed and of a plain pod of AKS: one signal, in the streamed pod alone."""
    pods = [line for line in recorded(shared_folder, "kubernetes/events-and-refusals.jsonl") if line["cloud"] == "aks"]
    signals = [
        [found for event in pod["events"] if (found := streamed_image(event.get("message", "")))]
        for pod in pods
        if "events" in pod
    ]
    assert [len(found) for found in signals] == [1, 0]
    assert signals[0][0].artifact == ARTIFACT
    pulls = [pulled_figures(event.get("message", ""))[0] for pod in pods for event in pod.get("events", ())]
    assert [figure for figure in pulls if figure is not None] == [3.442267417, 85.27926119]


def plain() -> TraceView:
    return TraceView(generate(1).lines)


@pytest.mark.parametrize(
    "message, component",
    [
        (upgraded("registry.example/other:1"), "acr-nodemon"),
        ('Pulling image "registry.example/streaming-llm:1"', "kubelet"),
        ('Successfully pulled image "registry.example/streaming-llm:1" in 90s', "kubelet"),
        ("Streaming failed, the plain image is pulled", "acr-nodemon"),
        ('Not supported: "registry.example/streaming-llm:1"', "acr-nodemon"),
    ],
)
def test_text_about_streaming_is_no_proof(message: str, component: str) -> None:
    """Another image, an image whose name holds the word, and a refusal leave the pull a pull."""
    view = with_pod_event(message, component)
    assert image_arrival(view, view.worker).delivered == "pulled"
