"""A measured start as spans: each milestone's seconds after the last of its causes.

Changed spans are put together again along the same causal order, so that what ran beside the deciding path delays
nothing until it decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.core.start_facts import StartFacts, start_facts
from airflow_llm_provisioning.core.timing.milestones import (
    ENDPOINT_READY,
    PHASE_OF,
    PHASES,
    SUBMITTED,
    CausalOrder,
)

_MILESTONE_OF: Final[Mapping[str, str]] = {phase: milestone for milestone, phase in PHASE_OF.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStart:
    """One trial. `spans`: milestone -> seconds after the last of its `causes`, in causal order. `names`: milestone ->
    the phases that its span holds, more than one where they were not told apart. `rest_s`: what the middles of the
    bounds leave of the exact total.
    """

    facts: StartFacts
    trial_id: str
    opened_at: datetime
    closed_at: datetime
    total_s: float
    spans: Mapping[str, float]
    causes: Mapping[str, tuple[str, ...]]
    names: Mapping[str, tuple[str, ...]]
    rest_s: float = 0.0

    @property
    def treatments(self) -> frozenset[str]:
        """The treatments of its variant."""
        return frozenset(self.facts.arm.treatments)

    def seconds(self) -> dict[str, float]:
        """Return phase -> seconds; phases that were not told apart stand under the last of their names."""
        return {self.names[milestone][-1]: seconds for milestone, seconds in self.spans.items()}

    def span_of(self, phase: str) -> str | None:
        """Return the milestone whose span holds a phase, or None where it did not occur."""
        return next((milestone for milestone, names in self.names.items() if phase in names), None)

    def place_for(self, phase: str) -> str | None:
        """Return the milestone that would wait for a phase that did not occur here."""
        missing = _MILESTONE_OF[phase]
        present = frozenset((*self.spans, SUBMITTED))
        order = CausalOrder((*present, missing))
        for milestone in self.spans:
            if any(phase in before.names for before in order.predecessors(milestone, present)):
                return milestone
        return None

    def total_of(self, spans: Mapping[str, float], early: "Early | None" = None) -> float:
        """Return the total with these spans, seconds; `spans` has every milestone of the start's own."""
        at = {SUBMITTED: 0.0}
        there: dict[str, float] = {}
        for milestone, causes in self.causes.items():
            before = max(at[cause] for cause in causes)
            at[milestone] = before + spans[milestone]
            if early is not None and milestone in early.milestones:
                # What began with the submission waits only for what began with it too.
                began = [there[cause] for cause in causes if cause in there]
                began += [there[name] for name in there if milestone == early.pulled]
                there[milestone] = max(began, default=0.0) + spans[milestone]
                at[milestone] = early.at(milestone, before, spans[milestone], there, at)
        return at[ENDPOINT_READY] + self.rest_s


@dataclass(frozen=True, slots=True)
class Early:
    """The milestones of a worker's node and pull that begin with the submission (`core.effects.beside`). `pulled`: the
    pull's; `lost`: whether a pull that is under way when the worker comes begins again.
    """

    milestones: frozenset[str]
    pulled: str | None
    lost: bool

    def at(
        self, milestone: str, before: float, seconds: float, there: Mapping[str, float], at: Mapping[str, float]
    ) -> float:
        """Return when the worker passes a milestone. `before`: when it begins to wait for it; `seconds`: of the whole
        phase; `there`: when what began early passes its milestones.
        """
        asked = at.get(_WORKER, 0.0)
        if milestone != self.pulled:
            return max(asked, there[milestone])
        node_s = max((when for name, when in there.items() if name != self.pulled), default=0.0)
        if there[milestone] <= asked:
            return before
        if node_s > asked or self.lost:
            # The worker takes the node as it comes, and pulls itself.
            return before + seconds
        return max(before, there[milestone])


_WORKER: Final = "worker.pod_created"


def measured_start(trial: TrialResult) -> MeasuredStart | None:
    """Return a trial as spans, or None where it has no total or no milestones of a whole path."""
    at = _instants(trial)
    if trial.total_s is None or SUBMITTED not in at or ENDPOINT_READY not in at:
        return None
    names = _joined(trial)
    order = CausalOrder(at, ready_pod=_ready_pod(trial))
    ranked = sorted(at.keys() - {SUBMITTED}, key=lambda name: order.rank[name])
    causes: dict[str, tuple[str, ...]] = {}
    spans: dict[str, float] = {}
    for name in ranked:
        before = [item for item in order.predecessors(name, frozenset(at)) if item.milestone in (*spans, SUBMITTED)]
        kept = [item.milestone for item in before if not item.soft or at[item.milestone] <= at[name]]
        if kept:
            causes[name] = tuple(dict.fromkeys(kept))
            spans[name] = max(0.0, (at[name] - max(at[cause] for cause in kept)).total_seconds())
    if ENDPOINT_READY not in spans:
        return None
    found = MeasuredStart(
        facts=start_facts(trial),
        trial_id=trial.trial_id,
        opened_at=trial.opened_at,
        closed_at=trial.closed_at,
        total_s=trial.total_s,
        spans=spans,
        causes=causes,
        names={name: names.get(PHASE_OF[name], (PHASE_OF[name],)) for name in spans},
    )
    return replace(found, rest_s=trial.total_s - found.total_of(spans))


def _instants(trial: TrialResult) -> dict[str, datetime]:
    """Return milestone -> instant: where the phases of the deciding path were cut, else the middle of its bounds."""
    at = {stone.name: stone.earliest_at + (stone.latest_at - stone.earliest_at) / 2 for stone in trial.milestones}
    at = {name: instant for name, instant in at.items() if name == SUBMITTED or name in PHASE_OF}
    if SUBMITTED not in at:
        return {}
    here = at[SUBMITTED]
    for phase in trial.phases:
        here += timedelta(seconds=phase.duration_s)
        milestone = _MILESTONE_OF.get(phase.name.rsplit("+", 1)[-1])
        if milestone in at:
            at[milestone] = here
    return at


def _joined(trial: TrialResult) -> dict[str, tuple[str, ...]]:
    """Return the last name of a joined phase -> all its names; what was not told apart of one pod was not of the other
    either.
    """
    found: dict[str, tuple[str, ...]] = {}
    for phase in trial.phases:
        parts = tuple(phase.name.split("+"))
        for one, other in (("head_", "worker_"), ("worker_", "head_")):
            swapped = tuple(part.replace(one, other, 1) for part in parts)
            if len(parts) > 1 and all(part in PHASES for part in swapped):
                found.setdefault(swapped[-1], swapped)
    for phase in trial.phases:
        parts = tuple(phase.name.split("+"))
        found[parts[-1]] = parts
    # A phase that was told apart in this trial is no part of another one.
    occurred = {PHASE_OF[stone.name] for stone in trial.milestones if stone.name in PHASE_OF}
    return {last: tuple(p for p in parts if p == last or p not in occurred) for last, parts in found.items()}


def _ready_pod(trial: TrialResult) -> str:
    """Return whose endpoint was ready first, as far as the deciding path tells it."""
    decided = [phase.name for phase in trial.phases]
    return "worker" if any(name.endswith("worker_readiness") for name in decided[-2:]) else "head"
