"""The trimmed start's gain is there with the operator's switch, and gone, and said to be gone, without it."""

import pytest
from proof.catalogue.ray_start_trim import operator_set_to
from proof.recorded_trial import Scenario, run
from proof.targets import target
from proof.workloads import SERVED_CURRENT

from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.workload import ScalingSetup


def trial(variant: str, *, switched: bool) -> TrialResult:
    """Run one trial in virtual time, without noise. A dynamic start's worker comes when the head has long been there,
    so its wait is the whole cost of the init container.
    """
    steps = {"after_preparation": operator_set_to("false")} if switched else {}
    scenario = Scenario(
        target=target("eks"),
        declared=SERVED_CURRENT,
        variant=variant,
        setup=ScalingSetup.DYNAMIC,
        noise=False,
        **steps,  # type: ignore[arg-type]
    )
    return run(scenario)[-1].row


@pytest.mark.eks
def test_the_switch_earns_the_gain() -> None:
    """The same trial with and without the operator's switch, against the baseline."""
    baseline = trial("baseline", switched=False)
    with_it = trial("ray_start_trim", switched=True)
    without = trial("ray_start_trim", switched=False)
    assert {row.status for row in (baseline, with_it, without)} == {TrialStatus.SUCCEEDED}
    assert (with_it.applied, with_it.start, with_it.exclusion) == ("applied", "cold", None)
    assert baseline.total_s is not None
    assert with_it.total_s is not None
    # One `ray health-check` under the cap (30 s in the profile).
    assert 25 < baseline.total_s - with_it.total_s < 40
    assert without.applied == "not applied"
    assert without.total_s == pytest.approx(baseline.total_s, abs=0.5)
