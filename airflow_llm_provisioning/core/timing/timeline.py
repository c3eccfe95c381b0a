"""Sightings -> milestones: when each instant lies at the earliest and at the latest, in the recorder's clock.

Of a milestone's sources the best one decides, and the others must agree with it; a receipt bounds it from above, the
last observation without it from below, and what it had to wait for from below again. What cannot be reconciled is
flagged and taken off the route (its phases join), never averaged away.

Knows nothing of Kubernetes' fields; reads no lines.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.instants import SECOND, Stamp, format_instant, seconds
from airflow_llm_provisioning.core.timing.clocks import Clocks
from airflow_llm_provisioning.core.timing.milestones import (
    BESIDE_THE_ROUTE,
    ENDPOINT_READY,
    MILESTONES,
    SUBMITTED,
    Route,
)
from airflow_llm_provisioning.core.timing.sightings import Sighting

# Two sources of one milestone may name moments that differ this much without disagreeing: an event follows what it
# tells, a status is copied at the operator's two-second pace, a poll comes once a second.
_AGREEMENT: Final = timedelta(seconds=5)
# What one clock wrote may come out of order by this: it is set, a little, while containers run (NTP).
_INVERTED: Final = timedelta(seconds=0.25)
# Order of magnitude only: which of two sources gives way.
_PROMPT_BLUR: Final = timedelta(seconds=0.05)
_FINE_BLUR: Final = timedelta(seconds=0.1)
# Each round narrows less; two more than ever changed a tenth of a second in ten thousand made-up deployments.
_ROUNDS: Final = 4
# Longer than any deployment: the lower bound of what was only seen at the end.
_UNKNOWN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Milestone:
    """One instant: it lies in [earliest_at, latest_at]; `at` is the likeliest point, and what phases are cut at.

    `blur`: how far `at` may well be off, by the kind of its source: the sharper of two puts the other in its place.
    `stamp`, `clock`: what was written and by whose clock, where it was: two stamps of one clock differ by exactly the
    time between them, however far that clock is off.
    """

    name: str
    earliest_at: datetime
    latest_at: datetime
    at: datetime
    source: str
    stamp: Stamp | None = None
    clock: str = ""
    blur: timedelta = timedelta()

    @property
    def width_s(self) -> float:
        """How far apart its bounds are."""
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
    """Return the shortest and the longest time that can lie between two milestones; never below zero."""
    shortest, longest = end.earliest_at - start.latest_at, end.latest_at - start.earliest_at
    if start.stamp and end.stamp and start.clock == end.clock:
        shortest = max(shortest, end.stamp.at - start.stamp.until)
        longest = min(longest, end.stamp.until - start.stamp.at)
    shortest = max(shortest, timedelta())
    return shortest, max(longest, shortest)


@dataclass(frozen=True, slots=True)
class Flag:
    """Something a reader must know before trusting a number. `kind` is one word, `detail` a sentence."""

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every milestone that was seen, by name, in causal order; `off_route`: those in contradiction with others."""

    milestones: Mapping[str, Milestone]
    off_route: frozenset[str]
    flags: tuple[Flag, ...]

    def get(self, name: str) -> Milestone | None:
        """Return a milestone if it was seen and can be believed."""
        return None if name in self.off_route else self.milestones.get(name)

    @property
    def on_route(self) -> frozenset[str]:
        """The names that can be believed."""
        return frozenset(self.milestones) - self.off_route


def build_timeline(sightings: Mapping[str, Sequence[Sighting]], clocks: Clocks, route: Route) -> Timeline:
    """Combine every milestone's sightings and hold them against each other.

    What an instant had to wait for bounds its clock too, and with it every other stamp of that clock: so `clocks` are
    narrowed, and all is placed again.
    """
    timeline = _placed(sightings, clocks, route)
    for _ in range(_ROUNDS):
        if not clocks.narrow(_evidence(timeline, sightings)):
            break
        timeline = _placed(sightings, clocks, route)
    return timeline


