"""Images on GKE: built once by Cloud Build, found again after any interruption."""

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.devtools.cloudbuild_v1", reason="needs the [google] extra")

from gke_world import BUILD, PROJECT, RECIPE, REGION, GoogleProject, finish, follow, google_project

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.workload import ImageRecipe
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.gateways.clouds.gke import build as gke_build

pytestmark = pytest.mark.gke

TAG = ImageRecipe.from_dict(RECIPE).tag()
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/ray-serving/ray-serving:{TAG}"


@pytest.fixture
def google() -> Iterator[GoogleProject]:
    with google_project() as project:
        yield project


def fail(google: GoogleProject, method: str, **fault: object) -> None:
    google.stand_in.faults[method] = {"times": 1, **fault}


CREATE_BUILD = "cloudbuild.projects.builds.create"
CREATE_REPOSITORY = "artifactregistry.projects.locations.repositories.create"


def test_build_makes_repository_and_image_and_reports_size_phases_and_price(google: GoogleProject) -> None:
    """What the Dockerfile says is in the registry under the content's tag; seconds per phase and dollars are told."""
    ended = finish(google.cloud(), "build_image", BUILD)
    assert ended.error is None
    assert ended.result is not None
    result = ended.result
    stored = google.world.images[IMAGE]
    assert result["image"] == IMAGE
    assert result["digest"] == stored.digest
    assert result["size_bytes"] == stored.compressed_bytes
    assert stored.packages["hf-transfer"] == "0.1.9"
    assert stored.env["HF_HUB_ENABLE_HF_TRANSFER"] == "1"
    assert result["reused"] is False
    assert set(result["phases"]) == {"repository", "queue", "setupbuild", "build", "push"}
    assert all(seconds > 0 for seconds in result["phases"].values())
    assert result["price_usd"] > 0
    assert "E2_HIGHCPU_8" in result["price_basis"]
    assert result["log_url"].startswith("https://console.cloud.google.com/")


def test_intent_is_written_before_anything_is_created(google: GoogleProject) -> None:
    """Repository, build and image are in the ledger before the first create, and closed as what they became."""
    operation = google.cloud().start("build_image", BUILD)
    intended = [kind for what, kind, _ in google.ledger.calls if what == "intend"]
    assert intended == ["repository", "image", "build"]
    assert google.calls("artifactregistry", "repositories.create") == 0
    assert google.calls("cloudbuild", "builds.create") == 0
    follow(google.cloud(), operation)
    assert google.ledger.states() == {"repository": "created", "image": "created", "build": "gone"}


def test_same_recipe_is_never_built_twice(google: GoogleProject) -> None:
    """A second request finds the tag: no build, no cost, and it says so."""
    finish(google.cloud(), "build_image", BUILD)
    again = finish(google.cloud(), "build_image", BUILD)
    assert again.result is not None
    assert again.result["reused"] is True
    assert again.result["price_usd"] == 0.0
    assert again.result["digest"] == google.world.images[IMAGE].digest
    assert google.calls("cloudbuild", "builds.create") == 1


def test_reuse_keeps_what_is_ours_for_longer(google: GoogleProject) -> None:
    """An image that is needed again does not expire by its first date, nor does its repository; never sooner."""
    finish(google.cloud(), "build_image", BUILD)
    (marks,) = google.stand_in.registry.annotations.values()
    finish(google.cloud(), "build_image", {**BUILD, "keep_days": 90})
    (longer,) = google.stand_in.registry.annotations.values()
    (repository,) = google.stand_in.registry.repositories.values()
    assert longer["llm-provisioning_expires"] > marks["llm-provisioning_expires"]
    assert repository["labels"]["llm-provisioning_expires"] == longer["llm-provisioning_expires"]
    finish(google.cloud(), "build_image", {**BUILD, "keep_days": 1})
    assert list(google.stand_in.registry.annotations.values()) == [longer]


def test_reused_image_of_somebody_else_is_not_marked(google: GoogleProject) -> None:
    """An image that others pushed under that very tag is used and stays theirs."""
    finish(google.cloud(), "build_image", BUILD)
    google.stand_in.registry.annotations.clear()
    google.stand_in.builds.builds.clear()
    again = finish(google.cloud(), "build_image", BUILD)
    assert again.result is not None
    assert again.result["reused"] is True
    assert google.stand_in.registry.annotations == {}


@pytest.mark.parametrize("stop_at", ["create repository", "building: QUEUED", "building: WORKING"])
def test_new_process_continues_from_the_first_operation(google: GoogleProject, stop_at: str) -> None:
    """Killed at any step, a new life that knows only the first operation ends well, with one build in all."""
    # Long enough that each state is seen on a busy machine.
    google.stand_in.builds._durations_s = {**google.stand_in.builds._durations_s, "build_queue": 20, "build_setup": 20}
    first = google.cloud().start("build_image", BUILD)
    seen = follow(google.cloud(), first, until=lambda operation: operation.step.startswith(stop_at))
    assert seen.step.startswith(stop_at), seen
    ended = follow(google.cloud(), first)
    assert ended.error is None
    assert ended.result is not None
    assert ended.result["reused"] is False
    assert google.calls("cloudbuild", "builds.create") == 1
    assert len(google.stand_in.registry.repositories) == 1


