"""Computes phases from milestones: the path that the ready endpoint waited for, followed back by the last predecessor.

Of all milestones that an instant had to wait for, the last one decided. In a static deployment head and worker start in
parallel, so each appears only where the endpoint waited for it. Phases are cut at one point per milestone on a grid of
microseconds, so they sum to the total exactly. A missing milestone joins the adjacent phases under both names.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.instants import format_instant, microseconds, seconds
from airflow_llm_provisioning.core.timing.milestones import (
    ENDPOINT_READY,
    PHASE_OF,
    SUBMITTED,
    CausalOrder,
    Predecessor,
)
from airflow_llm_provisioning.core.timing.timeline import Milestone, Timeline, span_between


@dataclass(frozen=True, slots=True)
class Phase:
    """A span of the deciding path. `name` is one of `milestones.PHASES`, or several of them joined by `+`.

    `shortest_s`, `longest_s`: the bounds that the milestones allow. `duration_us` is exact, `duration_s` the nearest
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
        """Its duration in whole microseconds."""
        return microseconds(self.end_at - self.start_at)

    @property
    def duration_s(self) -> float:
        """Its duration in seconds."""
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


def phases_to(timeline: Timeline, order: CausalOrder, end: str = ENDPOINT_READY) -> tuple[Phase, ...]:
    """Return the phases from submission to `end`, in order; none if either end is missing or contradicted."""
    if timeline.get(SUBMITTED) is None or timeline.get(end) is None:
        return ()
    present = timeline.accepted
    phases: list[Phase] = []
    name = end
    while name != SUBMITTED:
        here = timeline.milestones[name]
        predecessor = _last_predecessor(timeline, order.predecessors(name, present), here, order)
        if predecessor is None:
            return ()
        phases.append(_phase((*predecessor.names, PHASE_OF[name]), timeline.milestones[predecessor.milestone], here))
        name = predecessor.milestone
    return tuple(reversed(phases))


def _last_predecessor(
    timeline: Timeline, predecessors: list[Predecessor], here: Milestone, order: CausalOrder
) -> Predecessor | None:
    possible = [a for a in predecessors if timeline.milestones[a.milestone].at <= here.at]
    return max(possible, key=lambda a: (timeline.milestones[a.milestone].at, order.rank[a.milestone]), default=None)


def _phase(names: tuple[str, ...], start: Milestone, end: Milestone) -> Phase:
    shortest, longest = span_between(start, end)
    # The likeliest points were ordered after the bounds were computed. The bounds must contain the duration.
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
