"""GKE: the gain of a secondary boot disk is there with every step, and gone, and said to be gone, without any one."""

from dataclasses import replace

import pytest
from proof.catalogue.entry import NoOp
from proof.catalogue.preloaded_disks import PRELOADED_DISKS
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.workloads import SERVED_2025
from treatment_recordings import Recording

NAME = "preloaded_disk"
STEPS = ("holds no layers", "built again", "made before", "off on the pools", "streaming API")
# The other entries of the catalogue are disks that were prepared for something else.
LEFT_OUT = [
    item for item in PRELOADED_DISKS if item.truth == "not applied" and any(step in item.name for step in STEPS)
]


@pytest.fixture(scope="module")
def plain_s() -> float:
    """Return how long plain pools pull the same image."""
    planned = target("gke", "plain", "native")
    baked = Scenario(target=planned, declared=SERVED_2025, variant="fast_baked", noise=False)
    return max(Recording(baked).pulls_s())


def test_with_every_step_the_pulls_take_seconds_and_the_rest_is_read_later(plain_s: float) -> None:
    """Both pulls end within seconds; what is touched first still comes over the network, inside the total."""
    found = Recording(Scenario(target=target("gke", NAME, "native"), declared=SERVED_2025, variant=NAME, noise=False))
    assert (found.row.start, found.row.applied) == ("cold", "applied")
    assert max(found.pulls_s()) < 0.05 * plain_s


@pytest.mark.parametrize("step", LEFT_OUT, ids=lambda item: item.name)
def test_without_any_one_a_pull_takes_as_long_as_ever(step: NoOp, plain_s: float) -> None:
    """No disk, an empty one, another image's, no streaming: pulled in full, and the verdict says so."""
    found = Recording(replace(step.scenario, noise=False))
    assert max(found.pulls_s()) > 0.9 * plain_s
    assert found.row.applied == "not applied"
    assert found.verdict(NAME).value == "no"
