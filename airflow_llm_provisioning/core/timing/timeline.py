"""Combines observations into milestones: the earliest and the latest instant of each, in the recorder's clock.

The best source of a milestone decides, and its other sources must agree with it. A receipt is an upper bound. The last
observation without the milestone and its predecessors are lower bounds. A milestone that contradicts others is flagged
and excluded, and its phases are joined. Contradictions are never averaged.

This module knows no fields of Kubernetes and reads no lines.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.instants import SECOND, Stamp, format_instant, seconds
from airflow_llm_provisioning.core.timing.clocks import Clocks
from airflow_llm_provisioning.core.timing.milestones import (
    ENDPOINT_READY,
    MILESTONES,
    REPORTED_ONLY,
    SUBMITTED,
    CausalOrder,
)
from airflow_llm_provisioning.core.timing.observations import Observation

# Two sources of one milestone may differ by this much without disagreeing: an event follows its cause, the operator
# copies a status every two seconds, a poll comes once a second.
_AGREEMENT: Final = timedelta(seconds=5)
# Stamps of one clock may be out of order by this much, because NTP adjusts it slightly while containers run.
_INVERTED: Final = timedelta(seconds=0.25)
# Orders of magnitude; they decide which of two sources is moved.
_PROMPT_UNCERTAINTY: Final = timedelta(seconds=0.05)
_FINE_STAMP_UNCERTAINTY: Final = timedelta(seconds=0.1)
# Each round narrows less. A fourth round changed no bound by a tenth of a second in ten thousand generated deployments.
_ROUNDS: Final = 4
# Longer than any deployment: the lower bound of a milestone that was only observed at the end.
_UNKNOWN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Milestone:
    """One instant in [earliest_at, latest_at]. `at` is the likeliest point; phases are cut there.

    `uncertainty`: typical error of `at`, by the kind of its source; the more precise of two milestones places the
    other. `stamp`, `clock`: the written stamp and its clock, if any. Two stamps of one clock differ by exactly the time
    between them, independent of the offset of that clock.
    """

    name: str
    earliest_at: datetime
    latest_at: datetime
    at: datetime
    source: str
    stamp: Stamp | None = None
    clock: str = ""
    uncertainty: timedelta = timedelta()

    @property
    def width_s(self) -> float:
        """The distance between its bounds, in seconds."""
        return seconds(self.latest_at - self.earliest_at)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.name,
            "earliest_at": format_instant(self.earliest_at),
            "latest_at": format_instant(self.latest_at),
            "at": format_instant(self.at),
            "source": self.source,
        }


def span_between(start: Milestone, end: Milestone) -> tuple[timedelta, timedelta]:
    """Return the shortest and the longest possible time between two milestones; never below zero."""
    shortest, longest = end.earliest_at - start.latest_at, end.latest_at - start.earliest_at
    if start.stamp and end.stamp and start.clock == end.clock:
        shortest = max(shortest, end.stamp.at - start.stamp.until)
        longest = min(longest, end.stamp.until - start.stamp.at)
    shortest = max(shortest, timedelta())
    return shortest, max(longest, shortest)


@dataclass(frozen=True, slots=True)
class Flag:
    """A fact that a reader must know before trusting a number. `kind` is one word, `detail` a sentence."""

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Timeline:
    """All observed milestones by name, in causal order. `excluded`: those that contradict others."""

    milestones: Mapping[str, Milestone]
    excluded: frozenset[str]
    flags: tuple[Flag, ...]

    def get(self, name: str) -> Milestone | None:
        """Return a milestone if it was observed and is not excluded."""
        return None if name in self.excluded else self.milestones.get(name)

    @property
    def accepted(self) -> frozenset[str]:
        """The names of the milestones that are not excluded."""
        return frozenset(self.milestones) - self.excluded


def build_timeline(observations: Mapping[str, Sequence[Observation]], clocks: Clocks, order: CausalOrder) -> Timeline:
    """Combine every milestone's observations and check them against each other.

    The predecessors of a milestone also bound its clock, and so every other stamp of that clock. Therefore `clocks` are
    narrowed and all milestones are placed again.
    """
    timeline = _placed(observations, clocks, order)
    for _ in range(_ROUNDS):
        if not clocks.narrow(_evidence(timeline, observations)):
            break
        timeline = _placed(observations, clocks, order)
    return timeline


def _placed(observations: Mapping[str, Sequence[Observation]], clocks: Clocks, order: CausalOrder) -> Timeline:
    flags: list[Flag] = []
    found: dict[str, Milestone] = {}
    for name in sorted(observations, key=lambda item: order.rank.get(item, len(order.rank))):
        options = [(milestone(name, observation, clocks), observation) for observation in observations[name]]
        placed = [option for option, _ in options if option is not None]
        if not placed:
            continue
        found[name] = placed[0]
        flags.extend(_impossible(name, options[0][1], placed[0]))
        flags.extend(_disagreements(placed))
    excluded = _contradictions(found, order, flags)
    narrowed = _propagated({name: m for name, m in found.items() if name not in excluded}, order)
    return Timeline({**found, **narrowed}, excluded, tuple(flags))


def _evidence(
    timeline: Timeline, observations: Mapping[str, Sequence[Observation]]
) -> Iterator[tuple[str, timedelta, timedelta]]:
    """Yield (clock, lower bound of its offset, upper bound) from the accepted milestones."""
    for name in sorted(timeline.accepted):
        found = timeline.milestones[name]
        if found.stamp is not None and found.clock:
            yield found.clock, found.stamp.at - found.latest_at, found.stamp.until - found.earliest_at
        for stamp, clock in (pair for observation in observations[name] for pair in observation.written):
            yield clock, stamp.at - found.latest_at, _UNKNOWN


def milestone(name: str, observation: Observation, clocks: Clocks) -> Milestone | None:
    """Place one observation in the recorder's clock; None without an upper bound or a likely point."""
    lows: list[datetime] = []
    highs: list[datetime] = []
    likely: datetime | None = None
    if observation.stamp is not None:
        span = clocks.span(observation.clock, observation.stamp)
        lows.append(span.earliest)
        highs.append(span.latest)
        likely = span.likely
    spans = [clocks.span(clock, stamp) for stamp, clock in observation.written]
    lows.extend(span.earliest for span in spans)
    if observation.soon:
        likely = max((span.likely for span in spans), default=likely)
    highs.extend(clocks.span(clock, stamp).latest for stamp, clock in observation.settled)
    if observation.received_at is not None:
        highs.append(observation.received_at)
        silent = [at for at in observation.before if observation.received_at - at >= clocks.worst_delay]
        lows.extend(silent[-1:])
        coarse = observation.stamp is None or observation.stamp.resolution >= SECOND
        if likely is None or (observation.prompt and coarse):
            likely = observation.received_at
    lows += [observation.not_before] if observation.not_before else []
    highs += [observation.not_after] if observation.not_after else []
    if likely is None or not highs:
        return None
    latest = min(highs)
    # Without a lower bound, a receipt only says that the milestone was not later. Its predecessors narrow it.
    earliest = max(lows) if lows else latest - _UNKNOWN
    if earliest > latest:
        # The stamp contradicts its receipt. The receipt cannot be wrong, so the stamp's clock jumped.
        return Milestone(name, latest, latest, latest, f"{observation.source} (its stamp contradicts its receipt)")
    at = min(max(likely, earliest), latest)
    return Milestone(
        name,
        earliest,
        latest,
        at,
        observation.source,
        observation.stamp,
        observation.clock,
        _uncertainty(observation, latest - earliest),
    )


