"""Evidence about images, switches and cold starts; unknown never stands for yes."""

import copy
from typing import Any

import pytest
from proof.generated import generate

from airflow_llm_provisioning.core.engine_caches import engine_finds
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
    """Return a seed whose worker has a new node."""
    return next(seed for seed in range(50) if "worker.node_created" in generate(seed).truth)


def altered(seed: int, change: Any) -> TraceView:
    """Return the view of a deployment with `change(line)` applied to copies of its lines; None drops a line."""
    lines = [change(copy.deepcopy(line)) for line in generate(seed).lines]
    return TraceView([line for line in lines if line is not None])


def test_a_standing_node_is_warm_and_a_young_one_cold() -> None:
    """The generator's head is an hour old; with a new head and worker the start is cold."""
    seed = fresh_seed()
    assert cold_start(altered(seed, lambda line: line)).value == "no"

    def young_head(line: dict[str, Any]) -> dict[str, Any]:
        if line["resource"] == "nodes":
            line["object"]["metadata"]["creationTimestamp"] = "2026-05-04T14:00:00Z"
        return line

    assert cold_start(altered(seed, young_head)).value == "yes"
    unseen = altered(seed, lambda line: None if line["resource"] == "nodes" else line)
    assert cold_start(unseen).value == "unknown"


@pytest.mark.parametrize("said", ["yes", "no", "unknown"])
def test_what_is_kept_warm_on_purpose_counts_as_cold_only_if_it_is_the_prepared_one(said: Any) -> None:
    """The generator's head is on an hour-old node. Only the kind that is kept is answered by the treatment."""
    view = altered(fresh_seed(), lambda line: line)
    node = Verdict("capacity_kept", said, ("Node n has the uid of the prepared one.",))
    both = cold_start(view, {"node": node, "image_cache": node})
    assert both.value == said
    assert node.evidence[0] in both.evidence
    assert cold_start(view, {"weights": node}).value == "no"
    assert cold_start(view, {"weights": node}).evidence == cold_start(view).evidence


def test_an_image_on_a_kept_node_must_be_kept_too() -> None:
    """A node that was kept on purpose with an image that something else left on it is not cold."""
    kept = {"node": Verdict("capacity_kept", "yes", ("It is the prepared node.",))}

    def present(line: dict[str, Any]) -> dict[str, Any] | None:
        if line["resource"].startswith("events") and line["object"].get("reason") in ("Pulled", "Pulling"):
            if line["object"]["reason"] == "Pulling":
                return None
            for key in ("message", "note"):
                if line["object"].get(key):
                    line["object"][key] = 'Container image "i" already present on machine'
        return line

    view = altered(fresh_seed(), present)
    assert cold_start(view, kept).value == "no"
    assert cold_start(view, kept | {"image_cache": kept["node"]}).value == "yes"


def test_a_switch_must_be_on_in_both_pods() -> None:
    """A switch in one pod only is off; a redacted or absent value is not on."""

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
def test_statements_of_clouds_decide_the_verdict(answers: tuple[bool | None, ...], value: str) -> None:
    """Without a statement, and with a contradiction, the verdict is unknown."""
    assert cloud_says(evidence(*answers), "c").value == value


@pytest.mark.parametrize(
    ("values", "value"),
    [((), "unknown"), (("yes", "yes"), "yes"), (("yes", "unknown"), "unknown"), (("unknown", "no"), "no")],
)
def test_all_of_needs_every_yes(values: tuple[Any, ...], value: str) -> None:
    """One no gives no; otherwise anything but every yes is unknown; without claims the verdict is unknown."""
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
def test_another_image_is_not_the_variants(served: str, value: str) -> None:
    """The recipe's base and the prepared image belong to the variant; any other image may contain what a baseline
    lacks.
    """
    trial = {
        "image": served,
        "recipe": {"base": "base:1", "base_digest": None, "pip": []},
        "prepared": {"image": "ours:r-1", "digest": "sha256:a"},
    }

    def with_trial(line: Any) -> Any:
        if line["resource"] == "trace" and line["type"] == "HEADER":
            line["object"]["trial"] = trial
        if line["resource"] == "pods":
            line["object"]["spec"]["containers"] = [{"name": "ray", "image": served}]
        return line

    assert variant_image(altered(1, with_trial)).value == value


