"""The interval says what so few times allow, and no more."""

import random
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_llm_provisioning.core.statistics import _u_counts, reduction


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
