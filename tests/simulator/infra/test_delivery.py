"""A gain must be earned: leave out any one condition of an accelerated delivery and the image is pulled in full."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_provisioning_simulator.infra.delivery import deliver, pull_s, refusal, remember_pull
from llm_provisioning_simulator.profiles import load_profile
from llm_provisioning_simulator.world import CloudCluster, Delivery, Image, NodeSpec, Snapshot, World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 1024**3
REFERENCES = {
    "eks": "123456789012.dkr.ecr.us-west-2.amazonaws.com/serving:r-1",
    "gke": "us-central1-docker.pkg.dev/project/serving/ray:r-1",
    "aks": "acme.azurecr.io/serving:r-1",
}
REGIONS = {"eks": "us-west-2", "gke": "us-central1", "aks": "eastus"}


def an_image(cloud: str, **changes: object) -> Image:
    image = Image(REFERENCES[cloud], "sha256:" + "a" * 64, (4 * GIB, 5 * GIB, GIB), {}, {}, REGIONS[cloud], NOW)
    return replace(image, **changes)  # type: ignore[arg-type]


def a_node(cloud: str, **changes: object) -> NodeSpec:
    node = NodeSpec(
        cluster="demo",
        name="node-1",
        cloud=cloud,  # type: ignore[arg-type]
        region=REGIONS[cloud],
        zone="a",
        instance_type="big",
        gpu={"L4": 1},
        snapshot_id="snap-1" if cloud == "eks" else None,
        data_volume_gib=80,
        streaming=cloud != "eks",
    )
    return replace(node, **changes)  # type: ignore[arg-type]


def a_prepared_world(cloud: str) -> World:
    world = World()
    image = world.push(an_image(cloud))
    world.clusters["demo"] = CloudCluster("demo", cloud, REGIONS[cloud], "1.34.2", "luna")  # type: ignore[arg-type]
    world.snapshots["snap-1"] = Snapshot("snap-1", {REFERENCES["eks"]: image.digest}, 50, "1.34")
    world.gke_streaming_api_enabled = True
    world.gke_warm_cache.add(("us-central1", image.digest))
    world.aks_converted[image.repository, image.digest] = NOW - timedelta(minutes=5)
    world.aks_premium_registries.add("acme.azurecr.io")
    return world


def delivered(world: World, node: NodeSpec, image: Image, reference: str | None = None) -> Delivery:
    profile = load_profile(node.cloud, "luna")
    return deliver(world, node, reference or REFERENCES[node.cloud], image, profile, random.Random(1), NOW)


@pytest.mark.parametrize(("cloud", "kind"), [("eks", "present"), ("gke", "streamed"), ("aks", "streamed")])
def test_a_complete_preparation_is_rewarded(cloud: str, kind: str) -> None:
    """With every step done no layer is pulled, and what is read first is charged instead."""
    delivery = delivered(a_prepared_world(cloud), a_node(cloud), an_image(cloud))
    assert delivery.kind == kind
    assert delivery.first_touch_bytes_s
    assert delivery.first_touch_bytes_s < 1e9


def _without_snapshot(world: World) -> None:
    world.snapshots.clear()


def _other_reference(world: World) -> None:
    world.snapshots["snap-1"] = Snapshot("snap-1", {REFERENCES["eks"] + "x": "sha256:b"}, 50, "1.34")


def _other_content(world: World) -> None:
    world.snapshots["snap-1"] = Snapshot("snap-1", {REFERENCES["eks"]: "sha256:" + "b" * 64}, 50, "1.34")


def _other_minor(world: World) -> None:
    world.snapshots["snap-1"] = replace(world.snapshots["snap-1"], kubernetes_minor="1.33")


def _api_off(world: World) -> None:
    world.gke_streaming_api_enabled = False


def _cold_cache(world: World) -> None:
    world.gke_warm_cache.clear()


def _warm_elsewhere(world: World) -> None:
    world.gke_warm_cache = {("europe-west4", digest) for _, digest in world.gke_warm_cache}


def _prewarmed_until_now(world: World) -> None:
    world.gke_prewarmed_until = dict.fromkeys(world.gke_warm_cache, NOW)
    world.gke_warm_cache.clear()


def _not_converted(world: World) -> None:
    world.aks_converted.clear()


def _still_converting(world: World) -> None:
    world.aks_converted = dict.fromkeys(world.aks_converted, NOW + timedelta(seconds=1))


def _basic_registry(world: World) -> None:
    world.aks_premium_registries.clear()


@pytest.mark.parametrize(
    ("cloud", "leave_out", "why"),
    [
        ("eks", _without_snapshot, "does not exist"),
        ("eks", _other_reference, "does not hold this reference"),
        ("eks", _other_content, "holds another image under this reference"),
        ("eks", _other_minor, "made for Kubernetes 1.33"),
        ("gke", _api_off, "not enabled"),
        ("gke", _cold_cache, "nobody in us-central1"),
        ("gke", _warm_elsewhere, "nobody in us-central1"),
        ("gke", _prewarmed_until_now, "nobody in us-central1"),
        ("aks", _not_converted, "not complete"),
        ("aks", _still_converting, "not complete"),
        ("aks", _basic_registry, "no Premium"),
    ],
)
def test_one_missing_step_of_the_cloud_means_a_full_pull(
    cloud: str, leave_out: Callable[[World], None], why: str
) -> None:
    """With anything else prepared, the image is pulled, and the reason names the step."""
    world = a_prepared_world(cloud)
    leave_out(world)
    delivery = delivered(world, a_node(cloud), an_image(cloud))
    assert delivery.kind == "pull"
    assert why in delivery.why


@pytest.mark.parametrize(
    ("cloud", "node", "why"),
    [
        ("eks", {"snapshot_id": None}, "no data volume"),
        ("eks", {"instance_store_raid": True}, "instance store"),
        ("gke", {"streaming": False}, "off on the node"),
        ("gke", {"region": "europe-west4"}, "registry is in us-central1"),
        ("gke", {"service_account": "nodes@p.iam.gserviceaccount.com"}, "serviceusage.serviceUsageConsumer"),
        ("aks", {"streaming": False}, "off on the node"),
    ],
)
def test_one_missing_setting_of_the_node_means_a_full_pull(cloud: str, node: dict[str, object], why: str) -> None:
    """A node that was not set up for it gains nothing from a prepared cloud."""
    delivery = delivered(a_prepared_world(cloud), a_node(cloud, **node), an_image(cloud))
    assert delivery.kind == "pull"
    assert why in delivery.why


def test_a_digest_is_not_streamed_on_aks() -> None:
    """Only tags are redirected to the streaming artifact."""
    image = an_image("aks")
    reference = f"{image.repository}@{image.digest}"
    assert delivered(a_prepared_world("aks"), a_node("aks"), image, reference).kind == "pull"


def test_an_aks_artifact_serves_its_own_repository_only() -> None:
    """The same image, by digest, in another repository of the same registry has no streaming artifact."""
    world = a_prepared_world("aks")
    copy = world.push(an_image("aks", reference="acme.azurecr.io/copy:r-1"))
    delivery = delivered(world, a_node("aks"), copy, copy.reference)
    assert (delivery.kind, delivery.why) == ("pull", "its streaming artifact is not complete")


def test_a_tag_of_aks_that_moved_to_another_image_does_not_stream() -> None:
    """What was converted is the image the tag named then."""
    world = a_prepared_world("aks")
    moved = world.push(an_image("aks", digest="sha256:" + "b" * 64))
    assert delivered(world, a_node("aks"), moved).kind == "pull"


def test_a_pod_with_pull_secrets_gets_the_plain_image_on_aks() -> None:
    """Only the kubelet's own identity is led to the artifact."""
    world, image = a_prepared_world("aks"), an_image("aks")
    profile, rng = load_profile("aks", "luna"), random.Random(1)
    delivery = deliver(world, a_node("aks"), image.reference, image, profile, rng, NOW, pull_secrets=True)
    assert delivery.kind == "pull"
    assert "imagePullSecrets" in delivery.why


