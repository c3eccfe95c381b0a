"""How many trials a claim of some points needs."""

from trial_builders import a_result

from airflow_llm_provisioning.core.comparison import compare
from airflow_llm_provisioning.core.precision import precision_rows


def rows(baseline: list[float], improved: list[float]) -> list[dict[str, object]]:
    """Return the precision of one arm against its baseline."""
    trials = [a_result(f"b{i}", variant="baseline", total_s=s) for i, s in enumerate(baseline)]
    trials += [a_result(f"i{i}", variant="improved", total_s=s) for i, s in enumerate(improved)]
    return precision_rows(compare(trials))


def test_a_claim_of_half_the_width_needs_four_times_the_trials() -> None:
    """The width goes with the square root; never fewer than an interval needs at all."""
    (row,) = rows([1000.0, 1040.0, 980.0, 1010.0, 1025.0], [500.0, 520.0, 480.0, 505.0, 515.0])
    width = row["half_width_pct"]
    assert isinstance(width, float)
    assert row["n"] == 5
    for points in (10, 5, 3, 2, 1):
        assert row[f"trials_for_{points}"] == max(5, -int(-5 * (width / points) ** 2 // 1))
    assert row["why"] == ""


def test_what_cannot_be_said_is_missing_with_its_reason() -> None:
    """Too few trials, equal times, and no baseline: no number, and a sentence."""
    (few,) = rows([1000.0] * 2, [500.0] * 2)
    assert (few["trials_for_5"], few["why"]) == (None, "too few trials for an interval")
    (equal,) = rows([1000.0] * 5, [500.0] * 5)
    assert equal["trials_for_5"] is None
    assert "all times are equal" in str(equal["why"])
    (alone,) = rows([], [500.0] * 5)
    assert (alone["trials_for_5"], alone["why"]) == (None, "no trial of its baseline counts")
