"""The gain of an early node is there with every step, and gone, and said to be gone, without any one."""

from dataclasses import replace
from functools import cache

import pytest
from proof.catalogue.early_nodes import EARLY_NODES
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


@pytest.mark.parametrize(("cloud", "autoscaler", "left"), [("eks", "karpenter", 0.65), ("aks", "native", 0.7)])
def test_with_every_step_node_and_pull_run_beside_the_head(cloud: str, autoscaler: str, left: float) -> None:
    """On EKS the worker finds node and image; on AKS the GPU's node is late, and the worker takes it as it comes."""
    planned = target(cloud, "early_node", autoscaler)
    early = Scenario(
        target=planned, declared=SERVED_2025, variant="early_node", setup=ScalingSetup.DYNAMIC, noise=False
    )
    found = Recording(early)
    assert (found.row.start, found.row.applied, found.row.exclusion) == ("cold", "applied", None)
    assert total_s(found) < left * plain_s(cloud, autoscaler, ScalingSetup.DYNAMIC)


@pytest.mark.parametrize("step", EARLY_NODES, ids=lambda item: item.name)
def test_without_any_one_the_start_takes_as_long_as_ever(step: NoOp) -> None:
    """No placeholder, the wrong shape, mark, image or priority: the total is the plain one's, and it is said."""
    found = Recording(replace(step.scenario, noise=False))
    where = step.scenario.target
    setup = ScalingSetup.DYNAMIC if found.view().dynamic else ScalingSetup.STATIC
    plain = plain_s(where.cloud, where.nodes.autoscaler, setup)
    assert found.row.applied == "not applied"
    # With another image the node itself is still early, which is little of the gain.
    assert total_s(found) > 0.95 * plain
