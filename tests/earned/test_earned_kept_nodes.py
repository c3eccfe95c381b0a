"""The gain of nodes that an autoscaler keeps is there with every step, and gone, and said to be gone, without any."""

from dataclasses import replace
from functools import cache

import pytest
from proof.catalogue import buffer_static
from proof.catalogue.buffer_objects import BUFFER_OBJECTS, GATES
from proof.catalogue.buffer_static import BUFFER_STATIC
from proof.catalogue.entry import NoOp
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.workloads import SERVED_2025
from treatment_recordings import Recording

OBJECT, STATIC = "capacity_buffer_object", "capacity_buffer_static"
WHOLE = (
    # Twice in a row: the buffer is there for the second trial too.
    Scenario(target=target("eks", OBJECT, "karpenter"), declared=SERVED_2025, variant=OBJECT, gates=GATES, earlier=1),
    Scenario(target=buffer_static.TARGET, declared=SERVED_2025, variant=STATIC, gates=buffer_static.GATES),
)


@cache
def plain_s() -> float:
    """Return the total of the same start without the treatment."""
    planned = target("eks", "plain", "karpenter")
    return total_s(Recording(Scenario(target=planned, declared=SERVED_2025, variant="fast_baked", noise=False)))


def total_s(found: Recording) -> float:
    assert found.row.total_s is not None
    return found.row.total_s


@pytest.mark.parametrize("whole", WHOLE, ids=lambda item: item.variant)
def test_with_every_step_neither_node_nor_pull_is_waited_for(whole: Scenario) -> None:
    """Two thirds of the start are gone."""
    found = Recording(replace(whole, noise=False))
    assert (found.row.start, found.row.applied, found.row.exclusion) == ("cold", "applied", None)
    assert total_s(found) < 0.35 * plain_s()
    assert found.pulls_s() == []


# What is taken away after the preparation is in the catalogue.
STEPS = (*BUFFER_OBJECTS[:3], *BUFFER_STATIC[::2][:2])


@pytest.mark.parametrize("step", STEPS, ids=lambda item: item.name)
def test_without_any_one_the_start_takes_as_long_as_ever(step: NoOp) -> None:
    """Nodes for the head only, or an image that was not pulled onto the nodes."""
    found = Recording(replace(step.scenario, noise=False))
    assert found.row.applied == "not applied"
    # A node without its image saves its boot, and a pull is the longer part.
    assert total_s(found) > 0.55 * plain_s()