def test_killed_between_push_and_mark_the_image_is_still_marked(google: GoogleProject) -> None:
    """A life that begins after the push still annotates the image and tells its price."""
    first = google.cloud().start("build_image", BUILD)
    follow(google.cloud(), first, until=lambda _: IMAGE in google.world.images)
    google.stand_in.registry.annotations.clear()
    ended = follow(google.cloud(), first)
    assert ended.result is not None
    assert ended.result["price_usd"] > 0
    assert len(google.stand_in.registry.annotations) == 1


@pytest.mark.parametrize("method", [CREATE_BUILD, CREATE_REPOSITORY])
def test_lost_reply_of_a_create_doubles_nothing(google: GoogleProject, method: str) -> None:
    """The create happened but its answer was lost: what it made is found and followed."""
    fail(google, method, kind="lost_reply")
    ended = finish(google.cloud(), "build_image", BUILD)
    assert ended.error is None
    assert len(google.stand_in.builds.builds) == 1


def test_build_that_never_arrived_is_begun_again(google: GoogleProject) -> None:
    """503 at the create: after a while without a trace of it the build is begun, once."""
    fail(google, CREATE_BUILD, kind="http", code="UNAVAILABLE", message="try again")
    cloud = google.cloud()
    waiting = follow(cloud, cloud.start("build_image", BUILD), until=lambda o: "reply_lost_at" in o.progress)
    google.ahead = timedelta(seconds=gke_build.LOST_REPLY_S + 1)
    ended = follow(cloud, waiting)
    assert ended.error is None
    assert len(google.stand_in.builds.builds) == 1


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_busy_google_is_asked_again(google: GoogleProject, code: str) -> None:
    """429 and 503 on reads pass without a word."""
    for method in ("artifactregistry.projects.locations.repositories.get", "cloudbuild.projects.builds.get"):
        fail(google, method, kind="http", code=code, message="slow down", times=2)
    assert finish(google.cloud(), "build_image", BUILD).error is None


@pytest.mark.parametrize("status", ["FAILURE", "INTERNAL_ERROR", "TIMEOUT", "EXPIRED", "CANCELLED"])
def test_build_that_ends_badly_is_one_sentence(google: GoogleProject, status: str) -> None:
    """Every bad end of a build names build, image, status, detail and log; no image and no running build stay."""
    fail(google, CREATE_BUILD, kind="build_status", status=status, detail="pip could not resolve vllm")
    ended = finish(google.cloud(), "build_image", BUILD)
    assert ended.state == "failed"
    assert ended.error is not None
    assert f"ended with {status}: pip could not resolve vllm" in ended.error
    assert IMAGE in ended.error
    assert "console.cloud.google.com" in ended.error
    assert IMAGE not in google.world.images


def test_earlier_failed_build_of_the_same_content_is_not_taken_for_this_one(google: GoogleProject) -> None:
    """After a failure the next attempt builds anew and succeeds."""
    fail(google, CREATE_BUILD, kind="build_status", status="FAILURE")
    assert finish(google.cloud(), "build_image", BUILD).state == "failed"
    assert finish(google.cloud(), "build_image", BUILD).error is None


def test_base_that_is_gone_fails_as_the_build_does(google: GoogleProject) -> None:
    """A base image that cannot be pulled any more is reported with the build's own words."""
    del google.world.images["docker.io/rayproject/ray-ml:2.33.0.914af0-py311"]
    ended = finish(google.cloud(), "build_image", BUILD)
    assert ended.error is not None
    assert "not found" in ended.error
    assert "ray-ml:2.33.0.914af0-py311" in ended.error


def test_vanished_build_is_one_sentence(google: GoogleProject) -> None:
    """A build that Cloud Build no longer knows, with no image, fails instead of waiting without end."""
    cloud = google.cloud()
    building = follow(cloud, cloud.start("build_image", BUILD), until=lambda o: "build_id" in o.progress)
    google.stand_in.builds.builds.clear()
    ended = follow(cloud, building)
    assert ended.error is not None
    assert "no longer known to Cloud Build" in ended.error


def test_deadline_cancels_the_build(google: GoogleProject) -> None:
    """Past its time limit the operation fails, and the build it had begun runs no longer."""
    google.stand_in.builds._durations_s = {**google.stand_in.builds._durations_s, "build_queue": 1e6}
    cloud = google.cloud()
    building = follow(cloud, cloud.start("build_image", BUILD), until=lambda o: "build_id" in o.progress)
    google.ahead = timedelta(hours=4)
    ended = follow(cloud, building)
    assert ended.error is not None
    assert "did not end within" in ended.error
    assert [build["status"] for build in google.stand_in.builds.builds.values()] == ["CANCELLED"]


