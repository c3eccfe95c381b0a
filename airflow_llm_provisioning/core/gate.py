"""Whether an arm is fast enough: passes, slower, undecided, or not to be judged. Never passes for want of trials.

Against a limit the claim is about the arm's median, by the order statistics of its times. Against another run it is
about the ratio of the two, by the interval of `core.statistics`. Each side is wrong in at most
5 % of the cases; what the interval does not decide is undecided.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from airflow_llm_provisioning.core.comparison import ArmTrials
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.statistics import MIN_FOR_95, reduction_in_blocks

# Of a one-sided claim.
WRONG: Final = 0.05


class Outcome(StrEnum):
    """What a gate says."""

    PASSES = "passes"
    SLOWER = "slower"
    UNDECIDED = "undecided"
    NO_CAPACITY = "no capacity"
    NOT_JUDGED = "not judged"


# The status of a trial that got no nodes. It says nothing about how fast the arm is.
LOST_TO_CAPACITY: Final = "no_capacity"


@dataclass(frozen=True, slots=True)
class Gate:
    """What was found, in one sentence. `low`, `high`: seconds, or per cent slower; None without an interval."""

    outcome: Outcome
    sentence: str
    low: float | None = None
    high: float | None = None


def within_limit(arm: ArmTrials, most_s: float) -> Gate:
    """Judge whether the median total of an arm's comparable trials is at most `most_s` seconds."""
    if not (math.isfinite(most_s) and most_s > 0):
        return Gate(Outcome.NOT_JUDGED, f"The limit of {most_s:g} s is no limit: give seconds above 0.")
    if (nothing := _nothing(arm, "the arm")) is not None:
        return nothing
    outcome, bounds = verdict_within(arm.totals, most_s)
    if bounds is None:
        return Gate(outcome, f"{_counted(arm)}, and a claim needs {MIN_FOR_95}: run more.")
    low, high = bounds
    told = f"the median of {_counted(arm)} lies between {low:.1f} and {high:.1f} s, the limit is {most_s:g} s"
    more = "; run more trials" if outcome is Outcome.UNDECIDED else ""
    return Gate(outcome, f"{outcome.capitalize()}: {told}{more}.", low, high)


def no_slower_than(arm: ArmTrials, reference: ArmTrials, most_slower_pct: float) -> Gate:
    """Judge whether an arm's times are at most `most_slower_pct` per cent longer than a reference's.

    The two may be runs of different nights. The interval then knows the noise inside the runs only, and the sentence
    says so.
    """
    if not (math.isfinite(most_slower_pct) and most_slower_pct >= 0):
        return Gate(Outcome.NOT_JUDGED, f"A limit of {most_slower_pct:g} % slower is none: give per cent from 0 on.")
    for found, what in ((arm, "the arm"), (reference, "the reference")):
        if (nothing := _nothing(found, what)) is not None:
            return nothing
    outcome, slower = verdict_against(arm.totals, reference.totals, most_slower_pct)
    if slower is None:
        told = f"{_counted(arm)} against {_counted(reference)} of the reference, and a claim needs {MIN_FOR_95} of each"
        return Gate(outcome, f"Undecided: {told}; run more.")
    middle, low, high = slower
    apart = "" if _runs(arm.pooled) & _runs(reference.pooled) else " (of two runs, without what their nights add)"
    told = f"{middle:+.1f} % ({low:+.1f} to {high:+.1f}){apart}, allowed is {most_slower_pct:+g} %"
    more = "; run more trials" if outcome is Outcome.UNDECIDED else ""
    return Gate(outcome, f"{outcome.capitalize()}: {told}{more}.", low, high)


def verdict_within(totals: Sequence[float], most_s: float) -> tuple[Outcome, tuple[float, float] | None]:
    """Return what times say of a limit of their median, and between which seconds it lies; None of too few times. Both
    bounds grow with every single time.
    """
    bounds = _median_bounds(sorted(totals))
    return (Outcome.UNDECIDED, None) if bounds is None else (_against(bounds, most_s), bounds)


def verdict_against(
    totals: Sequence[float], reference: Sequence[float], most_slower_pct: float
) -> tuple[Outcome, tuple[float, float, float] | None]:
    """Return what times say against a reference's, and (middle, low, high) in per cent slower; None of too few times.
    All three grow with every single time of `totals`.
    """
    saved = reduction_in_blocks([(reference, totals)], confidence=1 - 2 * WRONG)
    enough = min(len(totals), len(reference)) >= MIN_FOR_95
    if saved is None or saved.low_pct is None or saved.high_pct is None or not enough:
        return Outcome.UNDECIDED, None
    low, high = -saved.high_pct, -saved.low_pct
    return _against((low, high), most_slower_pct), (-saved.reduction_pct, low, high)


def _against(bounds: tuple[float, float], most: float) -> Outcome:
    low, high = bounds
    if high <= most:
        return Outcome.PASSES
    return Outcome.SLOWER if low > most else Outcome.UNDECIDED


def _nothing(arm: ArmTrials, what: str) -> Gate | None:
    """Return why an arm cannot be judged, or None. It is for want of capacity if the trials that got none would have
    made enough, or if no trial got any.
    """
    lost = sum(why == LOST_TO_CAPACITY for why in arm.set_aside.values())
    if lost and len(arm.totals) < MIN_FOR_95 and (lost == len(arm.trials) or len(arm.totals) + lost >= MIN_FOR_95):
        told = f"{lost} of {len(arm.trials)} trials of {what} got no nodes, and {len(arm.totals)} count"
        return Gate(Outcome.NO_CAPACITY, f"No capacity: {told}. Run it again when there is capacity: {arm.arm.label}.")
    if arm.totals:
        return None
    why = "; ".join(sorted(set(arm.set_aside.values()))) or "it has no trials"
    told = f"None of the {len(arm.trials)} trials of {what} counts ({why})" if arm.trials else f"No trial of {what}"
    return Gate(Outcome.NOT_JUDGED, f"{told}: {arm.arm.label}.")


def _counted(arm: ArmTrials) -> str:
    left = len(arm.trials) - len(arm.totals)
    return f"{len(arm.totals)} trials" + (f" ({left} more do not count)" if left else "")


def _median_bounds(ascending: Sequence[float]) -> tuple[float, float] | None:
    """Return between which of its times the median lies, each side wrong in at most 5 %; None of too few times."""
    n = len(ascending)
    below, outside = 0.0, -1
    for k in range(n):
        below += math.comb(n, k) / 2**n
        if below > WRONG + 1e-12:
            break
        outside = k
    return None if outside < 0 or n < MIN_FOR_95 else (ascending[outside], ascending[n - 1 - outside])


def _runs(trials: Sequence[Measured]) -> set[tuple[str, str]]:
    return {trial.run for trial in trials}
