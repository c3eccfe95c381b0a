"""Estimates how far each source's clock is from the recorder's clock, from the trace alone.

The recorder's clock is the reference, because the recorder received every line. A stamp cannot be later than its
receipt. So the largest `stamp - receipt` is a lower bound of a clock's offset. The upper bound assumes that at least
one message of a clock arrived promptly (within `promptness`). The offset is then at most that stamp's truncated
fraction plus `promptness` more. Of n stamps of whole seconds in n different seconds, the smallest truncated fraction
exceeds x with probability (1 - x)^n, so many stamps tighten the bound. Ray's and Serve's clocks appear in no watch.
They are bounded by polls that did not yet contain a stamp, and by the milestones that had to come first (`narrow`). An
offset is assumed to be zero until stamps prove otherwise, and to be constant during a trial.

This module knows no milestones.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from airflow_llm_provisioning.core.instants import SECOND, Stamp, seconds
from airflow_llm_provisioning.core.timing.clock_samples import Sample, nodes_of_clocks, promptness, samples_of
from airflow_llm_provisioning.core.trace.view import TraceView

# A clock does not change by this much within one trial.
IMPLAUSIBLE: Final = timedelta(seconds=60)
# With at least this many messages, one of them can be assumed to be prompt.
MIN_PROMPT_SAMPLES: Final = 3
# Assumed bound for a clock without a prompt message; nodes with NTP stay far below it.
DEFAULT_BOUND: Final = timedelta(seconds=5)
# Probability that the tightened bound is wrong.
_ERROR_PROBABILITY: Final = 0.001


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """Offset of a clock from the recorder's clock: at least `low`, at most `high`, most likely `likely`. Positive means
    ahead.
    """

    low: timedelta
    high: timedelta
    likely: timedelta


@dataclass(frozen=True, slots=True)
class Span:
    """Bounds of an instant in the recorder's clock, and its likeliest point."""

    earliest: datetime
    latest: datetime
    likely: datetime


