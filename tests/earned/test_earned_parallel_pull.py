"""EKS: the gain of SOCI's parallel pull is there with every step, and gone, and said to be gone, without any one."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from proof.catalogue.entry import NoOp
from proof.catalogue.parallel_pulls import PARALLEL_PULLS
from proof.recorded_trial import Scenario
from proof.targets import target, with_other_nodes
from proof.workloads import SERVED_2025
from treatment_recordings import Recording, told

from airflow_llm_provisioning.core.treatments.soci_parallel_pull import VOLUME

NAME = "soci_parallel_pull"


@pytest.fixture(scope="module")
def plain_s() -> dict[bool, float]:
    """Return how long nodes without the treatment pull the same image: on a plain volume and on a fast one."""
    return {fast: plain_pull_s(VOLUME if fast else {}) for fast in (False, True)}


def plain_pull_s(volume: Mapping[str, int]) -> float:
    planned = target("eks")
    nodes = with_other_nodes(planned, options={**planned.nodes.options, **volume})
    baked = Scenario(target=planned, nodes=nodes, declared=SERVED_2025, variant="fast_baked", noise=False)
    return max(Recording(baked).pulls_s())


@pytest.mark.parametrize("autoscaler", ["luna", "karpenter"])
def test_with_every_step_both_pulls_take_less_than_half(autoscaler: str, plain_s: dict[bool, float]) -> None:
    """Luna hands the user data to EC2 in its ConfigMap, Karpenter in its node class. The fast volume alone gains less
    than a third; the rest is the snapshotter's.
    """
    planned = target("eks", "parallel_pull", autoscaler)
    found = Recording(Scenario(target=planned, declared=SERVED_2025, variant="parallel_pull", noise=False))
    assert (found.row.start, found.row.applied) == ("cold", "applied")
    assert max(found.pulls_s()) < 0.5 * plain_s[True]
    assert plain_s[True] > 0.7 * plain_s[False]


@pytest.mark.parametrize("step", PARALLEL_PULLS, ids=lambda item: item.name)
def test_without_any_one_the_pulls_take_as_long_as_ever(step: NoOp, plain_s: dict[bool, float]) -> None:
    """An old system, a missing setting, a slow disk: the image is pulled as without it, and the verdict says so."""
    found = Recording(replace(step.scenario, noise=False))
    on_fast = bool(step.scenario.nodes and step.scenario.nodes.nodes.options.get("throughput"))
    assert min(found.pulls_s()) > 0.9 * plain_s[on_fast]
    assert found.row.applied == "not applied"
    assert "as fast as an ordinary pull" in told(found.verdict(NAME))
