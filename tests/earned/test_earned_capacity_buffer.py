"""The gain of a buffer is there with every step, and gone, and said to be gone, without any one."""

from dataclasses import replace
from functools import cache

import pytest
from proof.catalogue.capacity_buffers import CAPACITY_BUFFERS
from proof.catalogue.entry import NoOp
from proof.recorded_trial import Scenario
from proof.targets import target
from proof.workloads import SERVED_2025
from treatment_recordings import Recording

from airflow_llm_provisioning.core.workload import ScalingSetup


@cache
def plain_s(cloud: str, autoscaler: str, setup: ScalingSetup) -> float:
    """Return the total of the same start without the treatment."""
    planned = target(cloud, "plain", autoscaler)
    plain = Scenario(target=planned, declared=SERVED_2025, variant="fast_baked", setup=setup, noise=False)
    return total_s(Recording(plain))


def total_s(found: Recording) -> float:
    assert found.row.total_s is not None
    return found.row.total_s


def test_with_every_step_neither_node_nor_pull_is_waited_for() -> None:
    """Two thirds of the start are gone, and it is cold except for the nodes that were declared."""
    planned = target("eks", "capacity_buffer", "karpenter")
    found = Recording(Scenario(target=planned, declared=SERVED_2025, variant="capacity_buffer", noise=False))
    assert (found.row.start, found.row.applied, found.row.exclusion) == ("cold", "applied", None)
    assert total_s(found) < 0.35 * plain_s("eks", "karpenter", ScalingSetup.STATIC)
    assert found.pulls_s() == []


@pytest.mark.parametrize("step", CAPACITY_BUFFERS, ids=lambda item: item.name)
def test_without_any_one_the_start_takes_as_long_as_ever(step: NoOp) -> None:
    """A buffer of the head's only, of another image or shape, of equal priority, or one that is gone."""
    found = Recording(replace(step.scenario, noise=False))
    where = step.scenario.target
    plain = plain_s(where.cloud, where.nodes.autoscaler, step.scenario.setup)
    assert found.row.applied == "not applied"
    # What is left is the head's share, which is half of a dynamic start, or the node without its image.
    assert total_s(found) > (0.5 if step.scenario.setup is ScalingSetup.DYNAMIC else 0.9) * plain
