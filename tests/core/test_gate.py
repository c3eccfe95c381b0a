"""A gate passes only what its interval shows to be fast enough."""

import pytest
from trial_builders import a_result

from airflow_llm_provisioning.core.comparison import ArmTrials, grouped
from airflow_llm_provisioning.core.gate import Outcome, no_slower_than, within_limit


def arm(totals: list[float], run_id: str = "new", **changes: object) -> ArmTrials:
    (found,) = grouped(
        a_result(f"{run_id}-{at}", run_id=run_id, total_s=total_s, **changes) for at, total_s in enumerate(totals)
    )
    return found


@pytest.mark.parametrize(
    ("totals", "outcome"),
    [
        ([90.0, 91.0, 92.0, 93.0, 94.0], Outcome.PASSES),
        ([110.0, 111.0, 112.0, 113.0, 114.0], Outcome.SLOWER),
        ([90.0, 95.0, 99.0, 101.0, 105.0], Outcome.UNDECIDED),
        ([90.0, 91.0, 92.0, 93.0], Outcome.UNDECIDED),
    ],
)
def test_a_limit_is_held_against_the_median(totals: list[float], outcome: Outcome) -> None:
    """Five times on one side are a claim at 97 %; four are none, and times on both sides decide nothing."""
    assert within_limit(arm(totals), 100.0).outcome is outcome


def test_a_slower_run_is_told_with_its_per_cent() -> None:
    """20 % slower, 5 % allowed; and the sentence says that two nights are compared."""
    old = arm([100.0, 101.0, 102.0, 103.0, 104.0], "old")
    found = no_slower_than(arm([120.0, 121.0, 122.0, 123.0, 124.0]), old, 5.0)
    assert found.outcome is Outcome.SLOWER
    assert "+19.6 %" in found.sentence
    assert "of two runs, without what their nights add" in found.sentence
    assert no_slower_than(old, arm([120.0, 121.0, 122.0, 123.0, 124.0]), 5.0).outcome is Outcome.PASSES


def test_trials_that_do_not_count_are_not_judged() -> None:
    """The sentence says why none counts."""
    found = within_limit(arm([10.0] * 9, start="warm"), 100.0)
    assert found.outcome is Outcome.NOT_JUDGED
    assert "None of the 9 trials of the arm counts (start warm)" in found.sentence
