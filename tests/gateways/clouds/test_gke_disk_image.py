"""A disk image that holds the serving image: made once over the wire, found again, and nothing else is left."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

pytest.importorskip("google.cloud.compute_v1", reason="needs the [google] extra")

from gke_world import BUILD, POOL, PROJECT, REGION, GoogleProject, MemoryLedger, finish, follow, google_project

from airflow_llm_provisioning.core.names import LABEL_EXPIRES, LABEL_TARGET, read_expiry
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError, ConfigurationError
from airflow_llm_provisioning.gateways.clouds.base import Owned
from airflow_llm_provisioning.gateways.clouds.gke.tags import GOOGLE_TAGS
from llm_provisioning_simulator.infra.delivery import deliver
from llm_provisioning_simulator.profiles import load_profile
from llm_provisioning_simulator.world import Delivery, NodePool, NodeSpec

pytestmark = pytest.mark.gke

ZONE = f"{REGION}-a"


@pytest.fixture
def google() -> Iterator[GoogleProject]:
    with google_project() as project:
        project.cluster()
        yield project


def wanted(google: GoogleProject, **changes: Any) -> dict[str, Any]:
    """Return the request for an image that was just built."""
    built = finish(google.cloud(), "build_image", BUILD).result
    assert built is not None
    image = {key: built[key] for key in ("image", "digest", "size_bytes")}
    return {**image, "kubernetes_minor": "1.34", "cluster": "main", "target": "gke-disk", "keep_days": 7, **changes}


def made(google: GoogleProject, **changes: Any) -> Mapping[str, Any]:
    done = finish(google.cloud(), "snapshot_image", wanted(google, **changes))
    assert done.state == "succeeded", done
    return dict(done.result or {})


def delivered(google: GoogleProject, pool: NodePool) -> Delivery:
    """Return how the image that was built reaches a node of a pool, with the streaming API on."""
    google.world.gke_streaming_api_enabled = True
    (image,) = [item for item in google.world.images.values() if "pkg.dev" in item.reference]
    spec = NodeSpec(
        "main",
        "n",
        "gke",
        REGION,
        ZONE,
        pool.instance_type,
        pool.gpu,
        streaming=pool.streaming,
        disk_image=pool.disk_image,
    )
    profile = load_profile("gke", "native")
    return deliver(google.world, spec, image.reference, image, profile, random.Random(1), google.clock.now())


def test_the_image_holds_the_digest_and_only_the_image_stays(google: GoogleProject) -> None:
    """Builder and disk are gone, and the ledger says so; the image lies in the nodes' region, with our labels."""
    result = made(google)
    held = google.world.disk_images[result["disk_image"]]
    assert held.digests == {result["digest"]} == {result["disk_digest"]}
    assert result["disk_image"].startswith(f"projects/{PROJECT}/global/images/llm-disk-")
    assert (result["reused"], result["volume_gib"]) == (False, held.size_gib)
    compute = google.stand_in.compute
    assert (compute.instances, compute.disks) == ({}, {})
    states = {entry.kind: entry.state for entry in google.ledger.entries.values()}
    assert (states["instance"], states["disk"], states["disk_image"]) == ("gone", "gone", "created")
    (image,) = [owned for owned in google.cloud().list_owned() if owned.kind == "disk_image"]
    assert image.identity == result["disk_image"]
    assert image.tags[LABEL_TARGET] == "gke-disk"
    assert read_expiry(image.tags[LABEL_EXPIRES]) is not None
    assert (image.priced or ())[:2] == ("snapshot", "standard")
    assert result["price_usd"] > 0
    assert "keeping the disk image costs up to 0.05 USD" in result["price_basis"]


def test_intents_are_written_before_anything_is_created(google: GoogleProject) -> None:
    """A crash right after a create leaves an entry that names it."""
    made(google)
    for kind in ("instance", "disk", "disk_image"):
        calls = [what for what, of, _ in google.ledger.calls if of == kind]
        assert calls[:2] == ["intend", "created"]


def test_the_builder_ends_by_itself_and_holds_no_secret(google: GoogleProject) -> None:
    """Compute Engine deletes it after its longest run; its attributes name the image and hold no token. Its labels and
    those of its disk expire within hours, so that a reaper finds them.
    """
    cloud = google.cloud()
    operation = cloud.start("snapshot_image", wanted(google))
    follow(cloud, operation, until=lambda _: bool(google.stand_in.compute.instances))
    (builder,) = google.stand_in.compute.instances.values()
    assert builder["scheduling"]["instanceTerminationAction"] == "DELETE"
    assert int(builder["scheduling"]["maxRunDuration"]["seconds"]) == 3 * 3600
    told = {item["key"]: item["value"] for item in builder["metadata"]["items"]}
    for thing in (builder, *google.stand_in.compute.disks.values()):
        until = read_expiry(GOOGLE_TAGS.read(thing["labels"])[LABEL_EXPIRES])
        assert until is not None
        assert (until - google.clock.now()).total_seconds() <= 6 * 3600
    assert set(told) == {"llm-image", "llm-digest", "startup-script"}
    assert told["llm-image"].endswith("/ray-serving/ray-serving")


