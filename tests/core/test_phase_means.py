"""Phases are averaged so that they add up to the mean total of the same trials."""

from typing import Any

import pytest
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
