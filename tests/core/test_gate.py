"""A gate passes only what its interval shows to be fast enough."""

from dataclasses import replace

import pytest
from trial_builders import a_result

from airflow_llm_provisioning.core.comparison import ArmTrials, grouped
from airflow_llm_provisioning.core.gate import LOST_TO_CAPACITY, Gate, Outcome, no_slower_than, within_limit
from airflow_llm_provisioning.core.gate_limit import GateLimit, judged


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


@pytest.mark.parametrize(
    ("counting", "lost", "outcome"),
    [(4, 1, Outcome.NO_CAPACITY), (3, 1, Outcome.UNDECIDED), (0, 2, Outcome.NO_CAPACITY), (5, 3, Outcome.PASSES)],
)
def test_trials_without_nodes_are_neither_slow_nor_a_pass(counting: int, lost: int, outcome: Outcome) -> None:
    """No capacity, if they are what is missing; five trials that count decide without the others."""
    full = arm([90.0 + at for at in range(counting + lost)])
    ids = [trial.trial_id for trial in full.trials]
    found = replace(full, pooled=full.pooled[lost:], set_aside=dict.fromkeys(ids[:lost], LOST_TO_CAPACITY))
    assert within_limit(found, 100.0).outcome is outcome


def test_a_time_that_is_none_does_not_count() -> None:
    """NaN, infinity and zero are no durations; nothing is computed from them."""
    bad = [float("nan"), float("inf"), 0.0, -3.0]
    (found,) = grouped(replace(a_result(f"t{at}"), total_s=total_s) for at, total_s in enumerate((90.0, *bad, 91.0)))
    assert (found.totals, len(found.trials)) == ([90.0, 91.0], 6)
    assert set(found.set_aside.values()) == {"total is no duration"}
    (none,) = grouped(replace(a_result(f"t{at}"), total_s=total_s) for at, total_s in enumerate(bad))
    assert within_limit(none, 100.0).outcome is Outcome.NOT_JUDGED


def of_runs(*names: str, **asked: object) -> Gate:
    """Judge the arm over runs of six trials near 100 s."""
    rows = [
        a_result(f"{dag}-{run}-{at}", dag_id=dag, run_id=run, total_s=100.0 + at)
        for dag, _, run in (name.rpartition(":") for name in names)
        for at in range(6)
    ]
    limit = GateLimit("eks-plain/phi3-2025/static/baseline", max_seconds=200.0)
    return judged(rows, limit, **asked)  # type: ignore[arg-type] # run_id and dag_id


def test_two_runs_of_one_id_are_not_pooled() -> None:
    """The instant of a schedule names the runs of every DAG on it."""
    found = of_runs("one:nightly", "two:nightly", run_id="nightly")
    assert found.outcome is Outcome.NOT_JUDGED
    assert "The DAGs one, two each have a run 'nightly'" in found.sentence
    assert of_runs("one:nightly", "two:nightly", run_id="nightly", dag_id="two").outcome is Outcome.PASSES


def test_an_empty_run_id_is_not_the_newest_run() -> None:
    """A variable of a pipeline that was not set."""
    assert of_runs("one:a", run_id="").outcome is Outcome.NOT_JUDGED
    assert of_runs("one:a").outcome is Outcome.PASSES
