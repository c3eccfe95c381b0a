"""Which trials are paired, and when that allows an interval."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_builders import a_result

from airflow_llm_provisioning.core.blocks import paired
from airflow_llm_provisioning.core.comparison import compare
from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.core.statistics import reduction_in_blocks


def trials(variant: str, totals: dict[str, list[float]]) -> list[TrialResult]:
    """Rows of one variant. `totals`: run id -> seconds."""
    return [
        a_result(f"{variant}-{run}-{at}", variant=variant, total_s=total_s, run_id=run)
        for run, listed in totals.items()
        for at, total_s in enumerate(listed)
    ]


def test_a_slow_night_hits_both_arms_and_cancels() -> None:
    """One night is twice as slow. Pairs inside a night all say 30 %; pairs across nights would say anything."""
    old = trials("baseline", {"1": [1000.0, 1010.0, 1005.0], "2": [2000.0, 2020.0, 2010.0]})
    new = trials("improved", {"1": [700.0, 707.0, 703.0], "2": [1400.0, 1414.0, 1406.0]})
    row = compare([*old, *new])[1]
    assert row.reduction_pct == pytest.approx(30.0, abs=0.5)
    assert row.reduction_low_pct is not None
    assert row.reduction_low_pct > 28.0
    assert row.interval_basis == "within 2 runs"


def test_trials_of_a_run_without_the_other_arm_are_left_out_of_the_pairs() -> None:
    """They stay in the arm's own median, and the row says how many the reduction does without."""
    old = trials("baseline", {"1": [1000.0, 1000.0], "2": [5000.0, 5000.0, 5000.0]})
    row = compare([*old, *trials("improved", {"1": [500.0]})])[1]
    assert row.reduction_pct == pytest.approx(50.0)
    assert row.interval_basis == "within 1 run, 3 trials of runs without the other arm left out"


def test_arms_that_never_met_in_a_run_have_no_interval() -> None:
    """Five trials of one night against five of another are two nights, not ten independent trials."""
    old, new = trials("baseline", {"1": [1000.0] * 5}), trials("improved", {"2": [700.0] * 5})
    row = compare([*old, *new])[1]
    assert row.reduction_pct == pytest.approx(30.0)
    assert row.confidence is None
    assert row.interval_basis == "no interval: no run holds both arms, and trials share runs"


def test_single_trials_of_runs_of_their_own_are_independent() -> None:
    """Trials that were triggered one by one may be held against each other."""
    old = trials("baseline", {f"b{at}": [1000.0 + at] for at in range(5)})
    new = trials("improved", {f"i{at}": [700.0 + at] for at in range(5)})
    row = compare([*old, *new])[1]
    assert row.confidence == 0.95
    assert row.interval_basis == "between runs of one trial each"


def test_one_run_name_of_two_dags_is_two_runs() -> None:
    """Scheduled runs of different DAGs bear the same name."""
    old = [a_result("b", variant="baseline", run_id="r", dag_id="one")]
    new = [a_result("i", variant="improved", run_id="r", dag_id="two")]
    assert paired(old, new).basis == "between runs of one trial each"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(100, 2000), min_size=1, max_size=4),
            st.lists(st.floats(100, 2000), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.floats(0.2, 5), min_size=4, max_size=4),
)
def test_what_a_night_does_to_both_arms_changes_nothing(
    blocks: list[tuple[list[float], list[float]]], factors: list[float]
) -> None:
    """Any factor on all times of a block leaves estimate and interval as they are."""
    slowed = [([factor * t for t in old], [factor * t for t in new]) for (old, new), factor in zip(blocks, factors)]  # noqa: B905 - as many factors as blocks or more
    one, two = reduction_in_blocks(blocks), reduction_in_blocks(slowed)
    assert one is not None
    assert two is not None
    assert one.reduction_pct == pytest.approx(two.reduction_pct, abs=1e-6)
    assert one.confidence == two.confidence
    if one.low_pct is not None and one.high_pct is not None:
        assert (two.low_pct, two.high_pct) == (
            pytest.approx(one.low_pct, abs=1e-6),
            pytest.approx(one.high_pct, abs=1e-6),
        )
