"""The gain of a CapacityBuffer is there with every step, and gone, and said to be gone, without any one."""

from dataclasses import replace
from functools import cache

import pytest
from proof.catalogue.buffer_objects import BUFFER_OBJECTS, GATES
from proof.catalogue.entry import NoOp
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.workloads import SERVED_2025
from treatment_recordings import Recording

NAME = "capacity_buffer_object"


@cache
def plain_s(cloud: str, autoscaler: str) -> float:
    """Return the total of the same start without the treatment."""
    planned = target(cloud, "plain", autoscaler)
    return total_s(Recording(Scenario(target=planned, declared=SERVED_2025, variant="fast_baked", noise=False)))


def total_s(found: Recording) -> float:
    assert found.row.total_s is not None
    return found.row.total_s


def test_with_every_step_neither_node_nor_pull_is_waited_for() -> None:
    """Two thirds of the start are gone, twice in a row: the buffer is there for the second trial too."""
    planned = target("eks", NAME, "karpenter")
    scenario = Scenario(target=planned, declared=SERVED_2025, variant=NAME, noise=False, gates=GATES, earlier=1)
    found = Recording(scenario)
    assert (found.row.start, found.row.applied, found.row.exclusion) == ("cold", "applied", None)
    assert total_s(found) < 0.35 * plain_s("eks", "karpenter")
    assert found.pulls_s() == []


# The last one takes the buffer away too.
@pytest.mark.parametrize("step", BUFFER_OBJECTS[:4], ids=lambda item: item.name)
def test_without_any_one_the_start_takes_as_long_as_ever(step: NoOp) -> None:
    """A buffer of the head's only, one that is gone, an image that was not pulled onto the nodes."""
    found = Recording(replace(step.scenario, noise=False))
    where = step.scenario.target
    assert found.row.applied == "not applied"
    # A node without its image saves its boot, and a pull is the longer part.
    assert total_s(found) > 0.55 * plain_s(where.cloud, where.nodes.autoscaler)
