"""Results as a person reads them in a task's log."""

from dataclasses import replace

from trial_builders import a_result

from airflow_llm_provisioning.core.comparison import compare
from airflow_llm_provisioning.core.result import PhaseResult, TrialStatus
from airflow_llm_provisioning.report.log_text import WIDTH, told_comparison, told_judgement, told_trial

PHASES = (PhaseResult("head_image_pull", 600.0, 590.0, 610.0), PhaseResult("engine_init", 400.0, 400.0, 400.5))


def test_a_trial_is_told_with_phases_verdicts_and_bounds() -> None:
    """The total with its bounds, each phase with its share, each verdict with its evidence, and each flag."""
    verdicts = [{"claim": "cold_start", "value": "yes", "evidence": ["Node n-1 was created after the pod.", "more"]}]
    row = a_result("t-1", phases=PHASES, verdicts=verdicts, flags=("late: a node came late",), total_low_s=999.0)
    told = told_trial(replace(row, total_high_s=1001.5, completion_s=1010.0))
    for words in (
        "1000.0 s from submission to the ready endpoint (999.0 to 1001.5 s); first valid completion at 1010.0 s.",
        "It counts in comparisons.", "head_image_pull", "60.0", "590.0 to 610.0", "cold_start", "Node n-1 was created",
        "Flag: late: a node came late",
    ):  # fmt: skip
        assert words in " ".join(told.split()), words
    assert max(map(len, told.splitlines())) <= WIDTH


def test_a_trial_without_a_total_says_why() -> None:
    """Missing is missing, and the reason is the reader's first question."""
    told = told_trial(a_result("t-1", total_s=None, status=TrialStatus.FAILED, reason="Pod a: ErrImagePull."))
    assert "failed, no total." in told
    assert "It does not count in comparisons: failed." in told
    assert "Reason: Pod a: ErrImagePull." in told


def test_a_comparison_is_a_table() -> None:
    """One row per arm, with what was saved."""
    trials = [a_result(f"b-{n}", total_s=1000.0 + n) for n in range(3)]
    trials += [a_result(f"i-{n}", total_s=500.0 + n, variant="improved") for n in range(3)]
    told = told_comparison([row.as_dict() for row in compare(trials)])
    assert "improved" in told
    assert "-50.0 %" in told or "-49." in told, told
    assert "There are no results." in told_comparison([])


def test_a_judgement_names_its_gates() -> None:
    """With the sentence that each gate gives."""
    gate = {
        "arm": "eks/w/static/baseline",
        "outcome": "passes",
        "sentence": "The median is 900 s.",
        "low": 1,
        "high": 2,
    }
    judged = {"trials": 4, "not_needed": 1, "no_capacity": ["t-3: no L4 in us-west-2a"], "gates": [gate]}
    told = told_judgement(judged | {"serves_slower": ["static level_0 serves 39 % slower than the baseline"]})
    for words in (
        "4 trials",
        "1 were not needed",
        "No capacity: t-3: no L4",
        "Serves slower: static level_0 serves 39 % slower",
        "eks/w/static/baseline",
        "passes",
        "900 s",
    ):
        assert words in told
