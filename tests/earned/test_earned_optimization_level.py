"""A lower level's gain is there with its argument, and gone without it; and the tables say what it costs in serving.

Whole trials in virtual time, recorded and judged by what is shipped (`proof.recorded_trial`), without noise.
"""

from typing import Any

import pytest
from proof.catalogue.optimization_level import with_engine
from proof.recorded_trial import Scenario, run
from proof.targets import target
from proof.workloads import SERVED_CURRENT

from airflow_llm_provisioning.core.comparison import compare
from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.serving_guard import trade_off
from airflow_llm_provisioning.report.tables import serving_text, shown

# The profile's seconds: compiling; capturing is seven tenths of the warm-up, of which 53 % are piecewise graphs.
COMPILE_S, CAPTURE_S = 19.4, 0.7 * 14.4


def trial(variant: str, **fields: Any) -> TrialResult:
    scenario = Scenario(target=target("eks"), declared=SERVED_CURRENT, variant=variant, noise=False, **fields)
    return run(scenario)[-1].row


@pytest.mark.eks
def test_a_lower_level_starts_sooner_and_is_said_to_serve_slower() -> None:
    """Both gains follow from what is not compiled and not captured; the guard names the price."""
    rows = [trial(name) for name in ("baseline", "optimization_level_0", "optimization_level_1")]
    assert {(row.status, row.start) for row in rows} == {(TrialStatus.SUCCEEDED, "cold")}
    baseline, zero, one = (row.total_s or 0.0 for row in rows)
    # Serve looks every tenth of a second, and KubeRay every two seconds.
    assert baseline - zero == pytest.approx(COMPILE_S + CAPTURE_S, abs=2.5)
    assert baseline - one == pytest.approx(0.47 * CAPTURE_S, abs=2.5)
    plain, level_0, level_1 = (row.as_dict() for row in compare(rows))
    assert plain["slower_pct"] is None
    assert level_0["slower_pct"] == pytest.approx(100 * (1 - 1 / 1.65), abs=0.1)
    assert level_1["slower_pct"] == pytest.approx(100 * (1 - 1 / 1.1), abs=0.1)
    assert "faster and serves 39 % slower than the baseline: 30.3 tokens/s" in str(trade_off(level_0))
    assert trade_off(plain) is None
    assert serving_text(level_0) == shown(level_0)["serving"] == "30.3 (39 % slower)"


@pytest.mark.eks
def test_without_the_argument_nothing_is_gained() -> None:
    """The verdict says so, and the speed is the baseline's."""
    row = trial("optimization_level_0", manifest=with_engine(optimization_level=None))
    baseline = trial("baseline")
    assert row.applied == "not applied"
    assert row.total_s == pytest.approx(baseline.total_s, abs=0.5)
    assert row.speed == baseline.speed
