"""Whether two nodes were set up one after the other is proven from a trace, and not guessed."""

import pytest
from proof.generated import Distortion, Scenario, generate

from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse
from airflow_llm_provisioning.core.verdicts import Verdict


def verdict(analysis: Analysis) -> Verdict | None:
    return next((v for v in analysis.verdicts if v.claim == "nodes_in_parallel"), None)


@pytest.mark.parametrize("autoscaler", ["luna", "karpenter", "cluster-autoscaler"])
@pytest.mark.parametrize("skew_s", [0.0, 5.0])
def test_serialised_set_up_shows_on_any_autoscaler(autoscaler: str, skew_s: float) -> None:
    """In a static deployment with two new nodes, one after the other is "no"; nodes created together never are. Luna
    has no object for its requests, so a late node may have been booting in parallel.
    """
    values: dict[bool, set[str]] = {True: set(), False: set()}
    for seed in range(10):
        for serial in values:
            scenario = Scenario(
                dynamic=False, fresh=True, head_fresh=True, cloud="gke", autoscaler=autoscaler, serial_nodes=serial
            )
            deployment = generate(seed, Distortion(skew_s=skew_s), scenario)
            told = verdict(analyse(deployment.lines))
            assert told is not None
            assert "node" in told.evidence[0]
            began = "node_created" if autoscaler == "luna" else "node_requested"
            first, second = sorted(("head", "worker"), key=lambda role: deployment.truth[f"{role}.{began}"])
            apart = deployment.truth[f"{second}.{began}"] > deployment.truth[f"{first}.node_ready"]
            assert told.value != ("yes" if apart else "no")
            values[serial].add(told.value)
    assert ("unknown" if autoscaler == "luna" else "no") in values[True]
    assert autoscaler != "luna" or "no" not in values[True] | values[False]
    assert "yes" in values[False]


def test_a_node_that_was_there_before_was_not_set_up() -> None:
    """With only one new node there is no verdict."""
    assert verdict(analyse(generate(1, scenario=Scenario(dynamic=False, fresh=True)).lines)) is None
