"""How an image reached its node: pulled, present, streamed, or unknown."""

import copy
from typing import Any

import pytest
from proof.generated import generate

from airflow_llm_provisioning.core.image_arrival import go_duration_s, image_arrival, pulled_figures
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
