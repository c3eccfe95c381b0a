"""The interval says what so few times allow, and no more."""

import random
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_llm_provisioning.core.statistics import _EXACT_PAIRS, _rank, _u_counts, reduction


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


def exact_rank(n: int, m: int, confidence: float) -> int:
    """Return the largest U whose exact probability of being that small does not exceed the tail."""
    counts = _u_counts(n, m)
    total, below, rank = sum(counts), 0, -1
    for u, count in enumerate(counts):
        below += count
        if below / total > (1 - confidence) / 2:
            break
        rank = u
    return rank


@pytest.mark.parametrize("confidence", [0.90, 0.95])
@pytest.mark.parametrize(("n", "m"), [(61, 61), (40, 100), (500, 8)])
def test_large_samples_get_the_interval_of_the_exact_distribution(n: int, m: int, confidence: float) -> None:
    """Beyond the limit the normal approximation stands for the exact distribution: the ranks are close."""
    assert n * m > _EXACT_PAIRS
    approximate = _rank(((n, m),), confidence)
    assert approximate is not None
    assert approximate == pytest.approx(exact_rank(n, m, confidence), rel=0.004)


def test_a_large_sample_has_a_narrow_interval_around_its_estimate() -> None:
    """The approximation is used by `reduction` itself: sixty-one against sixty-one, five in a hundred apart."""
    rng = random.Random(3)
    base = [1000 * rng.lognormvariate(0, 0.05) for _ in range(61)]
    new = [950 * rng.lognormvariate(0, 0.05) for _ in range(61)]
    found = reduction(base, new)
    assert found is not None
    assert found.low_pct is not None
    assert found.high_pct is not None
    assert found.confidence == 0.95
    assert 0 < found.low_pct < found.reduction_pct < found.high_pct < 10
    assert found.high_pct - found.low_pct == pytest.approx(2 * 1.96 * 5 * (2 / 61) ** 0.5 * 0.95, rel=0.3)
