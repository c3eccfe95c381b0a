"""Phases are averaged so that they add up to the mean total of the same trials."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trial_builders import a_result

from airflow_llm_provisioning.core.phase_means import phase_means
from airflow_llm_provisioning.core.result import PhaseResult, TrialResult


def trial(trial_id: str, phases: dict[str, float], **changes: Any) -> TrialResult:
    stages = tuple(PhaseResult(name, s, s, s) for name, s in phases.items())
    return a_result(trial_id, total_s=sum(phases.values()), phases=stages, **changes)


def test_phases_are_averaged_over_the_trials_that_took_the_same_path() -> None:
    """Two of three trials pulled an image: their phases sum to their mean total, and the third's to its own."""
    rows = phase_means(
        [
            trial("short", {"load": 30.0}),
            trial("one", {"pull": 10.0, "load": 20.0}),
            trial("two", {"pull": 20.0, "load": 40.0}),
        ]
    )
    assert [(row.number, row.paths, row.n, row.pooled, row.total_s, row.phases) for row in rows] == [
        (1, 2, 2, 3, 45.0, (("pull", 15.0), ("load", 30.0))),
        (2, 2, 1, 3, 30.0, (("load", 30.0),)),
    ]
    assert [row["path"] for path in rows for row in path.rows()] == ["1 of 2", "1 of 2", "2 of 2"]


def test_another_order_of_the_same_phases_is_another_path() -> None:
    """A path is what came after what."""
    rows = phase_means([trial("one", {"pull": 1.0, "load": 2.0}), trial("two", {"load": 2.0, "pull": 1.0})])
    assert [row.n for row in rows] == [1, 1]


@pytest.mark.parametrize(
    "stratum",
    [{"workload_content": "another"}, {"model_id": "another"}, {"autoscaler": "karpenter"}, {"nodes": "other"}],
)
def test_phases_of_two_strata_are_never_averaged(stratum: dict[str, str]) -> None:
    """100 s and 900 s are two means, where version 0.1 printed 500 s."""
    rows = phase_means([trial("slow", {"pull": 900.0}), trial("fast", {"pull": 100.0}, **stratum)])
    assert sorted(row.phases for row in rows) == [(("pull", 100.0),), (("pull", 900.0),)]


def test_trials_that_do_not_count_and_trials_without_phases_have_no_path() -> None:
    """Nothing is averaged over them."""
    assert phase_means([trial("warm", {"pull": 1.0}, start="warm"), a_result("none")]) == []


@settings(max_examples=100, deadline=None)
@given(
    paths=st.lists(
        st.lists(
            st.tuples(st.sampled_from(["a", "b", "c", "d", "a+b"]), st.floats(1e-3, 1e4)),
            min_size=1, max_size=4, unique_by=lambda phase: phase[0],
        ),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_the_phases_of_every_path_add_up_to_its_mean_total(paths: list[list[tuple[str, float]]]) -> None:
    """For any trials: each path's phases sum to the mean total of its own trials, every trial is on one path, and each
    row says how many trials took it.
    """
    trials = [trial(str(number), dict(path)) for number, path in enumerate(paths)]
    found = phase_means(trials)
    assert sum(path.n for path in found) == len(trials)
    for path in found:
        taken = [one for one in trials if [phase.name for phase in one.phases] == [name for name, _ in path.phases]]
        assert path.n == len(taken)
        assert path.total_s == pytest.approx(sum(one.total_s or 0.0 for one in taken) / len(taken))
        rows = list(path.rows())
        assert sum(row["mean_s"] for row in rows) == pytest.approx(path.total_s)
        assert {(row["n"], row["pooled"], row["path_total_s"]) for row in rows} == {(path.n, len(trials), path.total_s)}