def _uncertainty(observation: Observation, width: timedelta) -> timedelta:
    """Return the typical error of an observation.

    A prompt receipt is late by milliseconds, a fine stamp is off by its clock's offset, a coarse stamp by half of its
    truncated part, and a poll by up to its interval.
    """
    if observation.prompt:
        return _PROMPT_UNCERTAINTY
    if observation.stamp is None:
        return width
    return observation.stamp.resolution / 2 if observation.stamp.resolution >= SECOND else _FINE_STAMP_UNCERTAINTY


def _impossible(name: str, observation: Observation, placed: Milestone) -> list[Flag]:
    if placed.source == observation.source:
        return []
    return [Flag("contradiction", f"{name}: {placed.source}")]


def _disagreements(options: Sequence[Milestone]) -> list[Flag]:
    first = options[0]
    return [
        Flag(
            "disagreement",
            f"{first.name}: {first.source} says {format_instant(first.at)}, "
            f"{other.source} says {format_instant(other.at)}",
        )
        for other in options[1:]
        if other.latest_at < first.earliest_at - _AGREEMENT
    ]


def _contradictions(found: Mapping[str, Milestone], order: CausalOrder, flags: list[Flag]) -> frozenset[str]:
    """Exclude milestones until no cause is later than its effect; the one with the most contradictions goes first."""
    off: set[str] = set()
    while True:
        present = frozenset(found) - off
        broken = _broken_pairs(found, present, order)
        if not broken:
            return frozenset(off)
        counts: dict[str, int] = {}
        for pair in broken:
            for name in pair:
                counts[name] = counts.get(name, 0) + 1
        worst = max(counts, key=lambda name: _exclusion_key(name, counts))
        if _no_total(found, present, SUBMITTED, ENDPOINT_READY):
            # No milestone in between can reconcile these two, so there is no total.
            worst = ENDPOINT_READY
        for cause, effect in broken:
            if worst in (cause, effect):
                flags.append(_broken(found[cause], found[effect]))
        off.add(worst)


