"""Predictions held against trials that were run later: each arm is predicted from the other arms' earlier trials."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from airflow_llm_provisioning.core.statistics import MIN_FOR_INTERVAL
from airflow_llm_provisioning.core.treatments import Treatment, find_treatment
from airflow_llm_provisioning.core.what_if.prediction import Prediction, predict
from airflow_llm_provisioning.core.what_if.starts import MeasuredStart
from airflow_llm_provisioning.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True)
class Held:
    """One arm. `later_s`: the totals of its trials that were opened after the trials of the prediction had ended;
    `prediction`: None where `why` says that there is none.
    """

    arm: str
    prediction: Prediction | None
    later_s: tuple[float, ...] = ()
    why: str = ""

    @property
    def inside(self) -> int | None:
        """How many of the later totals are inside the interval; None without one."""
        if self.prediction is None or self.prediction.low_s is None:
            return None
        return sum(self.prediction.holds(total_s) is True for total_s in self.later_s)

    @property
    def error_pct(self) -> float | None:
        """By how much the middle was above the median of the later totals, in per cent of it."""
        if self.prediction is None or not self.later_s:
            return None
        return 100 * (self.prediction.middle_s / median(self.later_s) - 1)


def held_against(arms: Sequence[Sequence[MeasuredStart]]) -> Iterator[Held]:
    """Yield every arm of a stratum with what its other arms' earlier trials predict of it."""
    for own in arms:
        arm = own[0].facts.arm
        known = [find_treatment(name) for name in arm.treatments]
        wanted = [item for item in known if item is not None]
        if len(wanted) < len(known):
            yield Held(arm.label, None, why="a treatment of it is not installed here")
            continue
        yield _held(arm.label, own, [other for other in arms if other is not own], wanted)


def _held(
    label: str, own: Sequence[MeasuredStart], others: Sequence[Sequence[MeasuredStart]], wanted: Sequence[Treatment]
) -> Held:
    why = "no other arm has three trials that ended before one of it was opened"
    for at, first in enumerate(sorted(own, key=lambda start: start.opened_at)):
        before = [[start for start in each if start.closed_at <= first.opened_at] for each in others]
        enough = [each for each in before if len(each) >= MIN_FOR_INTERVAL]
        if not enough:
            continue
        try:
            found = predict(enough, wanted)
        except ConfigurationError as error:
            why = str(error)
            continue
        later = sorted(own, key=lambda start: start.opened_at)[at:]
        return Held(label, found, tuple(start.total_s for start in later))
    return Held(label, None, why=why)
