"""What is ours on GKE: found and deleted from labels alone, with another owner's object beside each."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("google.cloud.container_v1", reason="needs the [google] extra")

from gke_world import BUILD, POOL, PROJECT, REGION, GoogleProject, MemoryLedger, finish, follow, google_project

from airflow_llm_provisioning.core.names import LABEL_EXPIRES, LABEL_TARGET, read_expiry
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.base import Owned
from airflow_llm_provisioning.gateways.clouds.gke.cloud import GkeCloud
from airflow_llm_provisioning.gateways.clouds.gke.owned import _image
from llm_provisioning_simulator.world import Image

pytestmark = pytest.mark.gke

HOST = f"{REGION}-docker.pkg.dev/{PROJECT}"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
SET_UP = {"cluster": "main", "pool": POOL, "target": "gke-streaming"}


@pytest.fixture
def google() -> Iterator[GoogleProject]:
    with google_project() as project:
        project.cluster()
        yield project


def foreign_image(google: GoogleProject, repository: str) -> Image:
    reference = f"{HOST}/{repository}/theirs:1"
    digest = "sha256:" + "f" * 64
    return google.world.push(Image(reference, digest, (1,), {}, {}, REGION, datetime(2026, 1, 1, tzinfo=UTC)))


def foreign_repository(google: GoogleProject, name: str = "theirs") -> str:
    path = f"{PARENT}/repositories/{name}"
    google.stand_in.registry.repositories[path] = {"name": path, "format": "DOCKER", "labels": {"team": "theirs"}}
    return path


def settle(cloud: GkeCloud) -> list[Owned]:
    """Delete everything of ours, as a reaper would, until nothing is listed any more or patience ends."""
    for _ in range(300):
        left = cloud.list_owned()
        if not left:
            return []
        for owned in left:
            # One operation at a time on a cluster: what is refused now is deleted in a later round.
            with contextlib.suppress(CloudError):
                cloud.delete_owned(owned)
    return left


def test_an_image_is_as_large_as_the_registry_says(google: GoogleProject) -> None:
    """Its price is that of so many GiB; a version without a size in its metadata has none, and is not free."""
    finish(google.cloud(), "build_image", BUILD)
    (image,) = [owned for owned in google.cloud().list_owned() if owned.kind == "image"]
    (made,) = [image for image in google.world.images.values() if image.reference.startswith(HOST)]
    assert image.priced == ("image", "standard", made.compressed_bytes / 2**30)
    assert _image(SimpleNamespace(name="v", create_time=None, metadata=None), {}).priced is None


def test_everything_of_ours_is_found_and_deleted_from_labels_alone(google: GoogleProject) -> None:
    """One of each kind made, everything forgotten: a new process lists and deletes them; foreign ones survive."""
    finish(google.cloud(), "build_image", BUILD)
    finish(google.cloud(), "set_up_node_pool", SET_UP)
    google.stand_in.builds._durations_s = {**google.stand_in.builds._durations_s, "build_queue": 1e6}
    cloud = google.cloud()
    other = {**BUILD, "recipe": {**BUILD["recipe"], "env": {}}}  # type: ignore[dict-item]
    follow(cloud, cloud.start("build_image", other), until=lambda o: "build_id" in o.progress)
    repository = foreign_repository(google)
    image = foreign_image(google, "theirs")
    google.stand_in.builds.builds["foreign"] = {"id": "foreign", "status": "WORKING", "tags": ["theirs"]}

    stranger = google.cloud(ledger=MemoryLedger())
    listed = stranger.list_owned()
    assert sorted(owned.kind for owned in listed) == ["build", "image", "node_pool", "repository"]
    assert settle(stranger) == []

    assert set(google.world.clusters["main"].pools) == {"cpu", "gpu"}
    assert set(google.stand_in.registry.repositories) == {repository}
    assert google.world.images[image.reference] == image
    assert not [ref for ref in google.world.images if "/ray-serving/" in ref]
    statuses = {build["id"]: build["status"] for build in google.stand_in.builds.builds.values()}
    assert statuses.pop("foreign") == "WORKING"
    assert sorted(statuses.values()) == ["CANCELLED", "SUCCESS"]


class GoneOnceListed(dict[str, dict[str, Any]]):
    """Repositories of which one is deleted as soon as it has been listed."""

    def __init__(self, known: dict[str, dict[str, Any]], going: str) -> None:
        super().__init__(known)
        self._going = going

    def items(self) -> Any:
        listed = list(super().items())
        self.pop(self._going, None)
        return listed


def test_a_repository_that_goes_while_it_is_listed_breaks_no_list(google: GoogleProject) -> None:
    """Another user deletes it between the list that names it and the list of its images: the rest is listed."""
    finish(google.cloud(), "build_image", BUILD)
    theirs = foreign_repository(google)
    google.stand_in.registry.repositories = GoneOnceListed(google.stand_in.registry.repositories, theirs)

    listed = google.cloud(ledger=MemoryLedger()).list_owned()

    assert theirs not in google.stand_in.registry.repositories
    assert sorted(owned.kind for owned in listed) == ["image", "repository"]


def test_owned_things_carry_target_and_expiry(google: GoogleProject) -> None:
    """The labels say for what a thing was made and until when it may stay."""
    finish(google.cloud(), "build_image", BUILD)
    finish(google.cloud(), "set_up_node_pool", SET_UP)
    for owned in google.cloud().list_owned():
        assert owned.tags[LABEL_TARGET] == "gke-streaming"
        assert read_expiry(owned.tags[LABEL_EXPIRES]) is not None


def test_image_pushed_but_never_marked_is_found_through_its_build(google: GoogleProject) -> None:
    """Killed between push and annotation, the image is still ours: the build that pushed it carries our tags."""
    first = google.cloud().start("build_image", BUILD)
    follow(
        google.cloud(),
        first,
        until=lambda _: any(b["status"] == "SUCCESS" for b in google.stand_in.builds.builds.values()),
    )
    google.stand_in.registry.annotations.clear()
    cloud = google.cloud(ledger=MemoryLedger())
    (image,) = [owned for owned in cloud.list_owned() if owned.kind == "image"]
    cloud.delete_owned(image)
    assert settle(cloud) == []
    assert not [ref for ref in google.world.images if "/ray-serving/" in ref]


def test_repository_that_holds_a_foreign_image_stays(google: GoogleProject) -> None:
    """Another user pushed into our repository: it is not deleted, and the sentence says why."""
    finish(google.cloud(), "build_image", BUILD)
    image = foreign_image(google, "ray-serving")
    cloud = google.cloud()
    (repository,) = [owned for owned in cloud.list_owned() if owned.kind == "repository"]
    with pytest.raises(CloudError, match="holds images that are not"):
        cloud.delete_owned(repository)
    assert image.reference in google.world.images


@pytest.mark.parametrize("kind", ["node_pool", "repository", "image", "build"])
def test_foreign_thing_is_refused(google: GoogleProject, kind: str) -> None:
    """Told to delete what does not carry our mark, it refuses and the thing stays."""
    foreign_repository(google)
    image = foreign_image(google, "theirs")
    google.stand_in.builds.builds["foreign"] = {"id": "foreign", "status": "WORKING", "tags": ["theirs"]}
    identities = {
        "node_pool": f"{PARENT}/clusters/main/nodePools/gpu",
        "repository": f"{PARENT}/repositories/theirs",
        "image": f"{PARENT}/repositories/theirs/packages/theirs/versions/{image.digest}",
        "build": f"projects/{PROJECT}/locations/global/builds/foreign",
    }
    with pytest.raises(CloudError, match="belongs to another owner"):
        google.cloud().delete_owned(Owned(kind, identities[kind], {}))
    assert "gpu" in google.world.clusters["main"].pools
    assert image.reference in google.world.images
    assert google.stand_in.builds.builds["foreign"]["status"] == "WORKING"


@pytest.mark.parametrize("kind", ["node_pool", "repository", "image", "build"])
def test_gone_already_is_success_and_closes_the_ledger(google: GoogleProject, kind: str) -> None:
    """Deleting what is not there any more raises nothing, and its entry in the ledger is closed."""
    identities = {
        "node_pool": f"{PARENT}/clusters/main/nodePools/none",
        "repository": f"{PARENT}/repositories/none",
        "image": f"{PARENT}/repositories/none/packages/none/versions/sha256:0",
        "build": f"projects/{PROJECT}/locations/global/builds/none",
    }
    place, now = f"cloud:gke/{PROJECT}/{REGION}", datetime(2026, 1, 1, tzinfo=UTC)
    google.ledger.created(google.ledger.intend(kind, "x", place, {}, now), identities[kind])
    google.cloud().delete_owned(Owned(kind, identities[kind], {}))
    assert google.ledger.open_entries() == []


def test_unknown_kind_is_refused(google: GoogleProject) -> None:
    """A kind this cloud never makes is a mistake of the caller."""
    with pytest.raises(ConfigurationError, match="'snapshot'"):
        google.cloud().delete_owned(Owned("snapshot", "snap-1", {}))


@pytest.mark.parametrize(
    "method",
    [
        "cloudbuild.projects.builds.list",
        "artifactregistry.projects.locations.repositories.list",
        "artifactregistry.projects.locations.repositories.packages.versions.list",
        "container.projects.locations.clusters.list",
    ],
)
def test_list_that_cannot_be_complete_raises(google: GoogleProject, method: str) -> None:
    """No list instead of half a list: a deletion by it must not seem complete."""
    finish(google.cloud(), "build_image", BUILD)
    google.stand_in.faults[method] = {"kind": "http", "code": "PERMISSION_DENIED", "message": "no", "times": 0}
    with pytest.raises(CloudError):
        google.cloud().list_owned()


def test_zone_that_could_not_be_listed_raises(google: GoogleProject) -> None:
    """Google may leave out a zone and say so beside the list: that is no complete list either."""
    original = google.stand_in.clusters._list

    async def with_a_gap(call: object) -> dict[str, object]:
        return {**(await original(call)), "missingZones": ["us-central1-b"]}  # type: ignore[arg-type]

    google.stand_in.apis["container"]._handlers = {
        **google.stand_in.apis["container"]._handlers,
        "container.projects.locations.clusters.list": with_a_gap,  # type: ignore[dict-item]
    }
    with pytest.raises(CloudError, match="us-central1-b"):
        google.cloud().list_owned()


def test_foreign_image_with_our_bytes_but_their_mark_is_theirs(google: GoogleProject) -> None:
    """Another owner's annotation on the very version our build pushed makes it theirs."""
    finish(google.cloud(), "build_image", BUILD)
    annotations = google.stand_in.registry.annotations
    for name in annotations:
        annotations[name] = {"team": "theirs"}
    assert [owned.kind for owned in google.cloud().list_owned()] == ["repository"]


