"""Evidence about images, switches and cold starts; unknown never stands for yes."""

import copy
from typing import Any

import pytest
from proof.generated import generate

from airflow_llm_provisioning.core.engine_caches import cache_hits
from airflow_llm_provisioning.core.image_arrival import go_duration_s, image_arrival, pulled_figures
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.verdicts import (
    Verdict,
    all_of,
    cloud_says,
    cold_start,
    recipe_packages,
    switch,
    variant_image,
)


def fresh_seed() -> int:
    """Return a seed whose worker got a new node."""
    return next(seed for seed in range(50) if "worker.node_created" in generate(seed).truth)


def altered(seed: int, change: Any) -> TraceView:
    """Return the view of a deployment with `change(line)` applied to copies of its lines; None drops a line."""
    lines = [change(copy.deepcopy(line)) for line in generate(seed).lines]
    return TraceView([line for line in lines if line is not None])


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
    """Kubelets of three generations, and the image that was there."""
    assert pulled_figures(message) == figures


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "2m 3s"])
def test_what_is_no_duration_is_none(text: str) -> None:
    """A duration that cannot be read is missing, not zero."""
    assert go_duration_s(text) is None


def test_the_workers_pull_is_its_init_containers() -> None:
    """KubeRay's wait-gcs-ready pulls the worker's image: the arrival is read there."""
    view = altered(1, lambda line: line)
    arrival = image_arrival(view, view.worker)
    assert arrival.delivered == "pulled"
    assert arrival.size_bytes == 11_600_000_000
    assert arrival.rate_bytes_s is not None


def test_a_pull_too_fast_for_a_network_was_not_pulled() -> None:
    """Gigabytes in a second were mounted, whatever the kubelet calls it."""

    def quick(line: dict[str, Any]) -> dict[str, Any]:
        for key in ("message", "note"):
            if "Successfully" in str(dict_of(line["object"]).get(key)):
                line["object"][key] = 'Successfully pulled image "i" in 1.5s. Image size: 11600000000 bytes.'
        return line

    view = altered(1, quick)
    assert image_arrival(view, view.worker).delivered == "streamed"


def test_a_nodes_streaming_event_names_the_image() -> None:
    """GKE says on the node which image it streams; another image's event says nothing about ours."""

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
    """Lost events are no evidence that an image was there."""
    view = altered(1, lambda line: None if "events" in line["resource"] else line)
    assert image_arrival(view, view.worker).delivered == "unknown"


def test_a_standing_node_is_warm_and_a_young_one_cold() -> None:
    """The generator's head stands for an hour; made young like the worker's, the start is cold."""
    seed = fresh_seed()
    assert cold_start(altered(seed, lambda line: line)).value == "no"

    def young_head(line: dict[str, Any]) -> dict[str, Any]:
        if line["resource"] == "nodes":
            line["object"]["metadata"]["creationTimestamp"] = "2026-05-04T14:00:00Z"
        return line

    assert cold_start(altered(seed, young_head)).value == "yes"
    unseen = altered(seed, lambda line: None if line["resource"] == "nodes" else line)
    assert cold_start(unseen).value == "unknown"


def test_a_switch_must_be_on_in_both_pods() -> None:
    """On in one pod only is off; a redacted or absent value is not on."""

    def with_env(*names: str) -> TraceView:
        def change(line: dict[str, Any]) -> dict[str, Any]:
            if line["resource"] == "pods" and line["object"]["metadata"]["uid"] in names:
                line["object"]["spec"]["containers"][0]["env"] = [{"name": "HF_XET_HIGH_PERFORMANCE", "value": "1"}]
            return line

        return altered(1, change)

    assert switch(with_env("pod-head", "pod-worker"), "HF_XET_HIGH_PERFORMANCE").value == "yes"
    assert switch(with_env("pod-head"), "HF_XET_HIGH_PERFORMANCE").value == "no"
    assert switch(TraceView([]), "HF_XET_HIGH_PERFORMANCE").value == "unknown"


def evidence(*answers: bool | None) -> TraceView:
    lines = [
        {"received_at": "2026-05-04T12:00:00Z", "type": "EVIDENCE", "resource": "trace",
         "object": {"claim": "c", "holds": holds, "detail": "d", "source": "s"}}
        for holds in answers
    ]  # fmt: skip
    return TraceView(lines)


