"""All phases of one trial beside each other: head, worker and application, what decided and what did not.

The phases of a row are those of the deciding path only. The milestones of the row also bound what ran in parallel and
delayed nothing; here they become spans, from the last milestone that had to come before.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from airflow_llm_provisioning.core.result import MilestoneResult, TrialResult
from airflow_llm_provisioning.core.timing.milestones import PHASE_OF, SUBMITTED, CausalOrder

HEAD: Final = "head"
WORKER: Final = "worker"
APPLICATION: Final = "application"


@dataclass(frozen=True, slots=True)
class Span:
    """One phase in one lane. `start_s`, `end_s`: the middle of its milestones' bounds, after the submission.
    `decided`: whether it is on the deciding path.
    """

    lane: str
    phase: str
    start_s: float
    end_s: float
    decided: bool


def lanes(trial: TrialResult) -> dict[str, list[Span]]:
    """Return the spans of head, worker and application, in the order they ended. Empty without a submission."""
    at = {stone.name: _middle(stone) for stone in trial.milestones}
    if SUBMITTED not in at:
        return {}
    order = CausalOrder(at)
    decided = {part for phase in trial.phases for part in phase.name.split("+")}
    found: dict[str, list[Span]] = {HEAD: [], WORKER: [], APPLICATION: []}
    for name in sorted(at.keys() & PHASE_OF.keys(), key=lambda name: (at[name], order.rank.get(name, 0))):
        before = [at[earlier.milestone] for earlier in order.predecessors(name, frozenset(at))]
        if before:
            lane, phase = _lane(name), PHASE_OF[name]
            start_s, end_s = (_after(instant, at[SUBMITTED]) for instant in (max(before), at[name]))
            found[lane].append(Span(lane, phase, min(start_s, end_s), end_s, phase in decided))
    return found


def path(trial: TrialResult) -> list[Span]:
    """Return the phases of the deciding path, one after the other; they sum to the total exactly."""
    found: list[Span] = []
    for phase in trial.phases:
        start_s = found[-1].end_s if found else 0.0
        found.append(Span("path", phase.name, start_s, start_s + phase.duration_s, decided=True))
    return found


def _lane(milestone: str) -> str:
    role = milestone.split(".", 1)[0]
    return role if role in (HEAD, WORKER) else APPLICATION


def _middle(stone: MilestoneResult) -> datetime:
    return stone.earliest_at + (stone.latest_at - stone.earliest_at) / 2


def _after(instant: datetime, zero: datetime) -> float:
    return (instant - zero).total_seconds()
