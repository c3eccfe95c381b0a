"""A pull through a peer: what the disk, the seed peer's content and the registry make of it, and what the peers log."""

import random
from dataclasses import replace
from datetime import UTC, datetime

from airflow_llm_provisioning.core.dragonfly import waiting_container
from llm_provisioning_simulator.app.dragonfly import DragonflyPods
from llm_provisioning_simulator.app.logs import PodLogs
from llm_provisioning_simulator.infra.delivery import peer_pull_s, pull_s
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.peers import Peer, PeerNetwork, layer_digests
from llm_provisioning_simulator.profiles import NOISE, Profile, load_profile
from llm_provisioning_simulator.runtime import ContainerContext
from llm_provisioning_simulator.virtual_time import VirtualClock, run_at_once
from llm_provisioning_simulator.world import Delivery, Image, NodeSpec

IMAGE = Image(
    "docker.io/rayproject/ray-ml:1", "sha256:" + "a" * 64, (2**30,) * 10, {}, {}, None, datetime(2026, 1, 1, tzinfo=UTC)
)


def profile(cloud: str) -> Profile:
    return load_profile(cloud, "luna").with_values(**{NOISE: 0.0})


def node(cloud: str) -> NodeSpec:
    return NodeSpec("c", "n", cloud, "r", "r-a", "x", {})


def both_s(cloud: str, held: float = 1.0, pulling: int = 1, image: Image = IMAGE) -> tuple[float, float]:
    """Return the seconds of a pull without and with peers."""
    of, where = profile(cloud), node(cloud)
    return pull_s(image, of, random.Random(0), where), peer_pull_s(image, of, random.Random(0), where, held, pulling)


def test_a_disk_that_takes_every_layer_twice_eats_the_gain() -> None:
    """EKS's gp3 volume of 125 MiB/s: a pull from Docker Hub is no slower. GKE's disk is faster."""
    plain, peers = both_s("eks")
    assert plain < peers < 1.15 * plain
    plain, peers = both_s("gke")
    assert peers < 0.7 * plain


def test_content_that_no_seed_peer_holds_comes_from_the_registry() -> None:
    """Then it is no faster than without peers; half of it is in between."""
    plain, full = both_s("gke")
    _, half = both_s("gke", held=0.5)
    _, empty = both_s("gke", held=0.0)
    assert full < half < empty
    assert empty >= plain


def test_a_registry_as_fast_as_unpacking_leaves_nothing_to_gain() -> None:
    """ECR in the same region."""
    near = replace(IMAGE, reference="123456789012.dkr.ecr.us-west-2.amazonaws.com/serving:r-1")
    plain, peers = both_s("eks", image=near)
    assert peers > plain


def test_many_nodes_share_the_seed_peers_link() -> None:
    """A few gain, and dozens wait for each other."""
    _, two = both_s("gke", pulling=2)
    _, dozens = both_s("gke", pulling=40)
    assert both_s("gke")[1] == two < dozens


def a_peer(said: list[str], **changes: object) -> Peer:
    made = Peer("p", "n", "10.0.0.1", seed=False, proxies=True, by_digest=True, say=said.append)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_pull_goes_through_a_peer_that_listens_where_the_mirror_leads_to_it() -> None:
    """Its node, its rules and the registry decide; a seed peer serves no runtime."""
    network, hub = PeerNetwork(), "docker.io/rayproject/ray:1"
    network.peers["u"] = peer = a_peer([])
    assert network.proxy("n", hub) is None
    network.mirrors["n"] = frozenset({"ghcr.io"})
    assert (network.proxy("n", hub), network.proxy("n", "ghcr.io/a/b:1")) == (None, peer)
    network.mirrors["n"] = None
    assert network.proxy("n", hub) is peer
    peer.proxies = False
    assert network.proxy("n", hub) is None
    peer.seed = peer.proxies = True
    assert (network.listening("n"), list(network.seeds())) == (None, [])
    network.schedulers.add("s")
    assert list(network.seeds()) == [peer]


def test_a_peer_that_logs_to_files_says_nothing() -> None:
    """Layers have digests of their own."""
    said: list[str] = []
    a_peer(said).log("x.rs:1", "told")
    a_peer(said, say=None).log("x.rs:1", "told")
    assert said == [" INFO x.rs:1: told"]
    assert len(set(layer_digests(IMAGE))) == len(IMAGE.layer_bytes)


async def _waited(fails: bool, network: PeerNetwork) -> tuple[int, list[str]]:
    clock = VirtualClock.of_this_loop()
    container = waiting_container(3, fails=fails)
    ctx = ContainerContext({"metadata": {"uid": "u"}, "spec": {}}, container, node("gke"), IMAGE, Delivery("pull"))
    logs = PodLogs(clock, main="ray")
    code = await DragonflyPods(ObjectStore(clock), clock, profile("gke"), network).run_init(ctx, logs)
    return code, [told for _, told in logs.containers["wait-for-peer"]]


def test_a_wait_for_a_peer_ends_with_it_or_as_it_was_told() -> None:
    """The Job that fills the seed peer fails then; a trial's pods go on to the registry."""
    with_peer = PeerNetwork(peers={"u": a_peer([])})
    assert run_at_once(_waited(True, with_peer)) == (0, ["peer on n after 0 s"])
    assert run_at_once(_waited(True, PeerNetwork())) == (1, ["no peer on n after 3 s"])
    assert run_at_once(_waited(False, PeerNetwork())) == (0, ["no peer on n after 3 s"])