def test_a_registry_that_is_not_attached_gives_an_aks_node_nothing() -> None:
    """The kubelet's identity needs AcrPull; a pod's own secrets stand in for it, and public images need none."""
    world, node = a_prepared_world("aks"), a_node("aks")
    private = an_image("aks")
    assert "401 Unauthorized" in (refusal(world, node, private) or "")
    assert refusal(world, node, private, pull_secrets=True) is None
    assert refusal(world, node, an_image("aks", reference="docker.io/rayproject/ray:2.46.0")) is None
    world.aks_attached.add(("demo", "acme.azurecr.io"))
    assert refusal(world, node, private) is None
    assert refusal(world, a_node("aks", cluster="other"), private) is not None


def test_an_abac_registry_gives_a_node_with_acr_pull_nothing() -> None:
    """Only a role on its repositories counts."""
    world, node, private = a_prepared_world("aks"), a_node("aks"), an_image("aks")
    world.aks_attached.add(("demo", "acme.azurecr.io"))
    world.aks_abac_registries.add("acme.azurecr.io")
    assert "401 Unauthorized" in (refusal(world, node, private) or "")
    world.aks_repository_readers.add(("demo", "acme.azurecr.io"))
    assert refusal(world, node, private) is None


def test_a_multi_region_registry_streams_to_its_regions_only() -> None:
    """`us` covers us-central1 and not a region of another continent."""
    world = a_prepared_world("gke")
    image = an_image("gke", region="us")
    assert delivered(world, a_node("gke"), image).kind == "streamed"
    world.gke_warm_cache.add(("europe-west4", image.digest))
    assert delivered(world, a_node("gke", region="europe-west4"), image).kind == "pull"