def test_an_image_of_the_same_content_is_used_again_and_kept_longer(google: GoogleProject) -> None:
    """A second target costs nothing, and its expiry counts if it is later."""
    first = made(google)
    second = made(google, target="other", keep_days=90)
    assert (second["disk_image"], second["reused"], second["price_usd"]) == (first["disk_image"], True, 0.0)
    assert google.calls("compute", "instances.insert") == 1
    for _ in range(300):
        (image,) = [owned for owned in google.cloud().list_owned() if owned.kind == "disk_image"]
        until = read_expiry(image.tags[LABEL_EXPIRES])
        assert until is not None
        if (until - google.clock.now()).days > 60:
            break
    assert (until - google.clock.now()).days > 60


@pytest.mark.parametrize("moment", ["instances.insert", "instances.delete", "images.insert"])
def test_a_process_that_begins_anew_goes_on_with_what_there_is(google: GoogleProject, moment: str) -> None:
    """Killed at any step, the first operation is polled again by another process: one builder, one image."""
    first = google.cloud().start("snapshot_image", wanted(google))
    follow(google.cloud(), first, until=lambda _: google.calls("compute", moment) > 0)
    again = follow(google.cloud(), Operation.from_dict(first.as_dict()))
    assert again.state == "succeeded", again
    assert google.calls("compute", "instances.insert") == 1
    assert len(google.world.disk_images) == 1
    assert (google.stand_in.compute.instances, google.stand_in.compute.disks) == ({}, {})


def test_two_targets_at_once_share_one_builder(google: GoogleProject) -> None:
    """Both want the same image: one machine runs, and both get the same disk image."""
    request = wanted(google)
    cloud, other = google.cloud(), google.cloud()
    one, two = cloud.start("snapshot_image", request), other.start("snapshot_image", {**request, "target": "two"})
    while "running" in (one.state, two.state):
        one = cloud.poll(one) if one.state == "running" else one
        two = other.poll(two) if two.state == "running" else two
    assert [item.state for item in (one, two)] == ["succeeded", "succeeded"], (one, two)
    assert google.calls("compute", "instances.insert") == 1
    assert (one.result or {})["disk_image"] == (two.result or {})["disk_image"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"public_ip": False}, "could not install containerd"),
        ({"service_account": "builder@x.iam.gserviceaccount.com"}, "could not pull"),
    ],
)
def test_a_builder_that_fails_says_where_and_leaves_nothing(
    google: GoogleProject, changes: Mapping[str, Any], words: str
) -> None:
    """Its own last line is the reason; machine and disk are deleted, and the ledger is closed."""
    failed = finish(google.cloud(), "snapshot_image", wanted(google, **changes))
    assert failed.state == "failed"
    assert words in str(failed.error)
    assert (google.stand_in.compute.instances, google.stand_in.compute.disks) == ({}, {})
    assert not [e for e in google.ledger.open_entries() if e.kind in ("instance", "disk", "disk_image")]


@pytest.mark.parametrize("location", [REGION, f"{REGION}-b"])
def test_the_builder_is_in_the_clusters_zone(google: GoogleProject, location: str) -> None:
    """The location where that is a zone, else the first zone of the cluster; its boot disk holds the image twice."""
    google.world.clusters["main"].region = location
    request = wanted(google)
    cloud = google.cloud(location=location)
    follow(cloud, cloud.start("snapshot_image", request), until=lambda _: bool(google.stand_in.compute.instances))
    ((zone, _), builder) = next(iter(google.stand_in.compute.instances.items()))
    assert zone == (f"{REGION}-a" if location == REGION else location)
    boot = int(builder["disks"][0]["initializeParams"]["diskSizeGb"])
    assert boot * 1024**3 > 3.2 * request["size_bytes"]


def test_a_refused_machine_is_told_in_googles_words(google: GoogleProject) -> None:
    """The operation's error, and what to do."""
    google.stand_in.faults["compute.instances.insert"] = {
        "kind": "operation_error",
        "code": "ZONE_RESOURCE_POOL_EXHAUSTED",
        "message": "The zone does not have enough resources available to fulfill the request.",
    }
    failed = finish(google.cloud(), "snapshot_image", wanted(google))
    assert "does not have enough resources available" in str(failed.error)
    assert "try later or another zone" in str(failed.error)
    assert google.stand_in.compute.disks == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"zone": "europe-west1-b"}, "is none of region us-central1"),
        ({"digest": "latest"}, "is no sha256 digest"),
        ({"digest": None}, "`digest` is missing"),
        ({"volume_gib": 1}, "too small"),
        ({"cluster": None}, "no zone of us-central1 is known"),
    ],
)
def test_a_request_that_cannot_work_is_refused_before_anything_runs(
    google: GoogleProject, changes: Mapping[str, Any], words: str
) -> None:
    """With the reason; no intent is written."""
    request = wanted(google, **changes)
    with pytest.raises(ConfigurationError, match=words):
        google.cloud().start("snapshot_image", request)
    assert google.stand_in.compute.disks == {}


