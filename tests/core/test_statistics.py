"""The comparison says what the data allow, and no more."""

import random
from datetime import UTC, datetime
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_llm_provisioning.core.result import PhaseResult, TrialResult, TrialStatus
from airflow_llm_provisioning.core.statistics import _u_counts, compare, excluded, phase_means, reduction

T0 = datetime(2026, 11, 22, tzinfo=UTC)


def trial(variant: str, total_s: float | None, **changes: object) -> TrialResult:
    values: dict[str, object] = {
        "trial_id": f"{variant}-{total_s}",
        "experiment": "e",
        "run_id": "r",
        "dag_id": "d",
        "target": "t",
        "cluster": "c",
        "cloud": "eks",
        "setup": "static",
        "variant": variant,
        "profile": "p",
        "treatments": (),
        "replicate": 0,
        "slot": 0,
        "seed": 0,
        "rayservice": "s",
        "namespace": "n",
        "model_id": "m",
        "model_revision": "r",
        "model_source": "pinned",
        "image": "i",
        "origin": "simulated",
        "status": TrialStatus.SUCCEEDED,
        "opened_at": T0,
        "closed_at": T0,
        "total_s": total_s,
        "start": "cold",
        "applied": "none" if variant == "baseline" else "applied",
    }
    return TrialResult(**(values | changes))  # type: ignore[arg-type]


def test_a_reduction_is_relative_to_the_baseline() -> None:
    """750 s instead of 1000 s is 25 % less."""
    rows = compare([trial("baseline", 1000.0), trial("improved", 750.0)])
    assert [row.variant for row in rows] == ["baseline", "improved"]
    assert rows[0].reduction_pct is None
    assert rows[1].reduction_pct == pytest.approx(25.0)
    assert rows[1].confidence is None


@pytest.mark.parametrize(
    "changes",
    [
        {"start": "warm"},
        {"start": "unknown"},
        {"applied": "not applied"},
        {"applied": "unknown"},
        {"status": TrialStatus.FAILED},
    ],
)
def test_what_is_not_comparable_is_counted_and_kept_out(changes: dict[str, object]) -> None:
    """A warm, unverified or failed trial changes no number, and its reason is printed."""
    rows = compare([trial("baseline", 1000.0), trial("improved", 500.0), trial("improved", 1.0, **changes)])
    assert rows[1].median_s == 500.0
    assert (rows[1].n, rows[1].trials) == (1, 2)
    assert rows[1].excluded.startswith("1 ")


def test_another_image_under_the_same_tag_is_not_pooled() -> None:
    """A tag that moved between replicates: the usual digest counts, the other trial is counted as what it is."""
    usual, moved = ({"worker": {"image_digest": f"sha256:{letter}"}} for letter in "ab")
    old = [trial("baseline", 1000.0, environment=usual, trial_id=str(n)) for n in range(2)]
    new = trial("baseline", 600.0, environment=moved, phases=(PhaseResult("image_pull", 9.0, 9.0, 9.0),))
    (row,) = compare([new, *old])
    assert (row.n, row.trials, row.median_s, row.excluded) == (2, 3, 1000.0, "1 another image")
    assert phase_means([new, *old]) == []
    assert excluded([new, *old]) == {new.trial_id: "another image"}


def test_simulated_and_measured_are_never_pooled() -> None:
    """A simulated baseline says nothing about a measured arm."""
    rows = compare([trial("baseline", 1000.0), trial("improved", 500.0, origin="measured")])
    assert all(row.reduction_pct is None for row in rows)


@pytest.mark.parametrize(("n", "confidence"), [(2, None), (3, 0.90), (4, 0.90), (5, 0.95), (12, 0.95)])
def test_the_claim_follows_the_number_of_trials(n: int, confidence: float | None) -> None:
    """No interval under three trials an arm, no 95 % under five."""
    found = reduction([100.0 + i for i in range(n)], [50.0 + i for i in range(n)])
    assert found is not None
    assert found.confidence == confidence


def test_u_counts_agree_with_counting_by_hand() -> None:
    """The recurrence gives the number of orders that plain enumeration finds."""
    for n, m in [(1, 1), (2, 3), (3, 3), (4, 2)]:
        counted = [0] * (n * m + 1)
        for order in set(permutations("a" * n + "b" * m)):
            u = sum(order[:at].count("b") for at, letter in enumerate(order) if letter == "a")
            counted[u] += 1
        assert _u_counts(n, m) == counted


def test_the_interval_covers_what_it_claims() -> None:
    """Over 600 experiments of five against five, the 95 % interval holds the true reduction in at least 92 %."""
    rng = random.Random(5)
    inside = 0
    for _ in range(600):
        base = [1000 * rng.lognormvariate(0, 0.05) for _ in range(5)]
        new = [700 * rng.lognormvariate(0, 0.05) for _ in range(5)]
        found = reduction(base, new)
        assert found is not None
        assert found.low_pct is not None
        assert found.high_pct is not None
        inside += found.low_pct <= 30.0 <= found.high_pct
    assert inside / 600 >= 0.92


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(10, 5000), min_size=3, max_size=9),
    st.lists(st.floats(10, 5000), min_size=3, max_size=9),
    st.floats(0.1, 10),
)
def test_the_unit_of_time_does_not_matter(old: list[float], new: list[float], factor: float) -> None:
    """Scaling both arms changes neither the estimate nor its interval, and the estimate lies inside."""
    one = reduction(old, new)
    two = reduction([x * factor for x in old], [x * factor for x in new])
    assert one is not None
    assert two is not None
    assert one.reduction_pct == pytest.approx(two.reduction_pct, abs=1e-6)
    if one.low_pct is not None and one.high_pct is not None:
        assert one.low_pct - 1e-9 <= one.reduction_pct <= one.high_pct + 1e-9


def test_a_phase_is_averaged_over_the_trials_that_passed_it() -> None:
    """A phase that only one of two trials has is printed with n = 1, not halved."""
    one = trial("baseline", 30.0, phases=(PhaseResult("pull", 10.0, 10, 10), PhaseResult("load", 20.0, 20, 20)))
    two = trial("baseline", 30.0, phases=(PhaseResult("load", 30.0, 30, 30),))
    found = {mean.phase: (mean.mean_s, mean.n) for mean in phase_means([one, two])}
    assert found == {"pull": (10.0, 1), "load": (25.0, 2)}
