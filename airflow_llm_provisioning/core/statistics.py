"""How much shorter two samples of times are: Hodges-Lehmann on their logarithms, with the interval that so few allow.

The estimate is the median of all pairwise ratios. Its interval comes from the exact distribution of Mann and Whitney's
U. Under three trials an arm there is no interval; under five it is a 90 % one; a 95 % claim needs five in both arms.
Knows numbers only; which trials may be held against each other is decided in `comparison`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

MIN_FOR_INTERVAL: Final = 3
MIN_FOR_95: Final = 5
_EXACT_LIMIT: Final = 60
_Z: Final = {0.90: 1.6448536269514722, 0.95: 1.959963984540054}


@dataclass(frozen=True, slots=True)
class Reduction:
    """How much shorter than the baseline, in per cent of it; positive is faster. `confidence`: None where no interval
    is allowed.
    """

    reduction_pct: float
    low_pct: float | None
    high_pct: float | None
    confidence: float | None


def reduction(baseline: Sequence[float], treated: Sequence[float]) -> Reduction | None:
    """Return how much shorter `treated` is than `baseline` (seconds each); None where either is empty."""
    if not baseline or not treated:
        return None
    ratios = sorted(math.log(new) - math.log(old) for old in baseline for new in treated)
    estimate = _saved_pct(median(ratios))
    n, m = len(baseline), len(treated)
    if min(n, m) < MIN_FOR_INTERVAL:
        return Reduction(estimate, None, None, None)
    confidence = 0.95 if min(n, m) >= MIN_FOR_95 else 0.90
    rank = _rank(n, m, confidence)
    if rank is None:
        return Reduction(estimate, None, None, None)
    return Reduction(estimate, _saved_pct(ratios[-1 - rank]), _saved_pct(ratios[rank]), confidence)


def median_of(values: Sequence[float]) -> float | None:
    """Return the median, or None of no values."""
    return median(values) if values else None


def _saved_pct(log_ratio: float) -> float:
    return 100 * (1 - math.exp(log_ratio))


def _rank(n: int, m: int, confidence: float) -> int | None:
    """Return how many of the sorted pairwise differences lie outside the interval at each end; None if even all are
    too few.
    """
    tail = (1 - confidence) / 2
    if n * m > _EXACT_LIMIT * _EXACT_LIMIT:
        spread = math.sqrt(n * m * (n + m + 1) / 12)
        return max(0, math.floor(n * m / 2 - _Z[confidence] * spread))
    counts = _u_counts(n, m)
    total = sum(counts)
    below, rank = 0, None
    for u, count in enumerate(counts):
        below += count
        # A hair of tolerance: 1/20 is exactly the tail of three against three at 90 %.
        if below / total > tail + 1e-12:
            break
        rank = u
    return rank


def _u_counts(n: int, m: int) -> list[int]:
    """Return in how many of all orders of n and m values U has each value from 0 to n*m (the Gaussian binomial's
    coefficients).
    """
    counts = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        for u in range(n * m, m + i - 1, -1):
            counts[u] -= counts[u - m - i]
        for u in range(i, n * m + 1):
            counts[u] += counts[u - i]
    return counts
