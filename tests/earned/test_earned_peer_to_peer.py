"""Layers from peers: with every step they come from the seed peer; without one the gain is gone, and it is said.

Against Docker Hub, whose rate is the profile's lower bound: there the way of the layers decides. That a slow disk eats
the gain is held in tests/simulator/infra/test_peers.py.
"""

from dataclasses import replace

import pytest
from proof.catalogue.entry import NoOp
from proof.catalogue.peer_to_peer import PEERS
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.workloads import SERVED_2025
from treatment_recordings import Recording

# network.toml [docker_hub_bytes_s], the lower end of its range.
SLOW_HUB = {"docker_hub_bytes_s": 32e6}


SIZE = 10_695_295_693
NAME = "peer_to_peer"
STEPS = tuple(
    item
    for item in PEERS
    if item.name
    in {
        "the seed peer was not filled",
        "the mirror is of another registry",
        "the image's pull began before the peer was ready",
    }
)


def trial(kind: str, variant: str) -> Recording:
    where = target("gke", kind)
    return Recording(Scenario(target=where, declared=SERVED_2025, variant=variant, noise=False, values=SLOW_HUB))


def total_s(found: Recording) -> float:
    assert found.row.total_s is not None
    return found.row.total_s


def test_with_every_step_the_layers_come_at_the_rate_of_unpacking() -> None:
    """The pull takes as long as the disk takes the layers and what is unpacked of them (gke.toml: 237 MB/s for 3.15
    bytes), and the total is shorter by what the registry's rate cost, less the wait for the peer.
    """
    plain, peers = trial("plain", "fast_download"), trial(NAME, NAME)
    assert (peers.row.start, peers.row.applied, peers.row.exclusion) == ("cold", "applied", None)
    assert min(plain.pulls_s()) > SIZE / SLOW_HUB["docker_hub_bytes_s"]
    assert max(peers.pulls_s()) == pytest.approx(SIZE * 3.15 / 237e6, rel=0.15)
    gained = max(plain.pulls_s()) - max(peers.pulls_s())
    assert 0 < total_s(plain) - total_s(peers) <= gained


@pytest.mark.parametrize("step", STEPS, ids=lambda item: item.name)
def test_without_any_one_the_layers_come_from_the_registry(step: NoOp) -> None:
    """No content, no mirror, no wait: each is silent. The other steps are in the catalogue of no-ops."""
    found = Recording(replace(step.scenario, target=target("gke", NAME), noise=False, values=SLOW_HUB))
    assert found.row.applied == "not applied"
    assert max(found.pulls_s()) > SIZE / SLOW_HUB["docker_hub_bytes_s"]