@pytest.mark.parametrize(("ran", "value"), [("sha256:a", "yes"), ("sha256:b", "no")])
def test_another_digest_under_the_prepared_reference_is_another_image(ran: str, value: str) -> None:
    """A tag that moved, or a snapshot of its earlier image, gives another image."""
    trial = {
        "image": "ours:r-1",
        "recipe": {"base": "base:1", "base_digest": None, "pip": []},
        "prepared": {"image": "ours:r-1", "digest": "sha256:a"},
    }

    def with_trial(line: Any) -> Any:
        if line["resource"] == "trace" and line["type"] == "HEADER":
            line["object"]["trial"] = trial
        if line["resource"] == "pods":
            line["object"]["spec"]["containers"] = [{"name": "c", "image": "ours:r-1"}]
            line["object"].setdefault("status", {})["containerStatuses"] = [{"name": "c", "imageID": f"ours@{ran}"}]
        return line

    assert variant_image(altered(1, with_trial)).value == value


@pytest.mark.parametrize(
    ("head", "worker", "planned", "value"),
    [
        ("base:1", "base:1", ["base:1"], "yes"),
        ("other:1", "other:1", ["base:1"], "no"),
        ("base:1", "other:1", ["base:1"], "no"),
        # A user's manifest may give its workers an image of their own.
        ("base:1", "workers:1", ["base:1", "workers:1"], "yes"),
    ],
)
def test_pods_with_an_image_outside_the_plan_do_not_run_the_variants(
    head: str, worker: str, planned: list[str], value: str
) -> None:
    """The header holds the planned images. A pod that was given another one says no."""
    trial = {"image": "base:1", "images": planned, "recipe": {"base": "base:1", "base_digest": None, "pip": []}}

    def with_images(line: Any) -> Any:
        found = line["object"]
        if line["resource"] == "trace" and line["type"] == "HEADER":
            found["trial"] = trial
        if line["resource"] == "pods":
            is_head = found["metadata"]["labels"]["ray.io/node-type"] == "head"
            found["spec"]["containers"] = [{"name": "ray", "image": head if is_head else worker}]
        return line

    assert variant_image(altered(1, with_images)).value == value


def test_what_the_engine_found_ready_makes_a_start_warm() -> None:
    """Compiled graphs from a cache make a start warm, even on new nodes."""
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
    assert engine_finds(found) == (("compile_cache", "no", f"Engine: {line}"),)


@pytest.mark.parametrize(
    ("log", "claim", "value"),
    [
        ("Loading model weights took 7.1659 GB", True, "unknown"),
        ("Loading model weights took 7.1659 GB", False, "yes"),
        ("Time spent downloading weights for m: 40 seconds\nLoading weights took 9 seconds", True, "yes"),
    ],
)
def test_a_cache_that_cannot_be_excluded_is_a_doubt(log: str, claim: bool, value: str) -> None:
    """On new nodes, an engine that logs no download and a volume that outlives the pod: cold is unknown, not yes."""
    seed = fresh_seed()

    def with_cache(line: dict[str, Any]) -> dict[str, Any]:
        if line["resource"] == "nodes":
            line["object"]["metadata"]["creationTimestamp"] = "2026-05-04T14:00:00Z"
        if line["resource"] == "pods" and claim:
            spec = line["object"]["spec"]
            spec["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "kept"}}]
            spec["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/models/.cache/huggingface"}]
        return line

    lines = [with_cache(copy.deepcopy(item)) for item in generate(seed).lines if item["resource"] != "ray-log-file"]
    told = {"received_at": lines[-1]["received_at"], "resource": "ray-log-file", "filename": "worker-1.out"}
    verdict = cold_start(TraceView([*lines, {**told, "object": f"Starting to load model m...\n{log}\n"}]))
    assert verdict.value == value
    assert any("may be on the volume" in sentence for sentence in verdict.evidence) is (value == "unknown")
