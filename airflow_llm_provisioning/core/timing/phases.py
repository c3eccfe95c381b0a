"""Milestones -> phases: the way the ready endpoint really waited for, walked back by last arrival.

Of everything an instant had to wait for, the last to arrive decided; so head and worker, which run beside each other in
a static deployment, each appear only where the endpoint waited for them. Phases are cut at one point per milestone on a
grid of microseconds, so they sum to the total exactly. A missing instant joins its neighbours under both names.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.instants import format_instant, microseconds, seconds
from airflow_llm_provisioning.core.timing.milestones import ENDPOINT_READY, PHASE_OF, SUBMITTED, Arrival, Route
from airflow_llm_provisioning.core.timing.timeline import Milestone, Timeline, span_between


@dataclass(frozen=True, slots=True)
class Phase:
    """A span of the deciding path. `name` is one of `milestones.PHASES`, or several of them joined by `+`.

    `shortest_s`, `longest_s`: what its milestones' bounds allow. `duration_us` is exact, `duration_s` the nearest
    float.
    """

    name: str
    start: str
    end: str
    start_at: datetime
    end_at: datetime
    shortest_s: float
    longest_s: float

    @property
    def duration_us(self) -> int:
        """Its length in whole microseconds."""
        return microseconds(self.end_at - self.start_at)

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return self.duration_us / 1_000_000

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.name,
            "start": self.start,
            "end": self.end,
            "start_at": format_instant(self.start_at),
            "end_at": format_instant(self.end_at),
            "duration_s": self.duration_s,
            "shortest_s": self.shortest_s,
            "longest_s": self.longest_s,
        }


def phases_to(timeline: Timeline, route: Route, end: str = ENDPOINT_READY) -> tuple[Phase, ...]:
    """Return the phases from submission to `end`, in order; none if either is missing or in contradiction."""
    if timeline.get(SUBMITTED) is None or timeline.get(end) is None:
        return ()
    present = timeline.on_route
    phases: list[Phase] = []
    name = end
    while name != SUBMITTED:
        here = timeline.milestones[name]
        arrival = _last_arrival(timeline, route.arrivals(name, present), here, route)
        if arrival is None:
            return ()
        phases.append(_phase((*arrival.names, PHASE_OF[name]), timeline.milestones[arrival.milestone], here))
        name = arrival.milestone
    return tuple(reversed(phases))


def _last_arrival(timeline: Timeline, arrivals: list[Arrival], here: Milestone, route: Route) -> Arrival | None:
    possible = [a for a in arrivals if timeline.milestones[a.milestone].at <= here.at]
    return max(possible, key=lambda a: (timeline.milestones[a.milestone].at, route.order[a.milestone]), default=None)


def _phase(names: tuple[str, ...], start: Milestone, end: Milestone) -> Phase:
    shortest, longest = span_between(start, end)
    # The likeliest points were put in order afterwards; a bound that excluded them would contradict its own number.
    shortest, longest = min(shortest, end.at - start.at), max(longest, end.at - start.at)
    return Phase(
        "+".join(names),
        start.name,
        end.name,
        start.at,
        end.at,
        seconds(shortest),
        seconds(longest),
    )