def _placed(sightings: Mapping[str, Sequence[Sighting]], clocks: Clocks, route: Route) -> Timeline:
    flags: list[Flag] = []
    found: dict[str, Milestone] = {}
    for name in sorted(sightings, key=lambda item: route.order.get(item, len(route.order))):
        options = [(milestone(name, sighting, clocks), sighting) for sighting in sightings[name]]
        placed = [option for option, _ in options if option is not None]
        if not placed:
            continue
        found[name] = placed[0]
        flags.extend(_impossible(name, options[0][1], placed[0]))
        flags.extend(_disagreements(placed))
    off_route = _contradictions(found, route, flags)
    believed = _propagated({name: m for name, m in found.items() if name not in off_route}, route)
    return Timeline({**found, **believed}, off_route, tuple(flags))


def _evidence(
    timeline: Timeline, sightings: Mapping[str, Sequence[Sighting]]
) -> Iterator[tuple[str, timedelta, timedelta]]:
    """Yield what believed milestones say of the clocks that wrote of them: (clock, at least so far ahead, at most)."""
    for name in sorted(timeline.on_route):
        found = timeline.milestones[name]
        if found.stamp is not None and found.clock:
            yield found.clock, found.stamp.at - found.latest_at, found.stamp.until - found.earliest_at
        for stamp, clock in (pair for sighting in sightings[name] for pair in sighting.written):
            yield clock, stamp.at - found.latest_at, _UNKNOWN


def milestone(name: str, sighting: Sighting, clocks: Clocks) -> Milestone | None:
    """Place one sighting in the recorder's clock; None if it bounds the instant on no side."""
    lows: list[datetime] = []
    highs: list[datetime] = []
    likely: datetime | None = None
    if sighting.stamp is not None:
        span = clocks.span(sighting.clock, sighting.stamp)
        lows.append(span.earliest)
        highs.append(span.latest)
        likely = span.likely
    spans = [clocks.span(clock, stamp) for stamp, clock in sighting.written]
    lows.extend(span.earliest for span in spans)
    if sighting.soon:
        likely = max((span.likely for span in spans), default=likely)
    highs.extend(clocks.span(clock, stamp).latest for stamp, clock in sighting.settled)
    if sighting.received_at is not None:
        highs.append(sighting.received_at)
        silent = [at for at in sighting.before if sighting.received_at - at >= clocks.worst_delay]
        lows.extend(silent[-1:])
        coarse = sighting.stamp is None or sighting.stamp.resolution >= SECOND
        if likely is None or (sighting.prompt and coarse):
            likely = sighting.received_at
    lows += [sighting.not_before] if sighting.not_before else []
    highs += [sighting.not_after] if sighting.not_after else []
    if likely is None or not highs:
        return None
    latest = min(highs)
    # Without anything from below, a receipt says no more than that it was not later: what it waited for narrows it.
    earliest = max(lows) if lows else latest - _UNKNOWN
    if earliest > latest:
        # The stamp contradicts its own receipt: the receipt cannot be wrong, so the stamp's clock jumped.
        return Milestone(name, latest, latest, latest, f"{sighting.source} (its stamp contradicts its receipt)")
    at = min(max(likely, earliest), latest)
    return Milestone(
        name, earliest, latest, at, sighting.source, sighting.stamp, sighting.clock, _blur(sighting, latest - earliest)
    )


def _blur(sighting: Sighting, width: timedelta) -> timedelta:
    """A prompt receipt follows by milliseconds, a fine stamp is off by its clock's lead, a coarse one by half of what
    was cut off, a poll by up to its pause.
    """
    if sighting.prompt:
        return _PROMPT_BLUR
    if sighting.stamp is None:
        return width
    return sighting.stamp.resolution / 2 if sighting.stamp.resolution >= SECOND else _FINE_BLUR


def _impossible(name: str, sighting: Sighting, placed: Milestone) -> list[Flag]:
    if placed.source == sighting.source:
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


