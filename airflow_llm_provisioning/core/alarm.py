"""What got slower, since when, in which phase, and what changed at the same time.

Each night is held against the nights before it: a change is told when at least three nights in a row are further from
the level before than its own scatter explains. The level is a median and the scatter a median deviation, so single bad
nights neither raise an alarm nor hide one. Bounds are set for rare false alarms (docs/decisions.md has the figures).
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import Final

from airflow_llm_provisioning.core.causes import Cause, causes_between
from airflow_llm_provisioning.core.nights import Night, seconds_of

# Nights of the level before, at least and at most; nights of the new level, at least and at most.
FEWEST_BEFORE: Final = 10
MOST_BEFORE: Final = 60
FEWEST_AFTER: Final = 3
MOST_AFTER: Final = 7
# Calibrated on series without a change (`benchmarks/decisions.py --calibrate`), not on the changes it must find.
BOUND: Final = 4.0
SMALL_SAMPLE: Final = 4.0
# Share of the change that every night of the new level must show; of six nights and more, all but one.
SUSTAINED: Final = 0.6
MIN_CHANGE: Final = 0.05
# The same for single phases (`watch_phases`), with the share of the total that a change must be.
PHASE_BOUND: Final = 5.0
MIN_PHASE_CHANGE: Final = 0.1
MIN_SHARE: Final = 0.01
SHORTEST_S: Final = 0.1
# Variance of the median of so many normal values, in variances of one.
_MEDIAN_VARIANCE: Final = {3: 0.449, 4: 0.298, 5: 0.287, 6: 0.215, 7: 0.21}
_FLOOR: Final = 0.002


@dataclass(frozen=True, slots=True)
class PhaseShift:
    """How much of a change is in one phase. `share`: of the change of the total; None where that is next to nothing."""

    name: str
    before_s: float
    after_s: float
    share: float | None

    @property
    def shift_s(self) -> float:
        """Seconds more (or less) than before."""
        return self.after_s - self.before_s


@dataclass(frozen=True, slots=True)
class Change:
    """A new level. `since`: index of its first night; `told`: index of the night on which it could be told.
    `phases`: every phase, the one that explains most first. `causes`: facts that changed with it, the likeliest first.
    `recovered`: the level is back where it was before the change before.
    """

    since: int
    told: int
    at: datetime
    run_id: str
    before_s: float
    after_s: float
    phases: tuple[PhaseShift, ...]
    causes: tuple[Cause, ...]
    recovered: bool = False

    @property
    def change_pct(self) -> float:
        """Per cent of the level before; positive is slower."""
        return 100 * (self.after_s / self.before_s - 1)

    @property
    def phase(self) -> PhaseShift | None:
        """The phase that explains most of the change."""
        return self.phases[0] if self.phases else None

    def __str__(self) -> str:
        """Return since when, how much, in which phase, and what changed in that night, in a sentence or two."""
        what = "back to the level before" if self.recovered else "slower" if self.change_pct > 0 else "faster"
        text = f"Since {self.at:%Y-%m-%d} ({self.run_id}) {what}: {self.before_s:.1f} to {self.after_s:.1f} s"
        text += f" ({self.change_pct:+.1f} %)"
        if (phase := self.phase) is not None:
            share = f", {phase.share:.0%} of the change" if phase.share is not None else ""
            text += f"; most in {phase.name} ({phase.before_s:.1f} to {phase.after_s:.1f} s{share})"
        causes = "; ".join(map(str, self.causes)) or "nothing that was recorded"
        return f"{text}. Changed in that night: {causes}."


@dataclass(frozen=True, slots=True)
class Watch:
    """What a history says now. `nights_until`: how many more nights until a change can be told; 0: any night. `since`:
    index of the first night of the level that holds now.
    """

    changes: tuple[Change, ...]
    nights_until: int
    since: int = 0


def watch(
    nights: Sequence[Night], *, expected: Collection[str] = (), min_change: float = MIN_CHANGE, bound: float = BOUND
) -> Watch:
    """Return every change of a history, oldest first, as it could be told night by night.

    `expected`: run ids at which a new level was declared; none is told there, and the history begins anew.
    `min_change`: as a share of the level; smaller ones are not told. `bound`: how many times its standard error a
    change must exceed.
    """
    logs = [math.log(night.total_s) for night in nights]
    found: list[Change] = []
    start = 0
    for told, night in enumerate(nights):
        if night.run_id in expected:
            start = told
            continue
        since = _since(logs, start, told, math.log1p(min_change), bound)
        if since is None and found and found[-1].since == start:
            since = _back(logs, found, start, told, math.log1p(min_change))
        if since is not None:
            found.append(_change(nights, start, since, told, found, min_change))
            start = since
    left = FEWEST_BEFORE + FEWEST_AFTER - (len(nights) - start) - 1
    return Watch(tuple(found), max(0, left), start)


def watch_phases(
    nights: Sequence[Night], *, expected: Collection[str] = (), bound: float = PHASE_BOUND
) -> dict[str, Watch]:
    """Return what the history of every phase says, by name: changes that may be too small for the total.

    A phase is watched over the nights that tell it. A change of less than 10 % of the phase, or of less than 1 % of the
    total, is not told. There are many phases, so the bound is higher than that of the total.
    """
    found: dict[str, Watch] = {}
    for name in sorted({name for night in nights for name in night.phases}):
        told = nights_that_tell(nights, name)
        seen = watch(
            [_of_phase(night, name) for night in told], expected=expected, min_change=MIN_PHASE_CHANGE, bound=bound
        )
        large = tuple(
            change
            for change in seen.changes
            if abs(change.after_s - change.before_s) >= MIN_SHARE * told[change.since].total_s
        )
        found[name] = replace(seen, changes=large)
    return found


def nights_that_tell(nights: Sequence[Night], phase: str) -> list[Night]:
    """Return the nights in which a phase is known: it is on the path by itself, or is not on it."""
    return [night for night in nights if night.phases and seconds_of(night.phases, phase) is not None]


def _of_phase(night: Night, name: str) -> Night:
    """Return a night of one phase only. What is not on the path takes the shortest time, so that it has a logarithm."""
    seconds = max(seconds_of(night.phases, name) or 0.0, SHORTEST_S)
    return replace(night, total_s=seconds, phases={name: seconds})


def _since(logs: Sequence[float], start: int, told: int, smallest: float, bound: float) -> int | None:
    """Return the first night of a new level that ends at `told`, or None. The shortest that is sure counts."""
    for size in range(FEWEST_AFTER, MOST_AFTER + 1):
        since = told - size + 1
        before = logs[max(start, since - MOST_BEFORE) : max(start, since)]
        if len(before) < FEWEST_BEFORE:
            return None
        if _differs(before, logs[since : told + 1], smallest, bound):
            return _located(logs, start, told)
    return None


def _located(logs: Sequence[float], start: int, told: int) -> int:
    """Return the night at which two levels explain the nights until `told` best: by least absolute deviations."""
    first = max(start + FEWEST_BEFORE, told - MOST_AFTER - FEWEST_AFTER + 1)
    return min(
        range(first, told - FEWEST_AFTER + 2), key=lambda at: _misfit(logs[start:at]) + _misfit(logs[at : told + 1])
    )


def _misfit(values: Sequence[float]) -> float:
    middle = median(values)
    return sum(abs(value - middle) for value in values)


def _differs(before: Sequence[float], after: Sequence[float], smallest: float, bound: float) -> bool:
    level, n = median(before), len(before)
    shift = median(after) - level
    if abs(shift) < smallest:
        return False
    shares = sorted((value - level) / shift for value in after)
    if shares[0 if len(after) < 6 else 1] < SUSTAINED:
        return False
    spread = _scatter(before) * math.sqrt(_MEDIAN_VARIANCE[len(after)] + math.pi / 2 / n)
    return abs(shift) > bound * (1 + SMALL_SAMPLE / n) * spread


def _scatter(values: Sequence[float]) -> float:
    """Return the standard deviation by the median deviation, corrected for few values (C. Croux and P. Rousseeuw,
    COMPSTAT 1992: n/(n - 0.8)).
    """
    middle, n = median(values), len(values)
    return max(_FLOOR, 1.4826 * median(abs(value - middle) for value in values) * n / (n - 0.8))


def _back(logs: Sequence[float], found: Sequence[Change], start: int, told: int, smallest: float) -> int | None:
    """Return the first of three nights that are all back at the level before the last change, or None.

    A return needs fewer nights than a change, because its level is known.
    """
    since = told - FEWEST_AFTER + 1
    if since <= start:
        return None
    old, new = math.log(found[-1].before_s), math.log(found[-1].after_s)
    back = all(abs(value - old) < min(abs(value - new), smallest) for value in logs[since : told + 1])
    return since if back else None


def _change(
    nights: Sequence[Night], start: int, since: int, told: int, found: Sequence[Change], min_change: float
) -> Change:
    before, after = nights[max(start, since - MOST_BEFORE) : since], nights[since : told + 1]
    old_s, new_s = (median(night.total_s for night in part) for part in (before, after))
    phases = _phases(before, after, new_s - old_s)
    last = found[-1] if found and found[-1].since == start else None
    return Change(
        since=since,
        told=told,
        at=nights[since].at,
        run_id=nights[since].run_id,
        before_s=old_s,
        after_s=new_s,
        phases=phases,
        causes=causes_between(before, after, phases[0].name if phases else None),
        recovered=last is not None and abs(new_s / last.before_s - 1) <= min_change,
    )


def _phases(before: Sequence[Night], after: Sequence[Night], total_s: float) -> tuple[PhaseShift, ...]:
    """Return the shift of every phase. First come those that moved as the total did and more than they scatter, by
    their seconds; then the others.
    """
    shifts: list[tuple[bool, float, PhaseShift]] = []
    for name in sorted({phase for night in (*before, *after) for phase in night.phases}):
        olds, news = (_seconds(part, name) for part in (before, after))
        if not olds or not news:
            continue
        shift = PhaseShift(name, median(olds), median(news), None)
        along = math.copysign(shift.shift_s, shift.shift_s * total_s)
        middle = median(olds)
        scatter = 1.4826 * median(abs(value - middle) for value in olds)
        sure = along > 3 * scatter * math.sqrt(1 / len(olds) + 1 / len(news))
        share = shift.shift_s / total_s if abs(total_s) > 1e-9 else None
        shifts.append((sure, along, PhaseShift(name, shift.before_s, shift.after_s, share)))
    ordered: Callable[[tuple[bool, float, PhaseShift]], tuple[bool, float, str]] = lambda item: (  # noqa: E731
        not item[0],
        -item[1],
        item[2].name,
    )
    return tuple(shift for _, _, shift in sorted(shifts, key=ordered))


def _seconds(nights: Sequence[Night], phase: str) -> list[float]:
    """Return a phase's seconds in every night that has phases at all."""
    seconds = (seconds_of(night.phases, phase) for night in nights if night.phases)
    return [value for value in seconds if value is not None]


def phase_shares(change: Change) -> Mapping[str, float]:
    """Return the share of each phase in a change, as far as it is known."""
    return {shift.name: shift.share for shift in change.phases if shift.share is not None}
