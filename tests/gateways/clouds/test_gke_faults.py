"""Every fault at every call that changes something: it ends as wanted, or in one sentence with nothing left over."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("google.cloud.container_v1", reason="needs the [google] extra")

from gke_world import BUILD, POOL, PROJECT, RECIPE, REGION, GoogleProject, finish, follow, google_project

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.workload import ImageRecipe
from llm_provisioning_simulator.clouds.gke.builds import ACTIVE
from llm_provisioning_simulator.world import Image

pytestmark = pytest.mark.gke

IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/theirs/ray:1"
DIGEST = "sha256:" + "a" * 64
BUILT = f"{REGION}-docker.pkg.dev/{PROJECT}/ray-serving/ray-serving:{ImageRecipe.from_dict(RECIPE).tag()}"
CLUSTERS = "container.projects.locations.clusters."
REQUESTS: dict[str, dict[str, Any]] = {
    "build_image": BUILD,
    "set_up_node_pool": {"cluster": "main", "pool": POOL, "target": "t"},
    "enable_streaming": {"image": IMAGE, "digest": DIGEST, "cluster": "main", "target": "t", "prewarm": True},
    "enable_streaming of a pool": {
        "image": IMAGE,
        "digest": DIGEST,
        "cluster": "main",
        "pools": ["gpu"],
        "target": "t",
    },
}
# Verb -> every call of it that changes something.
CHANGES = {
    "build_image": (
        "artifactregistry.projects.locations.repositories.create",
        "cloudbuild.projects.builds.create",
        "artifactregistry.projects.locations.repositories.packages.versions.patch",
    ),
    "set_up_node_pool": (f"{CLUSTERS}nodePools.create",),
    "enable_streaming": (
        "serviceusage.services.enable",
        f"{CLUSTERS}update",
        "artifactregistry.projects.locations.repositories.prewarmArtifact",
    ),
    "enable_streaming of a pool": (f"{CLUSTERS}nodePools.update",),
}
CALLS = [(verb, method) for verb, methods in CHANGES.items() for method in methods]
# Answered at once, without an operation that could fail later or be forgotten.
WITHOUT_OPERATION = {CHANGES["build_image"][1], CHANGES["build_image"][2]}
LONG = [(verb, method) for verb, method in CALLS if method not in WITHOUT_OPERATION]
QUOTA = "Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute'"


@pytest.fixture
def google() -> Iterator[GoogleProject]:
    with google_project() as project:
        project.cluster()
        project.world.push(Image(IMAGE, DIGEST, (100, 200), {}, {}, REGION, datetime(2026, 1, 1, tzinfo=UTC)))
        name = f"projects/{PROJECT}/locations/{REGION}/repositories/theirs"
        project.stand_in.registry.repositories[name] = {"name": name, "format": "DOCKER", "mode": "STANDARD_REPOSITORY"}
        yield project


def attempt(google: GoogleProject, verb: str) -> Operation:
    """Follow a verb to its end; Google's forgetfulness is waited for by moving the gateway's clock, not by sleeping."""
    cloud = google.cloud()
    seen: list[str] = []

    def stuck(operation: Operation) -> bool:
        seen.append(str(operation.as_dict()))
        return len(seen) > 25 and len(set(seen[-25:])) == 1

    operation = follow(cloud, cloud.start(verb.partition(" ")[0], REQUESTS[verb]), until=stuck)
    google.ahead += timedelta(minutes=6)
    return follow(cloud, operation)


def wanted(google: GoogleProject, verb: str) -> bool:
    """Say whether what a verb is for is so."""
    cluster, world = google.world.clusters["main"], google.world
    prewarmed = (REGION, DIGEST) in world.gke_prewarmed_until
    return {
        "build_image": BUILT in world.images and len(google.stand_in.registry.annotations) == 1,
        "set_up_node_pool": "gpu-streaming" in cluster.pools and cluster.pools["gpu-streaming"].max_nodes == 2,
        "enable_streaming": world.gke_streaming_api_enabled and cluster.streaming and prewarmed,
        "enable_streaming of a pool": world.gke_streaming_api_enabled and cluster.pools["gpu"].streaming,
    }[verb]


def left_over(google: GoogleProject) -> list[str]:
    """Return what costs or blocks and should not be there after a failure: pools of ours, builds that run."""
    running = [build["id"] for build in google.stand_in.builds.builds.values() if build["status"] in ACTIVE]
    return [*running, *(set(google.world.clusters["main"].pools) - {"cpu", "gpu"})]


def sentence(operation: Operation, *said: str) -> str:
    """Return the error of a failed operation, after looking at its form."""
    assert operation.state == "failed", operation
    assert operation.error is not None
    text = operation.error
    assert "\n" not in text
    # A link ends without a full stop, so that it can be clicked.
    assert text.endswith(".") or "Its log: https://" in text
    assert not re.search(r"https?://127|Traceback|Error\(|<\w+ object|None", text), text
    for words in said:
        assert words in text
    return text


def fail(google: GoogleProject, method: str, **fault: Any) -> None:
    google.stand_in.faults[method] = {"times": 1, **fault}


@pytest.mark.parametrize(("verb", "method"), CALLS)
def test_a_refusal_for_want_of_permission_is_one_sentence(google: GoogleProject, verb: str, method: str) -> None:
    """PERMISSION_DENIED: what was tried, Google's words, the role's place; nothing runs on."""
    fail(google, method, kind="http", code="PERMISSION_DENIED", message="Permission 'x.y' denied", times=0)
    sentence(attempt(google, verb), "Google refused to", "Permission 'x.y' denied", "docs/gke.md lists")
    assert left_over(google) == []


@pytest.mark.parametrize(("verb", "method"), CALLS)
def test_an_api_that_was_closed_meanwhile_is_one_sentence(google: GoogleProject, verb: str, method: str) -> None:
    """SERVICE_DISABLED after the checks: enabling it is advised, not a role."""
    fail(google, method, kind="http", code="PERMISSION_DENIED", message="it is off", reason="SERVICE_DISABLED", times=0)
    text = sentence(attempt(google, verb), "it is off", "Enable that API")
    assert "role" not in text
    assert left_over(google) == []


@pytest.mark.parametrize(("verb", "method"), LONG)
@pytest.mark.parametrize(
    ("code", "message", "advised"),
    [
        ("INTERNAL", "an internal error has occurred", "See Google's message"),
        ("RESOURCE_EXHAUSTED", QUOTA, "Ask for more quota"),
    ],
)
def test_an_operation_that_is_done_with_an_error_is_a_failure(
    google: GoogleProject, verb: str, method: str, code: str, message: str, advised: str
) -> None:
    """DONE is no success: the operation's error is read, told with advice, and what it left is deleted."""
    fail(google, method, kind="operation_error", code=code, message=message, times=0)
    sentence(attempt(google, verb), "Could not", message, advised)
    assert not wanted(google, verb)
    assert left_over(google) == []