def _contradictions(found: Mapping[str, Milestone], route: Route, flags: list[Flag]) -> frozenset[str]:
    """Take milestones off the route until no cause is later than its effect; the most contradicted goes first."""
    off: set[str] = set()
    while True:
        present = frozenset(found) - off
        broken = _broken_pairs(found, present, route)
        if not broken:
            return frozenset(off)
        counts: dict[str, int] = {}
        for pair in broken:
            for name in pair:
                counts[name] = counts.get(name, 0) + 1
        worst = max(counts, key=lambda name: _doubt(name, counts))
        if _excluded(found, present, SUBMITTED, ENDPOINT_READY):
            # Nothing in between can reconcile these two: there is no total.
            worst = ENDPOINT_READY
        for cause, effect in broken:
            if worst in (cause, effect):
                flags.append(_broken(found[cause], found[effect]))
        off.add(worst)


def _excluded(found: Mapping[str, Milestone], present: frozenset[str], cause: str, effect: str) -> bool:
    return {cause, effect} <= present and found[cause].earliest_at > found[effect].latest_at


def _doubt(name: str, counts: Mapping[str, int]) -> tuple[bool, bool, int, int]:
    """How readily a milestone is given up: never the ends of the route, those beside it first, then the most
    contradicted, then the later one.
    """
    ends = (SUBMITTED, ENDPOINT_READY)
    return name not in ends, name in BESIDE_THE_ROUTE, counts[name], MILESTONES.index(name)


def _broken(cause: Milestone, effect: Milestone) -> Flag:
    gap = seconds(cause.earliest_at - effect.latest_at)
    if _inverted(cause, effect) and cause.stamp and effect.stamp:
        gap = seconds(cause.stamp.at - effect.stamp.until)
    return Flag(
        "contradiction",
        f"{effect.name} ({effect.source}) lies at least {gap:.6f} s before {cause.name} ({cause.source}), "
        "which must come first",
    )


def _broken_pairs(found: Mapping[str, Milestone], present: frozenset[str], route: Route) -> list[tuple[str, str]]:
    """Return the pairs (cause, effect) whose bounds exclude their order, over all that is in between."""
    earliest: dict[str, tuple[datetime, str]] = {}
    broken: list[tuple[str, str]] = []
    for name in sorted(present, key=lambda item: route.order[item]):
        own = found[name]
        waited_for = [a.milestone for a in route.arrivals(name, present) if not a.soft]
        floor, cause = max((earliest[other] for other in waited_for), default=(own.earliest_at, name))
        if floor > own.latest_at:
            broken.append((cause, name))
        inverted = [(other, name) for other in waited_for if _inverted(found[other], own)]
        broken += [pair for pair in inverted if pair not in broken]
        earliest[name] = max((own.earliest_at, name), (floor, cause))
    return broken


def _inverted(cause: Milestone, effect: Milestone) -> bool:
    """Two stamps of one clock are compared as they stand: how far it is off does not matter."""
    if cause.stamp is None or effect.stamp is None or cause.clock != effect.clock or not cause.clock:
        return False
    return cause.stamp.at > effect.stamp.until + _INVERTED


def _in_order(
    found: Mapping[str, Milestone],
    causes: Mapping[str, Sequence[str]],
    earliest: Mapping[str, datetime],
    latest: Mapping[str, datetime],
) -> dict[str, datetime]:
    """Put the likeliest points in order: the sharpest sources first, the others between them, all within their bounds.

    A stamp of whole seconds must not push a stamp of milliseconds. There is always room: bounds are already narrowed by
    each other, and what was put before is in order.
    """
    ahead: dict[str, frozenset[str]] = {}
    for name, direct in causes.items():
        ahead[name] = frozenset(direct).union(*(ahead[cause] for cause in direct))
    at: dict[str, datetime] = {}
    for name in sorted(found, key=lambda item: (found[item].blur, len(ahead[item]))):
        low = max([earliest[name], *(at[other] for other in ahead[name] if other in at)])
        high = min([latest[name], *(at[other] for other in at if name in ahead[other])])
        at[name] = min(max(found[name].at, low), high)
    return at


def _propagated(found: Mapping[str, Milestone], route: Route) -> dict[str, Milestone]:
    """Narrow every milestone by its causes and effects, and put the likeliest points in order."""
    names = sorted(found, key=lambda item: route.order[item])
    present = frozenset(found)
    causes = {name: [a.milestone for a in route.arrivals(name, present) if not a.soft] for name in names}
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