class Clocks:
    """The offsets of all clocks of a trace.

    `worst_delay`: the longest proven delay of a message on its way to the recorder. `implausible`: number of stamps per
    clock that contradict the clock's other stamps; they are not used here.
    """

    def __init__(self, view: TraceView) -> None:
        self.implausible: dict[str, int] = {}
        self._prompt = promptness(view)
        samples = {clock: self._plausible(clock, taken) for clock, taken in samples_of(view).items()}
        self._with_prompt_sample = {clock for clock, taken in samples.items() if any(sample.prompt for sample in taken)}
        often = {clock: taken for clock, taken in samples.items() if sum(s.prompt for s in taken) >= MIN_PROMPT_SAMPLES}
        self._settled = frozenset(often)
        self.offsets = {clock: self._offset(taken, self._prompt) for clock, taken in often.items()}
        self.worst_delay = self._prompt + self._longest(often)
        # With only one or two messages from a clock, each of them may have been a slow one.
        rarely = {clock: taken for clock, taken in samples.items() if clock not in often}
        self.offsets |= {clock: self._offset(taken, self.worst_delay) for clock, taken in rarely.items()}
        self.offsets = self._by_node(view, dict(sorted(self.offsets.items())))
        self.worst_delay = self._prompt + self._longest(samples)

    def offset(self, clock: str) -> ClockOffset:
        """Return the offset of a clock; the default bound for a clock without samples."""
        return self.offsets.get(clock, ClockOffset(-DEFAULT_BOUND, DEFAULT_BOUND, timedelta()))

    def span(self, clock: str, stamp: Stamp) -> Span:
        """Return the interval of a stamp of this clock in the recorder's clock."""
        offset = self.offset(clock)
        middle = stamp.at + stamp.resolution // 2 if stamp.resolution >= SECOND else stamp.at
        return Span(stamp.at - offset.high, stamp.until - offset.low, middle - offset.likely)

    def narrow(self, evidence: Iterable[tuple[str, timedelta, timedelta]]) -> bool:
        """Tighten offsets by (clock, lower bound, upper bound); return whether an offset changed.

        Clocks with many prompt watch messages stay unchanged, because their own messages are the better evidence.
        Evidence that contradicts itself is counted in `implausible` and not used.
        """
        told: dict[str, ClockOffset] = {}
        for clock, low, high in evidence:
            if clock not in self._settled:
                offset = told.get(clock, self.offset(clock))
                told[clock] = ClockOffset(max(offset.low, low), min(offset.high, high), offset.likely)
        news = False
        for clock, offset in told.items():
            if offset.low > offset.high:
                self.implausible.setdefault(clock, 1)
                continue
            likely = min(max(offset.likely, offset.low), offset.high)
            news = news or self.offset(clock) != ClockOffset(offset.low, offset.high, likely)
            self.offsets[clock] = ClockOffset(offset.low, offset.high, likely)
        return news

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Return the offsets in seconds, as stored with an analysis. Only clocks with a prompt message are included."""
        return {
            clock: {"low_s": seconds(offset.low), "high_s": seconds(offset.high), "likely_s": seconds(offset.likely)}
            for clock, offset in self.offsets.items()
            if clock in self._with_prompt_sample
        }

    def _by_node(self, view: TraceView, offsets: dict[str, ClockOffset]) -> dict[str, ClockOffset]:
        """Set the likely offset of the clocks in a pod to the offset of their node, within their own bounds."""
        for clock, node in sorted(nodes_of_clocks(view).items()):
            offset = offsets.get(clock, ClockOffset(-DEFAULT_BOUND, DEFAULT_BOUND, timedelta()))
            if node in offsets:
                offsets[clock] = ClockOffset(
                    offset.low, offset.high, min(max(offsets[node].likely, offset.low), offset.high)
                )
        return offsets

    def _plausible(self, clock: str, samples: list[Sample]) -> list[Sample]:
        """Drop stamps that are far later than their receipts, compared with the other stamps of this clock.

        A delay only makes a stamp look older. Such stamps therefore come from another clock, or the recorder's clock
        jumped.
        """
        offsets = sorted(sample.offset for sample in samples if sample.prompt)
        if len(offsets) < MIN_PROMPT_SAMPLES:
            return samples
        limit = offsets[len(offsets) // 2] + IMPLAUSIBLE
        kept = [sample for sample in samples if sample.offset <= limit]
        if len(kept) < len(samples):
            self.implausible[clock] = len(samples) - len(kept)
        return kept

    def _longest(self, samples: Mapping[str, list[Sample]]) -> timedelta:
        """Return the longest delay that the samples prove; at least zero."""
        proven = (
            sample.received_at - sample.stamp.until + self.offsets[clock].low
            for clock, taken in samples.items()
            for sample in taken
            if sample.prompt
        )
        return max([timedelta(), *proven])

    def _offset(self, samples: list[Sample], prompt_within: timedelta) -> ClockOffset:
        low = max(sample.offset for sample in samples)
        prompt = [sample for sample in samples if sample.prompt]
        if not prompt:
            return _offset_without_prompt_samples(
                low, min((sample.most for sample in samples if sample.most is not None), default=DEFAULT_BOUND)
            )
        candidates = []
        for resolution in {sample.stamp.resolution for sample in prompt}:
            alike = [sample for sample in prompt if sample.stamp.resolution == resolution]
            nearest = max(sample.offset for sample in alike)
            count = len({sample.stamp.at for sample in alike})
            cut = resolution * (1 - _ERROR_PROBABILITY ** (1 / count)) if resolution >= SECOND else resolution
            likely = resolution / (count + 1) if resolution >= SECOND else timedelta()
            candidates.append((nearest + cut + prompt_within, nearest + likely))
        high, likely = min(candidates)
        high = max(high, low)
        return ClockOffset(low, high, timedelta() if low <= timedelta() <= high else min(max(likely, low), high))


def _offset_without_prompt_samples(low: timedelta, most: timedelta) -> ClockOffset:
    """Return the offset of a clock without watch messages: from receipts and polls, otherwise the default bound."""
    high = max(low, most)
    low = max(low, min(-DEFAULT_BOUND, high))
    return ClockOffset(low, high, min(max(timedelta(), low), high))