@pytest.mark.parametrize(("verb", "method"), LONG)
def test_an_operation_that_vanished_is_judged_by_its_object(google: GoogleProject, verb: str, method: str) -> None:
    """It cannot be asked for any more, but its result exists."""
    fail(google, method, kind="operation_vanishes")
    assert attempt(google, verb).error is None
    assert wanted(google, verb)


@pytest.mark.parametrize(("verb", "method"), CALLS)
@pytest.mark.parametrize("fault", ["lost_reply", "UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_what_passes_by_waiting_is_waited_for(google: GoogleProject, verb: str, method: str, fault: str) -> None:
    """A lost reply, a 503 and a 429: it ends as wanted, and nothing was made twice."""
    what = {"kind": fault} if fault == "lost_reply" else {"kind": "http", "code": fault, "message": "slow down"}
    fail(google, method, **what)
    assert attempt(google, verb).error is None
    assert wanted(google, verb)
    assert len(google.stand_in.builds.builds) <= 1
    assert len(left_over(google)) == (verb == "set_up_node_pool")


@pytest.mark.parametrize("status", ["FAILURE", "TIMEOUT", "EXPIRED"])
def test_a_build_that_ends_badly_leaves_no_image_and_no_build(google: GoogleProject, status: str) -> None:
    """Its status and detail are told; the repository stays, labelled ours, for the next attempt."""
    fail(google, CHANGES["build_image"][1], kind="build_status", status=status, detail="pip found no vllm")
    sentence(attempt(google, "build_image"), f"ended with {status}: pip found no vllm")
    assert not wanted(google, "build_image")
    assert left_over(google) == []
    assert finish(google.cloud(), "build_image", BUILD).error is None
