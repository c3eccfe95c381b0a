"""Every source has its own clock; this says how far each may be from the recorder's, from the trace alone.

The reference is the recorder's clock, because it alone saw everything. A stamp cannot be later than its receipt, so
the largest `stamp - receipt` bounds a clock's lead from below. From above: at least one of a clock's messages arrived
promptly (within `promptness`), so its lead is not more than that stamp's cut-off fraction and so much beyond. Of n
stamps of whole seconds in n different seconds, the smallest cut-off fraction exceeds x with probability (1 - x)^n: many
stamps tighten the bound. A clock that no watch carries (Ray's, Serve's) is bounded by polls that did not have its stamp
yet, and by what its instants had to wait for (`narrow`). No lead is believed likely until the stamps prove one. It is
taken as constant for the length of a trial.

Knows nothing of milestones.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from airflow_llm_provisioning.core.instants import SECOND, Stamp, seconds
from airflow_llm_provisioning.core.timing.clock_samples import Sample, nodes_of_clocks, promptness, samples_of
from airflow_llm_provisioning.core.trace.view import TraceView

# A clock does not change by so much within one trial.
IMPLAUSIBLE: Final = timedelta(seconds=60)
# From so many messages on, one of them can be taken for prompt.
OFTEN: Final = 3
# What is believed of a clock of which no message was seen promptly; NTP-kept nodes stay far below.
ALLOWANCE: Final = timedelta(seconds=5)
# How sure the tightened bound is.
_DOUBT: Final = 0.001


@dataclass(frozen=True, slots=True)
class Lead:
    """How far a clock is ahead of the recorder's: at least `low`, at most `high`, most likely `likely`."""

    low: timedelta
    high: timedelta
    likely: timedelta


@dataclass(frozen=True, slots=True)
class Span:
    """Where an instant lies in the recorder's clock, and the likeliest point."""

    earliest: datetime
    latest: datetime
    likely: datetime