@pytest.mark.parametrize(
    ("answers", "value"),
    [
        ((), "unknown"), ((None,), "unknown"), ((True,), "yes"), ((True, None), "yes"), ((False,), "no"),
        ((True, False), "unknown"),
    ],
)  # fmt: skip
def test_what_clouds_say_is_weighed(answers: tuple[bool | None, ...], value: str) -> None:
    """Silence is unknown, contradiction is unknown."""
    assert cloud_says(evidence(*answers), "c").value == value


@pytest.mark.parametrize(
    ("values", "value"),
    [((), "unknown"), (("yes", "yes"), "yes"), (("yes", "unknown"), "unknown"), (("unknown", "no"), "no")],
)
def test_all_of_needs_every_yes(values: tuple[Any, ...], value: str) -> None:
    """One no is no; anything short of every yes is unknown; of nothing nothing is known."""
    assert all_of("c", [Verdict("c", item) for item in values]).value == value


def test_recipe_packages_come_from_the_header() -> None:
    """Names are normalised; a header without recipe gives None, not an empty set."""
    lines = generate(1).lines
    lines[0]["object"]["trial"] = {"recipe": {"pip": ["hf_transfer==0.1.9"]}}
    assert recipe_packages(TraceView(lines)) == {"hf-transfer": "hf_transfer==0.1.9"}
    assert recipe_packages(TraceView([])) is None


def dict_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@pytest.mark.parametrize(
    ("served", "value"),
    [
        ("base:1", "yes"),
        ("ours:r-1", "yes"),
        ("ours@sha256:a", "yes"),
        ("somebodys:latest", "no"),
        ("ours@sha256:b", "no"),
        ("", "unknown"),
    ],
)
def test_an_image_of_somebodys_own_is_not_the_variants(served: str, value: str) -> None:
    """The recipe's base and what was prepared are the variant's; anything else may hold what a baseline lacks."""
    trial = {
        "image": served,
        "recipe": {"base": "base:1", "base_digest": None, "pip": []},
        "prepared": {"image": "ours:r-1", "digest": "sha256:a"},
    }

    def with_trial(line: Any) -> Any:
        if line["resource"] == "trace" and line["type"] == "HEADER":
            line["object"]["trial"] = trial
        return line

    assert variant_image(altered(1, with_trial)).value == value


@pytest.mark.parametrize(("ran", "value"), [("sha256:a", "yes"), ("sha256:b", "no")])
def test_another_digest_under_the_prepared_reference_is_another_image(ran: str, value: str) -> None:
    """A tag that moved, or a snapshot of what it led to before."""
    trial = {
        "image": "ours:r-1",
        "recipe": {"base": "base:1", "base_digest": None, "pip": []},
        "prepared": {"image": "ours:r-1", "digest": "sha256:a"},
    }

    def with_trial(line: Any) -> Any:
        if line["resource"] == "trace" and line["type"] == "HEADER":
            line["object"]["trial"] = trial
        if line["resource"] == "pods":
            line["object"].setdefault("status", {})["containerStatuses"] = [{"name": "c", "imageID": f"ours@{ran}"}]
        return line

    assert variant_image(altered(1, with_trial)).value == value


def test_what_the_engine_found_ready_makes_a_start_warm() -> None:
    """Compiled graphs from a cache, on nodes that are as young as can be."""
    seed = fresh_seed()
    line = "(EngineCore pid=9) INFO 05-04 12:00:01 [backends.py:256] Directly load the compiled graph(s) from the cache"

    def cold(item: dict[str, Any]) -> dict[str, Any]:
        if item["resource"] == "nodes":
            item["object"]["metadata"]["creationTimestamp"] = "2026-05-04T14:00:00Z"
        return item

    lines = [cold(copy.deepcopy(item)) for item in generate(seed).lines]
    assert cold_start(TraceView(lines)).value == "yes"
    log = {"received_at": lines[-1]["received_at"], "resource": "ray-log-file", "filename": "worker-1.out"}
    found = TraceView([*lines, {**log, "object": f"Starting\n{line}\n"}])
    assert cold_start(found).value == "no"
    assert cache_hits(found) == (f"Engine: {line}",)


def test_the_second_container_of_an_image_proves_nothing() -> None:
    """It finds the image there because the first one pulled it; that event may be lost."""

    def without_the_pull(line: dict[str, Any]) -> dict[str, Any] | None:
        obj = dict_of(line["object"])
        told = str(obj.get("message") or obj.get("note"))
        return None if "Successfully pulled" in told or told.startswith("Pulling image") else line

    view = altered(1, without_the_pull)
    assert image_arrival(view, view.worker).delivered == "unknown"
