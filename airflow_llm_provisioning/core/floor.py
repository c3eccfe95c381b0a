"""How far each step of a start is above its floor, and where the next seconds are to be had.

Measured are the mean phases of an arm's most frequent deciding path; the floor of a step is its limit from bytes, rates
and records (`core.floor_limits`). Missing facts: no floor. What is said of the whole cold path needs every limit of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow_llm_provisioning.core.comparison import identifying_columns, naming_columns
from airflow_llm_provisioning.core.effects import Between
from airflow_llm_provisioning.core.floor_limits import (
    ENGINE,
    IMAGE,
    NODE,
    STEP_OF,
    STEPS,
    WEIGHTS,
    WORKER_RAY,
    Limit,
    limit_of,
)
from airflow_llm_provisioning.core.phase_means import PathMeans
from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.core.start_facts import StartFacts, start_facts

# What a cold start cannot do beside each other: each needs the one before. The head starts meanwhile.
COLD_PATH: Final = (NODE, IMAGE, WORKER_RAY, WEIGHTS, ENGINE)
NEXT_S: Final = 100.0
# The steps that are named at least, also where the first of them has all the seconds.
_NAMED: Final = 3
_LEAST_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class StepFloor:
    """One step of an arm's deciding path, or several that one joined phase holds (`a + b`). `times`: how many times the
    floor it takes, from its slowest to its fastest; None without a floor.
    """

    step: str
    mean_s: float
    limit: Limit | None
    phases: tuple[str, ...]
    visits: int = 1

    @property
    def floor(self) -> Between | None:
        """The floor in seconds, of every time that the path passes the step; None where there is none."""
        told = self.limit.seconds if self.limit else None
        return Between(told.low * self.visits, told.high * self.visits, told.source) if told else None

    @property
    def times(self) -> tuple[float, float] | None:
        """How many times its floor it takes: against the slowest and against the fastest that the source allows."""
        floor = self.floor
        return (self.mean_s / floor.high, self.mean_s / floor.low) if floor else None

    @property
    def above_s(self) -> float | None:
        """The seconds that can be had at most: what it takes above its fastest floor; None without a floor."""
        if self.limit is None:
            return None
        return max(0.0, self.mean_s - (self.floor.low if self.floor else 0.0))


@dataclass(frozen=True, slots=True)
class ArmFloor:
    """An arm's steps, in the order of the path. `cold`: floor of the whole cold path, None where a fact is missing;
    `parts`: the steps it is the sum of. The image is one of them only where the arm pulls it in full.
    """

    path: PathMeans
    steps: tuple[StepFloor, ...]
    cold: Between | None
    parts: tuple[str, ...]
    missing: tuple[str, ...] = ()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one flat row per step, and one of the whole cold path."""
        for step in self.steps:
            yield self._row(step.step, step.mean_s, step.floor, step.limit, step.above_s, step.phases)
        cold = None if self.cold is None else Limit("physical", self.cold, " + ".join(self.parts))
        above = None if self.cold is None else max(0.0, self.path.total_s - self.cold.low)
        yield self._row(WHOLE, self.path.total_s, self.cold, cold, above, ())

    def _row(
        self,
        step: str,
        mean_s: float,
        floor: Between | None,
        limit: Limit | None,
        above_s: float | None,
        phases: tuple[str, ...],
    ) -> dict[str, Any]:
        return {
            **naming_columns(self.path.arm),
            "n": self.path.n,
            "step": step,
            "mean_s": mean_s,
            "floor_low_s": floor.low if floor else None,
            "floor_high_s": floor.high if floor else None,
            "times_floor_low": mean_s / floor.high if floor else None,
            "times_floor_high": mean_s / floor.low if floor else None,
            "above_s": above_s,
            "kind": limit.kind if limit else None,
            "decided_by": limit.by if limit else None,
            "floor_source": limit.source if limit else None,
            "of_phases": ", ".join(phases),
            **identifying_columns(self.path.arm),
        }


WHOLE: Final = "whole cold path"


def arm_floors(paths: Iterable[PathMeans], facts: Mapping[str, StartFacts]) -> list[ArmFloor]:
    """Return the floors of every arm, of the path of most of its trials. `facts`: key of the arm -> its facts; an arm
    without facts has no floors.
    """
    return [
        _arm_floor(path, facts.get(path.arm.key, StartFacts(arm=path.arm)))
        for path in paths
        if path.number == 1 and path.phases
    ]


def trial_floor(trial: TrialResult) -> ArmFloor | None:
    """Return the floors of one trial alone, whether it counts or not; None without phases or a total."""
    if not trial.phases or trial.total_s is None:
        return None
    phases = tuple((phase.name, phase.duration_s) for phase in trial.phases)
    path = PathMeans(arm=trial.arm, number=1, paths=1, n=1, pooled=1, total_s=trial.total_s, phases=phases)
    return _arm_floor(path, start_facts(trial))


def gap_sentence(found: ArmFloor) -> str:
    """Return `image pull 41x, weights 6x, engine 9x above the floor`, the steps with a floor; empty without one."""
    told = [f"{step.step} {_times(*step.times)}" for step in found.steps if step.times and step.mean_s >= _LEAST_S]
    return f"{', '.join(told)} above the floor" if told else ""


