"""Where each phase of a variant that was never run comes from: measured, or computed from a treatment's mechanism.

A phase depends on the treatments that touch it and on no others. Trials that had the same of these treatments give the
phase as it was measured. Where none had, it is taken from trials that had fewer of them, and the mechanisms of those
that are lacking are applied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_llm_provisioning.core.arm import Arm
from airflow_llm_provisioning.core.effects import Effect, EffectFacts, PhaseChange
from airflow_llm_provisioning.core.timing.milestones import PHASES
from airflow_llm_provisioning.core.treatments import Treatment, find_treatment
from airflow_llm_provisioning.core.treatments.base import effect_of
from airflow_llm_provisioning.core.what_if.starts import MeasuredStart
from airflow_llm_provisioning.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True)
class PhaseSource:
    """One phase. `starts`: the trials it is taken from; `changes`: (treatment, change) that are applied to it."""

    phase: str
    starts: Sequence[MeasuredStart]
    changes: tuple[tuple[str, PhaseChange], ...] = ()

    @property
    def arm(self) -> Arm:
        """The arm it is taken from."""
        return self.starts[0].facts.arm


@dataclass(frozen=True, slots=True)
class Sources:
    """Every phase of a variant. `frame`: the trials whose order of milestones is kept."""

    frame: Sequence[MeasuredStart]
    phases: Mapping[str, PhaseSource]
    assumptions: tuple[str, ...]


def sources(arms: Sequence[Sequence[MeasuredStart]], wanted: Sequence[Treatment]) -> Sources:
    """Return where the phases come from. `arms`: the trials of one stratum by arm, at least one of each; `wanted`: the
    variant's treatments in their order. Raises ConfigurationError where a phase can neither be taken nor computed.
    """
    asked = frozenset(item.name for item in wanted)
    frame = min(arms, key=lambda starts: _distance(starts, asked))
    effects = _Effects(asked, {item.name: item for item in wanted})
    touched = _touched(arms, effects, frame)
    acting = {phase: _acting(phase, arms, touched) for phase in PHASES}
    found = {phase: _source(phase, arms, frame, asked, effects, acting[phase]) for phase in PHASES}
    used = {(name, id(source.starts)): source.starts for source in found.values() for name, _ in source.changes}
    told = [text for (name, _), starts in used.items() for text in (effects.of(name, starts) or Effect()).assumptions]
    return Sources(frame, found, tuple(dict.fromkeys(told)))


class _Effects:
    """What treatments do to the phases of an arm, each asked once per arm. An effect may depend on what the arm has."""

    def __init__(self, asked: frozenset[str], wanted: Mapping[str, Treatment]) -> None:
        self.wanted = wanted
        self._asked = asked
        self._known: dict[tuple[str, int], Effect | None] = {}
        self._facts: dict[int, EffectFacts] = {}

    def of(self, name: str, starts: Sequence[MeasuredStart]) -> Effect | None:
        """Return what a treatment does to the phases of these trials; None: not known."""
        item = self.wanted.get(name) or find_treatment(name)
        facts = self._facts.setdefault(id(starts), _facts(starts, self._asked))
        if (name, id(starts)) not in self._known:
            self._known[name, id(starts)] = effect_of(item, facts) if item is not None else None
        return self._known[name, id(starts)]


def _distance(starts: Sequence[MeasuredStart], asked: frozenset[str]) -> tuple[int, int, int]:
    """Return how far an arm is from the variant: the nearest first, one with less before one with more."""
    own = starts[0].treatments
    return len(own ^ asked), len(own - asked), -len(starts)


def _facts(starts: Sequence[MeasuredStart], asked: frozenset[str]) -> EffectFacts:
    facts = starts[0].facts
    sums: dict[str, list[float]] = {}
    for start in starts:
        for phase, seconds in start.seconds().items():
            sums.setdefault(phase, []).append(seconds)
    return EffectFacts(
        cloud=facts.arm.stratum.cloud,
        setup=facts.arm.stratum.setup,
        autoscaler=facts.arm.stratum.autoscaler,
        treatments=asked,
        measured=starts[0].treatments,
        seconds={phase: sum(each) / len(each) for phase, each in sums.items()},
        image_bytes=facts.image_bytes,
        weight_bytes=facts.weight_bytes,
        head_instance_type=facts.head_instance_type,
        worker_instance_type=facts.worker_instance_type,
    )


def _touched(
    arms: Sequence[Sequence[MeasuredStart]], effects: _Effects, frame: Sequence[MeasuredStart]
) -> dict[str, frozenset[str] | None]:
    """Return treatment -> the phases it touches; None: not known, so it may touch every one."""
    names = dict.fromkeys((*effects.wanted, *(name for starts in arms for name in sorted(starts[0].treatments))))
    found = {name: effects.of(name, frame) for name in names}
    return {
        name: None if effect is None else frozenset(phase for change in effect.changes for phase in change.named())
        for name, effect in found.items()
    }


def _acting(
    phase: str, arms: Sequence[Sequence[MeasuredStart]], touched: Mapping[str, frozenset[str] | None]
) -> frozenset[str]:
    """Return the treatments that touch a phase, or one that some trial did not tell apart from it."""
    told = {
        name
        for starts in arms
        for start in starts
        for names in start.names.values()
        if phase in names
        for name in names
    }
    together = told | {phase}
    return frozenset(name for name, phases in touched.items() if phases is None or phases & together)


def _source(
    phase: str,
    arms: Sequence[Sequence[MeasuredStart]],
    frame: Sequence[MeasuredStart],
    asked: frozenset[str],
    effects: _Effects,
    acting: frozenset[str],
) -> PhaseSource:
    wanted = asked & acting
    same = [starts for starts in arms if starts[0].treatments & acting == wanted]
    if same:
        # The frame's own first: its phases were measured together.
        return PhaseSource(phase, frame if frame in same else max(same, key=len))
    less = [
        starts
        for starts in arms
        if (own := starts[0].treatments & acting) < wanted
        and all(effects.of(name, starts) is not None for name in wanted - own)
    ]
    if not less:
        raise ConfigurationError(_refusal(phase, wanted, acting, effects, frame))
    nearest = max(less, key=lambda starts: (len(starts[0].treatments & acting), starts is frame, len(starts)))
    changes = tuple(
        (name, change)
        for name in effects.wanted
        if name in wanted - nearest[0].treatments
        for change in (effects.of(name, nearest) or Effect()).on(phase)
    )
    return PhaseSource(phase, nearest, changes)


def _refusal(
    phase: str, wanted: frozenset[str], acting: frozenset[str], effects: _Effects, frame: Sequence[MeasuredStart]
) -> str:
    unknown = sorted(name for name in wanted if effects.of(name, frame) is None)
    if unknown:
        return (
            f"What {', '.join(unknown)} does to {phase} is not known here, and no trial of this stratum had it with "
            "the same other treatments: run it to know."
        )
    having = ", ".join(sorted(wanted)) or f"none of {', '.join(sorted(acting))}"
    return f"No trial of this stratum shows the phase {phase} with {having} only: run it to know."