class Clocks:
    """The leads of every clock of a trace. `worst_delay`: the longest a message provably took to reach the recorder.
    `odd`: how many stamps of a clock cannot be of it, by what the others say; they count for nothing here.
    """

    def __init__(self, view: TraceView) -> None:
        self.odd: dict[str, int] = {}
        self._prompt = promptness(view)
        samples = {clock: self._plausible(clock, taken) for clock, taken in samples_of(view).items()}
        self._heard = {clock for clock, taken in samples.items() if any(sample.prompt for sample in taken)}
        often = {clock: taken for clock, taken in samples.items() if sum(s.prompt for s in taken) >= OFTEN}
        self._settled = frozenset(often)
        self.leads = {clock: self._lead(taken, self._prompt) for clock, taken in often.items()}
        self.worst_delay = self._prompt + self._longest(often)
        # Of a clock that was heard once or twice, each message may have been one of the slow ones.
        rarely = {clock: taken for clock, taken in samples.items() if clock not in often}
        self.leads |= {clock: self._lead(taken, self.worst_delay) for clock, taken in rarely.items()}
        self.leads = self._by_node(view, dict(sorted(self.leads.items())))
        self.worst_delay = self._prompt + self._longest(samples)

    def lead(self, clock: str) -> Lead:
        """Return the lead of a clock, as wide as the allowance for one never heard of."""
        return self.leads.get(clock, Lead(-ALLOWANCE, ALLOWANCE, timedelta()))

    def span(self, clock: str, stamp: Stamp) -> Span:
        """Return where a stamp of this clock lies in the recorder's."""
        lead = self.lead(clock)
        middle = stamp.at + stamp.resolution // 2 if stamp.resolution >= SECOND else stamp.at
        return Span(stamp.at - lead.high, stamp.until - lead.low, middle - lead.likely)

    def narrow(self, evidence: Iterable[tuple[str, timedelta, timedelta]]) -> bool:
        """Take into account that clocks lead by at least and at most so much; say whether that told anything new.

        Clocks that watches carried often are left alone: their own messages say more. Evidence that contradicts itself
        is counted in `odd` and not used.
        """
        told: dict[str, Lead] = {}
        for clock, low, high in evidence:
            if clock not in self._settled:
                lead = told.get(clock, self.lead(clock))
                told[clock] = Lead(max(lead.low, low), min(lead.high, high), lead.likely)
        news = False
        for clock, lead in told.items():
            if lead.low > lead.high:
                self.odd.setdefault(clock, 1)
                continue
            likely = min(max(lead.likely, lead.low), lead.high)
            news = news or self.lead(clock) != Lead(lead.low, lead.high, likely)
            self.leads[clock] = Lead(lead.low, lead.high, likely)
        return news

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Return the leads in seconds, as they are kept with an analysis: of the clocks that were heard promptly."""
        return {
            clock: {"low_s": seconds(lead.low), "high_s": seconds(lead.high), "likely_s": seconds(lead.likely)}
            for clock, lead in self.leads.items()
            if clock in self._heard
        }

    def _by_node(self, view: TraceView, leads: dict[str, Lead]) -> dict[str, Lead]:
        """Let the clocks in a pod lead as much as their node's, as far as that is possible."""
        for clock, node in sorted(nodes_of_clocks(view).items()):
            lead = leads.get(clock, Lead(-ALLOWANCE, ALLOWANCE, timedelta()))
            if node in leads:
                leads[clock] = Lead(lead.low, lead.high, min(max(leads[node].likely, lead.low), lead.high))
        return leads

    def _plausible(self, clock: str, samples: list[Sample]) -> list[Sample]:
        """Leave out stamps that lie far after their own receipts, compared with this clock's others: a delay only makes
        a stamp look older, so those are no stamps of this clock, or the recorder's own clock jumped.
        """
        leads = sorted(sample.lead for sample in samples if sample.prompt)
        if len(leads) < OFTEN:
            return samples
        limit = leads[len(leads) // 2] + IMPLAUSIBLE
        kept = [sample for sample in samples if sample.lead <= limit]
        if len(kept) < len(samples):
            self.odd[clock] = len(samples) - len(kept)
        return kept

    def _longest(self, samples: Mapping[str, list[Sample]]) -> timedelta:
        """Return the longest delay that the samples prove, at least zero."""
        proven = (
            sample.received_at - sample.stamp.until + self.leads[clock].low
            for clock, taken in samples.items()
            for sample in taken
            if sample.prompt
        )
        return max([timedelta(), *proven])

    def _lead(self, samples: list[Sample], prompt_within: timedelta) -> Lead:
        low = max(sample.lead for sample in samples)
        prompt = [sample for sample in samples if sample.prompt]
        if not prompt:
            return _unheard(low, min((sample.most for sample in samples if sample.most is not None), default=ALLOWANCE))
        candidates = []
        for resolution in {sample.stamp.resolution for sample in prompt}:
            alike = [sample for sample in prompt if sample.stamp.resolution == resolution]
            nearest = max(sample.lead for sample in alike)
            count = len({sample.stamp.at for sample in alike})
            cut = resolution * (1 - _DOUBT ** (1 / count)) if resolution >= SECOND else resolution
            likely = resolution / (count + 1) if resolution >= SECOND else timedelta()
            candidates.append((nearest + cut + prompt_within, nearest + likely))
        high, likely = min(candidates)
        high = max(high, low)
        return Lead(low, high, timedelta() if low <= timedelta() <= high else min(max(likely, low), high))


def _unheard(low: timedelta, most: timedelta) -> Lead:
    """Return the lead of a clock of which no watch told: by its receipts and polls, else within the allowance."""
    high = max(low, most)
    low = max(low, min(-ALLOWANCE, high))
    return Lead(low, high, min(max(timedelta(), low), high))