@pytest.mark.parametrize(
    ("method", "code", "said", "advised"),
    [
        (CREATE_REPOSITORY, "PERMISSION_DENIED", "Permission 'artifactregistry.repositories.create' denied", "role"),
        (CREATE_BUILD, "PERMISSION_DENIED", "The caller does not have permission", "role"),
        (CREATE_BUILD, "FAILED_PRECONDITION", "due to quota restrictions, Cloud Build cannot run here", "quota"),
    ],
)
def test_refused_create_is_one_sentence_with_advice(
    google: GoogleProject, method: str, code: str, said: str, advised: str
) -> None:
    """What was attempted, what Google said, what to do."""
    fail(google, method, kind="http", code=code, message=said)
    ended = finish(google.cloud(), "build_image", BUILD)
    assert ended.error is not None
    assert said in ended.error
    assert advised in ended.error
    assert "http" not in ended.error.lower()


def test_repository_operation_that_ends_with_an_error_is_no_success(google: GoogleProject) -> None:
    """DONE with an error inside is a failure."""
    fail(google, CREATE_REPOSITORY, kind="operation_error", code="INTERNAL", message="disk on fire")
    ended = finish(google.cloud(), "build_image", BUILD)
    assert ended.error is not None
    assert "disk on fire" in ended.error


def test_apis_that_are_off_are_all_named_before_anything_begins(google: GoogleProject) -> None:
    """Every closed API in one sentence, with the command that opens it; nothing was created or intended."""
    google.stand_in.services.enabled -= {"cloudbuild.googleapis.com", "artifactregistry.googleapis.com"}
    with pytest.raises(ConfigurationError, match=r"artifactregistry.*gcloud services enable.*cloudbuild"):
        google.cloud().start("build_image", BUILD)
    assert google.ledger.calls == []


def test_api_closed_in_mid_way_is_told_as_such(google: GoogleProject) -> None:
    """A 403 SERVICE_DISABLED advises to enable the API, not to grant a role."""
    cloud = google.cloud()
    operation = cloud.start("build_image", BUILD)
    google.stand_in.services.enabled.discard("artifactregistry.googleapis.com")
    ended = follow(cloud, operation)
    assert ended.error is not None
    assert "Enable that API" in ended.error


def test_repository_of_another_format_is_refused(google: GoogleProject) -> None:
    """A Python repository of that name is not built into."""
    name = f"projects/{PROJECT}/locations/{REGION}/repositories/ray-serving"
    google.stand_in.registry.repositories[name] = {"name": name, "format": "PYTHON"}
    with pytest.raises(ConfigurationError, match="holds PYTHON packages"):
        google.cloud().start("build_image", BUILD)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"repository": "Ray_Serving"}, "no name of a repository"), ({"machine_type": "A100"}, "machine type")],
)
def test_bad_request_is_named(google: GoogleProject, change: dict[str, str], said: str) -> None:
    """A name or machine Google would refuse is refused before any call that costs."""
    with pytest.raises(ConfigurationError, match=said):
        google.cloud().start("build_image", {**BUILD, **change})


def test_request_without_recipe_and_unknown_verb_are_named(google: GoogleProject) -> None:
    """What is missing, and what there is instead."""
    with pytest.raises(ConfigurationError, match="build_image on GKE cannot work: `recipe` is missing"):
        google.cloud().start("build_image", {})
    with pytest.raises(
        ConfigurationError, match="it knows build_image, snapshot_image, enable_streaming, set_up_node_pool"
    ):
        google.cloud().start("bake_bread", {})


def test_ended_operation_stays_as_it_is(google: GoogleProject) -> None:
    """Looking at an ended operation sends no request."""
    ended = Operation("build_image", BUILD, state="failed", error="x")
    assert google.cloud().poll(ended) is ended


def test_build_script_hands_the_dockerfile_to_docker_unchanged(google: GoogleProject, tmp_path: Path) -> None:
    """Run by a real bash, the step's script gives `docker build` the recipe's very Dockerfile, `$` and quotes too."""
    recipe = {**RECIPE, "env": {"QUOTED": '"$HOME and `date`"'}}
    cloud = google.cloud()
    follow(cloud, cloud.start("build_image", {**BUILD, "recipe": recipe}), until=lambda o: "build_id" in o.progress)
    (build,) = google.stand_in.builds.builds.values()
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/args\ncat > {tmp_path}/dockerfile\n')
    docker.chmod(0o755)
    env = dict(entry.split("=", 1) for entry in build["steps"][0]["env"])
    script = build["steps"][0]["script"]
    subprocess.run(["/bin/bash", "-c", script], env={**env, "PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)  # noqa: S603
    assert (tmp_path / "dockerfile").read_text() == ImageRecipe.from_dict(recipe).dockerfile()
    assert (tmp_path / "args").read_text().split() == ["build", "--tag", build["images"][0], "-"]