def test_an_image_and_its_repository_are_in_the_ledger_until_they_are_gone(google: GoogleProject) -> None:
    """Artifact Registry answers a deletion with an operation: an accepted request is no deletion."""
    cloud = google.cloud()
    finish(cloud, "build_image", BUILD)
    for kind in ("image", "repository"):
        (owned,) = [item for item in cloud.list_owned() if item.kind == kind]
        cloud.delete_owned(owned)
        assert kind in {entry.kind for entry in google.ledger.open_entries()}
        for _ in range(300):
            if kind not in {item.kind for item in cloud.list_owned()}:
                break
        cloud.delete_owned(owned)
        assert kind not in {entry.kind for entry in google.ledger.open_entries()}


def test_a_node_pool_is_in_the_ledger_until_it_is_gone(google: GoogleProject) -> None:
    """GKE accepts the deletion and takes minutes: an accepted request is no deletion, and its nodes are paid for."""
    cloud = google.cloud()
    finish(cloud, "set_up_node_pool", SET_UP)
    pool = next(owned for owned in cloud.list_owned() if owned.kind == "node_pool")
    cloud.delete_owned(pool)
    assert [entry.kind for entry in google.ledger.open_entries()] == ["node_pool"]
    for _ in range(300):
        cloud.delete_owned(pool)
        if not google.ledger.open_entries():
            break
    assert not any(owned.kind == "node_pool" for owned in cloud.list_owned())
    assert google.ledger.open_entries() == []
