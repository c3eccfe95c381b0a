"""How much shorter two samples of times are: Hodges-Lehmann on their logarithms, with the interval that so few allow.

The estimate is the median of all pairwise ratios. Its interval comes from the exact distribution of Mann and Whitney's
U. Trials of one DAG run share what that run met (the region's load, the hour), so with several runs only pairs inside a
run count, and U is summed over the runs: the test of Wilcoxon stratified by blocks (E. L. Lehmann, Nonparametrics,
1975, section 3.3). What a run adds to both arms alike then cancels, and the interval stays exact.

Under three trials an arm there is no interval; under five it is a 90 % one; a 95 % claim needs five in both arms. Knows
numbers only; which trials may be held against each other is decided in `comparison`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, median
from typing import Final

MIN_FOR_INTERVAL: Final = 3
MIN_FOR_95: Final = 5
# More pairs than this have a normal approximation in place of the exact distribution.
_EXACT_PAIRS: Final = 3600
# The same for differences.
_EXACT_SIGNED: Final = 60

Block = tuple[Sequence[float], Sequence[float]]


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
    return reduction_in_blocks([(baseline, treated)])


def reduction_in_blocks(
    blocks: Sequence[Block], *, claim: bool = True, confidence: float | None = None
) -> Reduction | None:
    """Return how much shorter the treated times are than the baseline's of the same block; None where no block has
    both.

    `blocks`: (baseline, treated), seconds each. `claim`: whether an interval is allowed at all. `confidence`: of the
    interval; None: 95 %, or 90 % where the trials allow no more.
    """
    whole = [(old, new) for old, new in blocks if old and new]
    if not whole:
        return None
    ratios = sorted(math.log(new) - math.log(old) for olds, news in whole for old in olds for new in news)
    estimate = _saved_pct(median(ratios))
    fewest = min(sum(len(old) for old, _ in whole), sum(len(new) for _, new in whole))
    sizes = tuple(sorted((len(old), len(new)) for old, new in whole))
    for level in (0.95, 0.90) if confidence is None else (confidence,):
        if not claim or fewest < (MIN_FOR_95 if level >= 0.95 else MIN_FOR_INTERVAL):
            continue
        rank = _rank(sizes, level)
        if rank is not None:
            low, high = _at(ratios, rank), -_at([-ratio for ratio in reversed(ratios)], rank)
            return Reduction(estimate, _saved_pct(high), _saved_pct(low), level)
    return Reduction(estimate, None, None, None)


@dataclass(frozen=True, slots=True)
class Shift:
    """The middle of differences, with the interval that so many allow. `confidence`: None where there is none."""

    middle: float
    low: float | None
    high: float | None
    confidence: float | None


def shift_of(differences: Sequence[float]) -> Shift | None:
    """Return the Hodges-Lehmann estimate of independent, symmetric differences with the interval of Wilcoxon's signed
    ranks: 95 % from six differences on, 90 % of five, none of fewer (E. L. Lehmann, Nonparametrics, 1975, section 4.3).
    """
    if not differences:
        return None
    n = len(differences)
    walsh = sorted((one + other) / 2 for at, one in enumerate(differences) for other in differences[at:])
    estimate = median(walsh)
    for level in (0.95, 0.90):
        rank = _signed_rank(n, level)
        if rank is not None and n >= MIN_FOR_95:
            low, high = _at(walsh, rank), -_at([-value for value in reversed(walsh)], rank)
            return Shift(estimate, low, high, level)
    return Shift(estimate, None, None, None)


def median_of(values: Sequence[float]) -> float | None:
    """Return the median, or None of no values."""
    return median(values) if values else None


def _saved_pct(log_ratio: float) -> float:
    return 100 * (1 - math.exp(log_ratio))


@lru_cache(maxsize=256)
def _rank(sizes: tuple[tuple[int, int], ...], confidence: float) -> float | None:
    """Return how many of the sorted pairwise differences lie outside the interval at each end; None if even all are
    too few. `sizes`: (baseline, treated) of each block.

    The exact distribution has steps. Between two of them the number is interpolated, so that an interval of few trials
    does not claim 95 % and hold 98 % (T. Hettmansperger and S. Sheather, Statistics & Probability Letters 4, 1986).
    """
    tail = (1 - confidence) / 2
    pairs = sum(n * m for n, m in sizes)
    if pairs > _EXACT_PAIRS:
        spread = math.sqrt(sum(n * m * (n + m + 1) / 12 for n, m in sizes))
        return max(0.0, pairs / 2 - NormalDist().inv_cdf(1 - tail) * spread)
    counts = [1]
    for n, m in sizes:
        counts = _product(counts, _u_counts(n, m))
    total = sum(counts)
    below = 0.0
    for u, count in enumerate(counts):
        # A hair of tolerance: 1/20 is exactly the tail of three against three at 90 %.
        if (below + count) / total > tail + 1e-12:
            return u - 1 + max(0.0, (tail * total - below) / count) if u else None
        below += count
    return None


@lru_cache(maxsize=256)
def _signed_rank(n: int, confidence: float) -> float | None:
    """Return how many Walsh averages lie outside the interval at each end; None if even all are too few."""
    tail = (1 - confidence) / 2
    if n > _EXACT_SIGNED:
        spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return max(0.0, n * (n + 1) / 4 - NormalDist().inv_cdf(1 - tail) * spread)
    counts = [1]
    for rank in range(1, n + 1):
        counts = _product(counts, [1, *([0] * (rank - 1)), 1])
    below = 0
    for at, count in enumerate(counts):
        if (below + count) / 2**n > tail + 1e-12:
            return at - 1 + max(0.0, (tail * 2**n - below) / count) if at else None
        below += count
    return None


def _at(ascending: Sequence[float], rank: float) -> float:
    """Return the value at a rank, between its two neighbours where the rank is no whole number."""
    whole = math.floor(rank)
    part = rank - whole
    return ascending[whole] if not part else (1 - part) * ascending[whole] + part * ascending[whole + 1]


def _product(left: Sequence[int], right: Sequence[int]) -> list[int]:
    """Return the counts of a sum, from the counts of its two independent terms."""
    counts = [0] * (len(left) + len(right) - 1)
    for at, one in enumerate(left):
        for by, other in enumerate(right):
            counts[at + by] += one * other
    return counts


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