def test_what_is_left_is_found_by_labels_and_gone_only_when_seen_to_be_gone(google: GoogleProject) -> None:
    """A machine that runs, its disk, an image: a process that knows nothing deletes them, and another's stay."""
    made(google)
    cloud = google.cloud()
    other = {**BUILD, "recipe": {**BUILD["recipe"], "env": {}}}  # type: ignore[dict-item]
    built = finish(cloud, "build_image", other).result
    assert built is not None
    request = {**wanted(google), **{key: built[key] for key in ("image", "digest", "size_bytes")}}
    follow(cloud, cloud.start("snapshot_image", request), until=lambda _: bool(google.stand_in.compute.instances))
    compute = google.stand_in.compute
    theirs = {"name": "theirs", "labels": {"team": "x"}, "status": "READY", "sizeGb": "1"}
    compute.disks[ZONE, "theirs"] = {**theirs, "selfLink": "x"}
    stranger = google.cloud(ledger=MemoryLedger())
    mine = [owned for owned in stranger.list_owned() if owned.kind in ("instance", "disk", "disk_image")]
    assert [owned.kind for owned in mine] == ["instance", "disk", "disk_image"]

    (instance,) = [owned for owned in mine if owned.kind == "instance"]
    google.cloud().delete_owned(instance)
    assert "instance" in {entry.kind for entry in google.ledger.open_entries()}
    for _ in range(500):
        left = [o for o in stranger.list_owned() if o.kind in ("instance", "disk", "disk_image")]
        if not left:
            break
        for owned in left:
            try:
                google.cloud().delete_owned(owned)
            except CloudError as error:
                assert "already being used" in str(error)  # noqa: PT017 - the disk goes after its machine
    for owned in mine:
        google.cloud().delete_owned(owned)
    assert (set(compute.disks), compute.instances, compute.images) == ({(ZONE, "theirs")}, {}, {})
    ours = [e for e in google.ledger.open_entries() if e.kind in ("instance", "disk", "disk_image")]
    assert [(entry.kind, entry.state) for entry in ours] == [("disk_image", "intended")]


@pytest.mark.parametrize("kind", ["instance", "disk", "disk_image"])
def test_what_does_not_carry_our_mark_is_refused(google: GoogleProject, kind: str) -> None:
    """Told to delete another owner's, it refuses and the thing stays."""
    theirs = {"name": "theirs", "labels": {}, "status": "READY", "disks": [], "selfLink": "x"}
    compute = google.stand_in.compute
    compute.disks[ZONE, "theirs"] = compute.instances[ZONE, "theirs"] = compute.images["theirs"] = theirs
    place = "global/images" if kind == "disk_image" else f"zones/{ZONE}/{kind}s"
    with pytest.raises(CloudError, match="belongs to another owner"):
        google.cloud().delete_owned(Owned(kind, f"projects/{PROJECT}/{place}/theirs", {}))
    assert "theirs" in compute.images


def test_a_list_without_compute_engine_is_no_list(google: GoogleProject) -> None:
    """Without the right to list machines nothing is said to be complete."""
    method = "compute.instances.aggregatedList"
    google.stand_in.faults[method] = {"kind": "http", "code": "PERMISSION_DENIED", "message": "no", "times": 0}
    with pytest.raises(CloudError, match="list the instances"):
        google.cloud().list_owned()


def test_a_zone_that_could_not_be_listed_raises(google: GoogleProject) -> None:
    """Google names it beside the list; one of another region is none of this place."""
    google.stand_in.compute.unreachable = ["zones/europe-west1-b"]
    assert google.cloud().list_owned() == []
    google.stand_in.compute.unreachable = [f"zones/{REGION}-b"]
    with pytest.raises(CloudError, match=f"{REGION}-b"):
        google.cloud().list_owned()


def test_a_new_pool_has_the_disk_and_streaming(google: GoogleProject) -> None:
    """The pool's nodes get a secondary boot disk of the image; without streaming GKE would not use it."""
    image = made(google)["disk_image"]
    pool = {**POOL, "disk_image": image}
    request = {"cluster": "main", "pool": pool, "target": "gke-disk"}
    assert finish(google.cloud(), "set_up_node_pool", request).state == "succeeded"
    made_pool = google.world.clusters["main"].pools[str(POOL["name"])]
    assert made_pool.disk_image == image
    assert delivered(google, made_pool).kind == "mounted"
    google.world.disk_images.clear()
    assert delivered(google, made_pool).kind == "pull"
    with pytest.raises(ConfigurationError, match="needs image streaming"):
        google.cloud().start("set_up_node_pool", {**request, "pool": {**pool, "name": "plain", "streaming": False}})
    with pytest.raises(ConfigurationError, match="has no image: prepare one first"):
        google.cloud().start("set_up_node_pool", {**request, "pool": {**pool, "name": "empty", "disk_image": ""}})
