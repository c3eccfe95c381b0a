"""Every source has its own clock; this says how far each may be from the recorder's, from the trace alone.

The reference is the recorder's clock, because it alone saw everything. A stamp cannot be later than its receipt, so
the largest `stamp - receipt` bounds a clock's lead from below. From above: at least one of a clock's messages arrived
promptly (within `PROMPT`), so its lead is not more than that stamp's cut-off fraction and `PROMPT` beyond. Of n stamps
of whole seconds in n different seconds, the smallest cut-off fraction exceeds x with probability (1 - x)^n: many stamps
tighten the bound. No lead is believed likely until the stamps prove one. It is taken as constant for the length of a
trial.

Knows nothing of milestones.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from airflow_llm_provisioning.core.fields import dig, mapping, number
from airflow_llm_provisioning.core.instants import SECOND, Stamp, from_epoch_s, seconds
from airflow_llm_provisioning.core.trace.objects import Event
from airflow_llm_provisioning.core.trace.redaction import newest_managed_stamp
from airflow_llm_provisioning.core.trace.view import TraceView, replicas_of

API: Final = "api-server"
OPERATOR: Final = "kuberay-operator"
SCHEDULER: Final = "scheduler"

# The quickest of a clock's messages takes no longer. Recordings: operator events arrive 3 to 35 ms after their stamp.
PROMPT: Final = timedelta(seconds=0.25)
# A clock does not change by so much within one trial.
IMPLAUSIBLE: Final = timedelta(seconds=60)
# A simulated clock that runs faster blurs everything anyhow.
FASTEST: Final = 1000.0
# From so many messages on, one of them can be taken for prompt.
OFTEN: Final = 3
# What is believed of a clock of which no message was seen promptly; NTP-kept nodes stay far below.
ALLOWANCE: Final = timedelta(seconds=5)
# How sure the tightened bound is.
_DOUBT: Final = 0.001

_COMPONENTS: Final[Mapping[str, str]] = {
    "rayservice-controller": OPERATOR,
    "raycluster-controller": OPERATOR,
    "default-scheduler": SCHEDULER,
}


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


@dataclass(frozen=True, slots=True)
class _Sample:
    stamp: Stamp
    received_at: datetime
    prompt: bool

    @property
    def lead(self) -> timedelta:
        return self.stamp.at - self.received_at


def node_clock(node_name: str) -> str:
    """Name the clock of a node: its kubelet's, and that of every process in its pods."""
    return f"node {node_name}"


def event_clock(event: Event) -> str:
    """Name the clock that stamped an event."""
    if event.component == "kubelet" and event.host:
        return node_clock(event.host)
    return _COMPONENTS.get(event.component, event.component or "unknown")


class Clocks:
    """The leads of every clock of a trace. `worst_delay`: the longest a message provably took to reach the recorder.
    `odd`: how many stamps of a clock lie impossibly far after their receipts; they count for nothing here.
    """

    def __init__(self, view: TraceView) -> None:
        self.odd: dict[str, int] = {}
        speed = number(dig(view.header, "clock", "speed")) or 1.0
        self._prompt = PROMPT * min(max(1.0, speed), FASTEST)
        samples: dict[str, list[_Sample]] = {}
        for clock, sample in _samples(view):
            samples.setdefault(clock, []).append(sample)
        samples = {clock: self._plausible(clock, taken) for clock, taken in samples.items()}
        self._heard = {clock for clock, taken in samples.items() if any(sample.prompt for sample in taken)}
        often = {clock: taken for clock, taken in samples.items() if sum(s.prompt for s in taken) >= OFTEN}
        self.leads = {clock: self._lead(taken, self._prompt) for clock, taken in often.items()}
        self.worst_delay = self._prompt + self._longest(often)
        # Of a clock that was heard once or twice, each message may have been one of the slow ones.
        rarely = {clock: taken for clock, taken in samples.items() if clock not in often}
        self.leads |= {clock: self._lead(taken, self.worst_delay) for clock, taken in rarely.items()}
        self.leads = dict(sorted(self.leads.items()))
        self.worst_delay = self._prompt + self._longest(samples)

    def lead(self, clock: str) -> Lead:
        """Return the lead of a clock, as wide as the allowance for one never heard of."""
        return self.leads.get(clock, Lead(-ALLOWANCE, ALLOWANCE, timedelta()))

    def span(self, clock: str, stamp: Stamp) -> Span:
        """Return where a stamp of this clock lies in the recorder's."""
        lead = self.lead(clock)
        middle = stamp.at + stamp.resolution // 2 if stamp.resolution >= SECOND else stamp.at
        return Span(stamp.at - lead.high, stamp.until - lead.low, middle - lead.likely)

    def _plausible(self, clock: str, samples: list[_Sample]) -> list[_Sample]:
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

    def _longest(self, samples: Mapping[str, list[_Sample]]) -> timedelta:
        """Return the longest delay that the samples prove, at least zero."""
        proven = (
            sample.received_at - sample.stamp.until + self.leads[clock].low
            for clock, taken in samples.items()
            for sample in taken
            if sample.prompt
        )
        return max([timedelta(), *proven])

    def _lead(self, samples: list[_Sample], prompt_within: timedelta) -> Lead:
        low = max(sample.lead for sample in samples)
        prompt = [sample for sample in samples if sample.prompt]
        if not prompt:
            low = max(low, -ALLOWANCE)
            high = max(low, ALLOWANCE)
            return Lead(low, high, max(timedelta(), low))
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

    def as_dict(self) -> dict[str, dict[str, float]]:
        """Return the leads in seconds, as they are kept with an analysis: of the clocks that were heard promptly."""
        return {
            clock: {"low_s": seconds(lead.low), "high_s": seconds(lead.high), "likely_s": seconds(lead.likely)}
            for clock, lead in self.leads.items()
            if clock in self._heard
        }


def _samples(view: TraceView) -> Iterable[tuple[str, _Sample]]:
    for event in view.events:
        if event.first is not None:
            yield event_clock(event), _Sample(event.first, event.received_at, event.prompt)
    yield from _object_samples(view)
    head = view.node_name_of(view.head) if view.head else ""
    if head:
        for answer in view.polls():
            for value in _serve_stamps(answer.body):
                stamp = from_epoch_s(value)
                if stamp:
                    yield node_clock(head), _Sample(stamp, answer.received_at, prompt=False)


def _object_samples(view: TraceView) -> Iterable[tuple[str, _Sample]]:
    for resource in ("rayservices", "rayclusters", "pods", "services", "endpointslices", "nodes", "nodeclaims"):
        for item in view.objects(resource):
            first = item.versions[0]
            if item.created is not None:
                yield API, _Sample(item.created, first.received_at, first.kind == "ADDED")
            for version in item.versions:
                written = newest_managed_stamp(version.object)
                if written is not None and version.kind != "DELETED":
                    yield API, _Sample(written, version.received_at, version.prompt)


def _serve_stamps(body: object) -> Iterable[object]:
    for application in mapping(dig(body, "applications")).values():
        yield dig(application, "last_deployed_time_s")
        for replica in replicas_of(application):
            yield replica.get("start_time_s")
