"""From the recipe to a node that streams: the whole preparation over the wire, and what each left-out call costs."""

import random
from collections.abc import Iterator

import pytest

pytest.importorskip("google.cloud.container_v1", reason="needs the [google] extra")

from gke_world import BUILD, POOL, REGION, GoogleProject, finish, google_project

from airflow_llm_provisioning.core.experiment import NodeProfile
from airflow_llm_provisioning.gateways.autoscalers.native import Native
from llm_provisioning_simulator.infra.delivery import deliver, remember_pull
from llm_provisioning_simulator.profiles import load_profile
from llm_provisioning_simulator.world import Delivery, NodeSpec

pytestmark = pytest.mark.gke


@pytest.fixture
def google() -> Iterator[GoogleProject]:
    with google_project() as project:
        project.cluster()
        yield project


def node(google: GoogleProject, pool: str) -> NodeSpec:
    found = google.world.clusters["main"].pools[pool]
    return NodeSpec(
        "main", "n1", "gke", REGION, f"{REGION}-a", found.instance_type, found.gpu, streaming=found.streaming
    )


def prepare(google: GoogleProject, *, stream: bool = True, warm: bool = True) -> tuple[str, NodeSpec]:
    """Build, set up the pool, stream, warm; return the image and a node of the pool."""
    cloud = google.cloud()
    built = finish(cloud, "build_image", BUILD).result
    assert built is not None
    finish(cloud, "set_up_node_pool", {"cluster": "main", "pool": {**POOL, "streaming": False}, "target": "t"})
    if stream:
        request = {"image": built["image"], "digest": built["digest"], "cluster": "main", "pools": ["gpu-streaming"]}
        assert finish(cloud, "enable_streaming", request).error is None
    where = node(google, "gpu-streaming")
    if warm:
        remember_pull(google.world, where, google.world.images[built["image"]])
    return built["image"], where


def delivered(google: GoogleProject, image: str, where: NodeSpec) -> Delivery:
    profile = load_profile("gke", "native")
    stored = google.world.images[image]
    return deliver(google.world, where, image, stored, profile, random.Random(1), google.clock.now())


def test_whole_preparation_streams(google: GoogleProject) -> None:
    """Built, streaming switched on for the pool, pulled once: the next node streams."""
    image, where = prepare(google)
    assert delivered(google, image, where).kind == "streamed"


def test_without_the_warming_pull_the_gain_is_gone(google: GoogleProject) -> None:
    """Everything but the one earlier pull."""
    image, where = prepare(google, warm=False)
    pulled = delivered(google, image, where)
    assert pulled.kind == "pull"
    assert "has pulled it before" in pulled.why


def test_without_enabling_streaming_the_gain_is_gone(google: GoogleProject) -> None:
    """Neither API nor pool were switched on: a pull by such a node does not even warm the cache."""
    image, where = prepare(google, stream=False)
    assert delivered(google, image, where).kind == "pull"
    assert google.world.gke_warm_cache == set()


def test_without_the_api_the_gain_is_gone(google: GoogleProject) -> None:
    """The pool's setting alone does nothing."""
    image, where = prepare(google)
    google.world.gke_streaming_api_enabled = False
    assert "containerfilesystem" in delivered(google, image, where).why


def test_plain_pool_beside_it_does_not_stream(google: GoogleProject) -> None:
    """The baseline's pool of the same cluster pulls in full."""
    image, _ = prepare(google)
    assert delivered(google, image, node(google, "gpu")).kind == "pull"


def test_pools_of_the_native_autoscaler_are_understood(google: GoogleProject) -> None:
    """What the node autoscaler `native` describes is what `set_up_node_pool` takes, field by field."""
    profile = NodeProfile(
        "gke-streaming",
        "gke",
        "native",
        "1.33",
        gpu_skus=("L4",),
        gpu_instance_type="g2-standard-12",
        cpu_instance_type="e2-standard-4",
        features={"image_streaming": True},
        options={"node_service_account": "nodes@p.iam.gserviceaccount.com", "driver_version": "LATEST"},
    )
    setup = Native().setup(profile)
    assert setup.cloud_pools
    for pool in setup.cloud_pools:
        assert (
            finish(google.cloud(), "set_up_node_pool", {"cluster": "main", "pool": dict(pool), "target": "t"}).error
            is None
        )
        made = google.world.clusters["main"].pools[pool["name"]]
        assert made.streaming
        assert dict(made.labels).items() >= dict(pool["labels"]).items()
