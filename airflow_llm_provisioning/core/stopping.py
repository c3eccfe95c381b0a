"""When an arm has enough trials: intervals that keep their coverage although one looks after every trial.

A 95 % interval that is looked at after each trial, and reported when it first pleases, misses the truth more often than
in 5 % of the cases. Here every look uses one stricter confidence, chosen so that all looks between the first and the
last together miss it in 5 %: the constant boundary of a Brownian motion over its standard deviation (D. Siegmund,
Sequential Analysis, 1985, chapter 4: P(max |B(t)|/sqrt(t) > c) for t between t0 and 1 is near
phi(c) ((c - 1/c) log(1/t0) + 4/c)). Looks after whole trials only are fewer, so the coverage is a little higher.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

from airflow_llm_provisioning.core.statistics import MIN_FOR_95, Block, Reduction, reduction_in_blocks

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """How many trials each arm gets: between `fewest` and `most`, until its reduction's interval is at most
    `half_width_pct` wide to each side. `most`: also the number of looks' end, fixed before the first trial.
    """

    fewest: int
    most: int
    half_width_pct: float

    def __post_init__(self) -> None:
        """Refuse what allows no claim."""
        if not MIN_FOR_95 <= self.fewest <= self.most:
            raise ValueError(f"a 95 % claim needs {MIN_FOR_95} <= fewest <= most, not {self.fewest} and {self.most}")
        if not self.half_width_pct > 0:
            raise ValueError(f"half_width_pct is {self.half_width_pct} and must be more than 0")

    def look(self, blocks: Sequence[Block]) -> "Look":
        """Return what the trials so far say, at the confidence that each of several looks needs."""
        found = reduction_in_blocks(blocks, confidence=confidence_of_a_look(self.fewest, self.most))
        return Look(found, self._enough(blocks, found))

    def _enough(self, blocks: Sequence[Block], found: Reduction | None) -> str | None:
        counts = [sum(len(block[side]) for block in blocks) for side in (0, 1)]
        if min(counts) >= self.most:
            return f"all {self.most} trials of each arm are there"
        if found is None or found.low_pct is None or found.high_pct is None or min(counts) < self.fewest:
            return None
        width = half_width_pct(found)
        if width is not None and width <= self.half_width_pct:
            return f"the interval is {width:.1f} points wide to each side, {self.half_width_pct:g} were asked for"
        return None


@dataclass(frozen=True, slots=True)
class Look:
    """`reduction`: at the confidence of one look; None where no block has both arms. `enough`: why no more trials are
    needed, None while they are.
    """

    reduction: Reduction | None
    enough: str | None


def half_width_pct(found: Reduction) -> float | None:
    """Return the longer side of an interval, in points; None without an interval."""
    if found.low_pct is None or found.high_pct is None:
        return None
    return max(abs(found.high_pct - found.reduction_pct), abs(found.reduction_pct - found.low_pct))


@lru_cache(maxsize=64)
def confidence_of_a_look(fewest: int, most: int, together: float = CONFIDENCE) -> float:
    """Return the confidence of each interval with which all looks from `fewest` to `most` trials hold together."""
    if fewest >= most:
        return together
    low, high = 1.0, 8.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _missed(middle, fewest / most) > 1 - together else (low, middle)
    return 2 * NormalDist().cdf(high) - 1


def trials_needed(found: Reduction, n: int, half_width: float) -> int | None:
    """Return about how many trials each arm needs for an interval of `half_width` points to each side, from the width
    with `n` trials; None without an interval, or where all times are equal. The width shrinks with the square root of
    the number.
    """
    width = half_width_pct(found)
    return None if not width else max(MIN_FOR_95, math.ceil(n * (width / half_width) ** 2))


def _missed(bound: float, first: float) -> float:
    return NormalDist().pdf(bound) * ((bound - 1 / bound) * math.log(1 / first) + 4 / bound)