def test_the_first_pull_by_a_streaming_node_warms_its_region() -> None:
    """GKE streams what was pulled in the region before; a node without streaming warms nothing."""
    world, image = a_prepared_world("gke"), an_image("gke")
    world.gke_warm_cache.clear()
    remember_pull(world, a_node("gke", streaming=False), image)
    assert delivered(world, a_node("gke"), image).kind == "pull"
    remember_pull(world, a_node("gke"), image)
    assert delivered(world, a_node("gke"), image).kind == "streamed"


def test_a_prewarmed_image_streams_until_it_is_forgotten() -> None:
    """Artifact Registry's own prewarming needs no earlier pull."""
    world, image = a_prepared_world("gke"), an_image("gke")
    world.gke_warm_cache.clear()
    world.gke_prewarmed_until["us-central1", image.digest] = NOW + timedelta(seconds=1)
    assert delivered(world, a_node("gke"), image).kind == "streamed"


@pytest.mark.parametrize(
    ("roles", "refused", "kind"),
    [
        ((), True, "pull"),
        (("roles/artifactregistry.reader",), False, "pull"),
        (("roles/artifactregistry.reader", "roles/serviceusage.serviceUsageConsumer"), False, "streamed"),
        (("roles/editor",), False, "streamed"),
    ],
)
def test_a_gke_node_does_what_the_roles_of_its_account_allow(roles: tuple[str, ...], refused: bool, kind: str) -> None:
    """Without the reader's role the registry answers 403; without the consumer's the image is pulled in full."""
    world, image = a_prepared_world("gke"), an_image("gke")
    account = "nodes@p.iam.gserviceaccount.com"
    world.grant(account, *roles)
    node = a_node("gke", service_account=account)
    assert (refusal(world, node, image) is not None) is refused
    assert delivered(world, node, image).kind == kind


def test_the_projects_own_account_and_public_images_need_no_roles() -> None:
    """The default account is the project's editor; Docker Hub needs no account."""
    world, image = a_prepared_world("gke"), an_image("gke")
    assert refusal(world, a_node("gke"), image) is None
    public = replace(image, reference="docker.io/rayproject/ray:2.9.0")
    assert refusal(world, a_node("gke", service_account="nodes@p.iam.gserviceaccount.com"), public) is None


def test_a_provisioned_rate_makes_first_reads_faster() -> None:
    """300 MiB/s of volume initialisation beats the default hydration."""
    world = a_prepared_world("eks")
    default = delivered(world, a_node("eks"), an_image("eks")).first_touch_bytes_s
    provisioned = delivered(world, a_node("eks", volume_initialization_rate_mib_s=300), an_image("eks"))
    assert default is not None
    assert provisioned.first_touch_bytes_s == 300 * 1024**2 > default


@given(st.lists(st.integers(1, 5 * GIB), min_size=1, max_size=12), st.sampled_from(["eks", "gke", "aks"]))
def test_a_pull_is_never_faster_than_its_narrowest_step(layers: list[int], cloud: str) -> None:
    """Download of all bytes and unpacking of all bytes are both lower bounds, their sum is an upper one."""
    profile = load_profile(cloud, "luna").with_values(run_to_run_noise=0.0)
    seconds = pull_s(an_image(cloud, layer_bytes=tuple(layers)), profile, random.Random(1))
    overhead = profile.value("pull_overhead_s")
    download = sum(layers) / min(profile.value("registry_bytes_s"), profile.value("node_link_bytes_s"))
    written = profile.value("disk_write_bytes_s") / profile.value("unpacked_ratio")
    unpack = sum(layers) / min(profile.value("unpack_bytes_s"), written)
    assert max(download, unpack) * 0.999 <= seconds - overhead <= (download + unpack) * 1.001


def test_docker_hub_has_a_rate_of_its_own() -> None:
    """The same layers take longer from Docker Hub than from the region's registry on EKS."""
    profile = load_profile("eks", "luna").with_values(run_to_run_noise=0.0)
    own = pull_s(an_image("eks"), profile, random.Random(1))
    hub = pull_s(an_image("eks", reference="docker.io/rayproject/ray-ml:x"), profile, random.Random(1))
    assert hub > own