def _no_total(found: Mapping[str, Milestone], present: frozenset[str], cause: str, effect: str) -> bool:
    return {cause, effect} <= present and found[cause].earliest_at > found[effect].latest_at


def _exclusion_key(name: str, counts: Mapping[str, int]) -> tuple[bool, bool, int, int]:
    """Return the sort key for exclusion: the ends of the path are kept longest, then milestones that end no phase go
    first, then the one with the most contradictions, then the later one.
    """
    ends = (SUBMITTED, ENDPOINT_READY)
    return name not in ends, name in REPORTED_ONLY, counts[name], MILESTONES.index(name)


def _broken(cause: Milestone, effect: Milestone) -> Flag:
    gap = seconds(cause.earliest_at - effect.latest_at)
    if _inverted(cause, effect) and cause.stamp and effect.stamp:
        gap = seconds(cause.stamp.at - effect.stamp.until)
    return Flag(
        "contradiction",
        f"{effect.name} ({effect.source}) lies at least {gap:.6f} s before {cause.name} ({cause.source}), "
        "which must come first",
    )


def _broken_pairs(found: Mapping[str, Milestone], present: frozenset[str], order: CausalOrder) -> list[tuple[str, str]]:
    """Return the pairs (cause, effect) whose bounds exclude their order, over all milestones in between."""
    earliest: dict[str, tuple[datetime, str]] = {}
    broken: list[tuple[str, str]] = []
    for name in sorted(present, key=lambda item: order.rank[item]):
        own = found[name]
        waited_for = [a.milestone for a in order.predecessors(name, present) if not a.soft]
        floor, cause = max((earliest[other] for other in waited_for), default=(own.earliest_at, name))
        if floor > own.latest_at:
            broken.append((cause, name))
        inverted = [(other, name) for other in waited_for if _inverted(found[other], own)]
        broken += [pair for pair in inverted if pair not in broken]
        earliest[name] = max((own.earliest_at, name), (floor, cause))
    return broken


def _inverted(cause: Milestone, effect: Milestone) -> bool:
    """Return whether two stamps of one clock are in the wrong order. The offset of the clock does not matter."""
    if cause.stamp is None or effect.stamp is None or cause.clock != effect.clock or not cause.clock:
        return False
    return cause.stamp.at > effect.stamp.until + _INVERTED


def _in_order(
    found: Mapping[str, Milestone],
    causes: Mapping[str, Sequence[str]],
    earliest: Mapping[str, datetime],
    latest: Mapping[str, datetime],
) -> dict[str, datetime]:
    """Put the likeliest points in causal order within their bounds, the most precise sources first.

    A stamp of whole seconds must not move a stamp of milliseconds. A valid order always exists: the bounds are already
    narrowed by each other, and the points placed before are in order.
    """
    ahead: dict[str, frozenset[str]] = {}
    for name, direct in causes.items():
        ahead[name] = frozenset(direct).union(*(ahead[cause] for cause in direct))
    at: dict[str, datetime] = {}
    for name in sorted(found, key=lambda item: (found[item].uncertainty, len(ahead[item]))):
        low = max([earliest[name], *(at[other] for other in ahead[name] if other in at)])
        high = min([latest[name], *(at[other] for other in at if name in ahead[other])])
        at[name] = min(max(found[name].at, low), high)
    return at


def _propagated(found: Mapping[str, Milestone], order: CausalOrder) -> dict[str, Milestone]:
    """Narrow every milestone by its causes and effects, and put the likeliest points in order."""
    names = sorted(found, key=lambda item: order.rank[item])
    present = frozenset(found)
    causes = {name: [a.milestone for a in order.predecessors(name, present) if not a.soft] for name in names}
    earliest = {name: found[name].earliest_at for name in names}
    latest = {name: found[name].latest_at for name in names}
    for name in names:
        earliest[name] = max([earliest[name], *(earliest[cause] for cause in causes[name])])
    for name in reversed(names):
        for cause in causes[name]:
            latest[cause] = min(latest[cause], latest[name])
    at = _in_order(found, causes, earliest, latest)
    return {
        name: replace(found[name], earliest_at=earliest[name], latest_at=latest[name], at=at[name]) for name in names
    }