def next_sentence(found: ArmFloor, wanted_s: float = NEXT_S) -> str:
    """Return where the next seconds are to be had: the steps that are furthest above their floor, three at least, and
    more until these seconds are reached.
    """
    open_steps = [(step.above_s, step) for step in found.steps if step.above_s is not None and step.above_s >= _LEAST_S]
    told: list[str] = []
    left = wanted_s
    for above_s, step in sorted(open_steps, key=lambda item: -item[0]):
        if left <= 0 and len(told) >= _NAMED:
            break
        told.append(f"{step.step} (up to {above_s:.0f} s{_how(step)})")
        left -= above_s
    return f"The next {wanted_s:.0f} s are to be had in: {', '.join(told)}." if told else ""


def cold_sentence(found: ArmFloor) -> str:
    """Return the floor of the whole cold path beside what the arm takes, or what is missing for it."""
    if found.cold is None:
        return f"The whole cold path has no floor: {', '.join(found.missing)} cannot be computed."
    between, took = _range(found.cold.low, found.cold.high, 0), found.path.total_s
    return f"Floor of the whole cold path: {between} s; {found.path.arm.variant} takes {took:.0f} s."


def best_of(found: Iterable[ArmFloor]) -> list[ArmFloor]:
    """Return of every stratum the arm with the shortest mean total."""
    best: dict[str, ArmFloor] = {}
    for item in found:
        known = best.setdefault(item.path.arm.stratum.key, item)
        if item.path.total_s < known.path.total_s:
            best[item.path.arm.stratum.key] = item
    return list(best.values())


def _arm_floor(path: PathMeans, facts: StartFacts) -> ArmFloor:
    steps = tuple(_steps(path, facts))
    limits = {step: limit_of(step, facts) for step in COLD_PATH}
    if limits[IMAGE] is not None and not any(step.step == IMAGE and step.limit for step in steps):
        del limits[IMAGE]
    missing = tuple(step for step, limit in limits.items() if limit is None)
    known = [limit.seconds for limit in limits.values() if limit is not None and limit.seconds is not None]
    cold = None
    if not missing:
        cold = Between(sum(x.low for x in known), sum(x.high for x in known), "; ".join(x.source for x in known))
    return ArmFloor(path, steps, cold, tuple(limits), missing)


def _steps(path: PathMeans, facts: StartFacts) -> Iterator[StepFloor]:
    """Yield the steps in the order of `STEPS`. A phase that joins phases of several steps joins the steps."""
    groups: dict[str, tuple[str, ...]] = {}
    seconds: dict[tuple[str, ...], float] = {}
    phases: dict[tuple[str, ...], list[str]] = {}
    for name, mean_s in path.phases:
        steps = tuple(dict.fromkeys(STEP_OF.get(part, part) for part in name.split("+")))
        seconds[steps] = seconds.get(steps, 0.0) + mean_s
        phases.setdefault(steps, []).append(name)
        groups |= dict.fromkeys(steps, steps)
    order = {step: position for position, step in enumerate(STEPS)}
    for steps in sorted(seconds, key=lambda item: order.get(item[0], len(order))):
        yield _step(steps, seconds[steps], tuple(phases[steps]), facts)


def _step(steps: tuple[str, ...], mean_s: float, phases: tuple[str, ...], facts: StartFacts) -> StepFloor:
    roles = {part.split("_", 1)[0] for name in phases for part in name.split("+")} & {"head", "worker"}
    if len(steps) > 1:
        return StepFloor(" + ".join(steps), mean_s, None, phases)
    if steps[0] == IMAGE and len(roles) > 1:
        return _both(mean_s, phases, facts)
    visits = max(1, len(roles)) if steps[0] == NODE else 1
    return _believed(StepFloor(steps[0], mean_s, limit_of(steps[0], facts, head=roles == {"head"}), phases, visits))


def _both(mean_s: float, phases: tuple[str, ...], facts: StartFacts) -> StepFloor:
    """Return the image's step of a path that waited for the head's pull and then for the worker's."""
    one, other = limit_of(IMAGE, facts, head=True), limit_of(IMAGE, facts)
    if one is None or other is None or one.seconds is None or other.seconds is None:
        return StepFloor(IMAGE, mean_s, None, phases)
    told = "; ".join(dict.fromkeys((one.source, other.source)))
    both = Between(one.seconds.low + other.seconds.low, one.seconds.high + other.seconds.high, told)
    by = " and ".join(dict.fromkeys((one.by, other.by)))
    return _believed(StepFloor(IMAGE, mean_s, Limit("physical", both, by), phases))


def _believed(step: StepFloor) -> StepFloor:
    """Return a step without its floor where it took less than all its bytes need: then not all of them were moved, as
    when an image is streamed.
    """
    beaten = step.limit is not None and step.limit.kind == "physical" and step.floor and step.mean_s < step.floor.low
    return replace(step, limit=None) if beaten else step


def _how(step: StepFloor) -> str:
    return ", avoidable" if step.limit is not None and step.limit.kind == "avoidable" else ""


def _times(low: float, high: float) -> str:
    digits = 0 if high >= 10 else 1
    return f"{_range(low, high, digits)}x"


def _range(low: float, high: float, digits: int) -> str:
    one, other = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return one if one == other else f"{one} to {other}"
