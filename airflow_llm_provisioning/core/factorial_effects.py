"""What each treatment does to the time, and what two do together, from the trials of a stratum whose arms combine them.

The scale is seconds. A start is a sum of phases, and treatments that act on different phases take their seconds from it
with or without the others: on a logarithmic scale two such treatments would seem to interact. What is left as an
interaction in seconds is one of the mechanism: a phase that hides behind another one, or one treatment that costs what
the other spares.

The r-th trials of all arms in one DAG run are one whole experiment, a *set*: each effect is a contrast of its times.
What a night does to all arms alike cancels in it, and sets are the independent observations that an interval needs: the
middle of their contrasts and its interval are those of signed ranks. Interactions of three and more treatments are
taken for zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from airflow_llm_provisioning.core.comparison import ArmTrials, grouped, naming_columns
from airflow_llm_provisioning.core.factorial import MOST, column, independent_terms, label
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.statistics import Shift, median_of, shift_of

Term = tuple[str, ...]
Times = Mapping[frozenset[str], float]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a term does to the time, in seconds; negative is faster. `kind`: `effect` of one treatment on the average
    over the others; `alone`, without any other; `last`, with all others; `interaction` of two: by how much the one's
    effect changes where the other is on. `confounded`: terms that cannot be told apart from it.
    """

    kind: str
    term: Term
    change: Shift
    confounded: tuple[Term, ...] = ()

    @property
    def sure(self) -> bool:
        """Whether the interval holds no zero."""
        low, high = self.change.low, self.change.high
        return low is not None and high is not None and (low > 0 or high < 0)


@dataclass(frozen=True, slots=True)
class Effects:
    """The effects in one stratum. `baseline_s`: the baseline's median. `sets`: how many whole experiments they rest on.
    `left_out`: combinations of the treatments without a trial that counts. `sentences`: what follows, for people.
    """

    baseline: ArmTrials
    factors: tuple[str, ...]
    baseline_s: float
    sets: int
    effects: tuple[Effect, ...]
    left_out: tuple[Term, ...]
    sentences: tuple[str, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return a flat row for every effect: seconds, and per cent of the baseline."""
        return [self._row(effect) for effect in self.effects]

    def lines(self) -> list[str]:
        """Return a line for every effect: `interaction a x b: -18.1 s (95%: -20.2 to -16.4)`."""
        return [f"{one.kind} {label(one.term)}: {_told(one.change)}" for one in self.effects]

    def _row(self, effect: Effect) -> dict[str, Any]:
        shift = effect.change
        numbers = {"change": shift.middle, "change_low": shift.low, "change_high": shift.high}
        return {
            **naming_columns(self.baseline.arm),
            "variant": None,
            "effect": effect.kind,
            "of": label(effect.term),
            **{f"{name}_s": value for name, value in numbers.items()},
            **{f"{name}_pct": None if v is None else 100 * v / self.baseline_s for name, v in numbers.items()},
            "confidence": shift.confidence,
            "sets": self.sets,
            "baseline_s": self.baseline_s,
            "confounded": "; ".join(label(term) for term in effect.confounded),
            "stratum": self.baseline.arm.stratum.key,
        }


def effects_of(trials: Iterable[Measured]) -> list[Effects]:
    """Return the effects in every stratum whose arms combine at least two treatments and share a DAG run with their
    baseline.
    """
    strata: dict[str, list[ArmTrials]] = {}
    for arm in grouped(trials):
        if arm.totals:
            strata.setdefault(arm.arm.stratum.key, []).append(arm)
    found = (_stratum(arms) for arms in strata.values())
    return [effects for effects in found if effects is not None]


def _stratum(arms: Sequence[ArmTrials]) -> Effects | None:
    combined = _combined(arms)
    factors = tuple(sorted({name for held in combined for name in held}))
    baseline = combined.get(frozenset())
    if baseline is None or not 2 <= len(factors) <= MOST or len(combined) <= len(factors):
        return None
    sets = _sets(combined)
    if not sets:
        return None
    runs = sorted(combined, key=lambda held: (len(held), sorted(held)))
    kept, dependent = independent_terms(factors, [sorted(run) for run in runs])
    effects = [
        Effect("effect" if len(term) == 1 else "interaction", term, shift, _mixed(term, dependent))
        for term, values in _contrasts(kept, runs, sets).items()
        if term and (shift := shift_of(values)) is not None
    ]
    effects += _simple(factors, sets)
    absent = _absent(factors, combined)
    told = (*_needs(factors, sets, effects), *_doubts(dependent, absent))
    baseline_s = median_of(baseline.totals)
    return Effects(baseline, factors, baseline_s or 0.0, len(sets), tuple(effects), absent, told)


def _combined(arms: Sequence[ArmTrials]) -> dict[frozenset[str], ArmTrials]:
    """Return the arm of each combination: of several variants with the same treatments the one with most trials."""
    found: dict[frozenset[str], ArmTrials] = {}
    for arm in sorted(arms, key=lambda arm: (-len(arm.totals), arm.arm.variant)):
        found.setdefault(frozenset(arm.arm.treatments), arm)
    return found


def _sets(combined: Mapping[frozenset[str], ArmTrials]) -> list[Times]:
    """Return the whole experiments: the first, second, .. times of all arms of one DAG run."""
    by_run: dict[tuple[str, str], dict[frozenset[str], list[float]]] = {}
    for held, arm in combined.items():
        for trial in arm.pooled:
            if trial.total_s is not None:
                by_run.setdefault(trial.run, {}).setdefault(held, []).append(trial.total_s)
    return [
        {held: times[at] for held, times in run.items()}
        for _, run in sorted(by_run.items())
        if len(run) == len(combined)
        for at in range(min(map(len, run.values())))
    ]


def _contrasts(kept: Sequence[Term], runs: Sequence[frozenset[str]], sets: Sequence[Times]) -> dict[Term, list[float]]:
    """Return each term's effect in every set: the coefficients of least squares, from levels -1 and 1."""
    columns = [column(term, runs) for term in kept]
    weights = _solved([[Fraction(_dot(one, other)) for other in columns] for one in columns], columns)
    found: dict[Term, list[float]] = {}
    for term, row in zip(kept, weights, strict=True):
        # From -1 to 1 are two units; an interaction is the difference of two such differences.
        scale = 2 ** len(term)
        found[term] = [scale * sum(w * times[run] for w, run in zip(row, runs, strict=True)) for times in sets]
    return found


def _dot(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _solved(matrix: list[list[Fraction]], right: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return the solution of linear equations by elimination, exactly. The matrix is positive definite."""
    rows = [[*own, *map(Fraction, extra)] for own, extra in zip(matrix, right, strict=True)]
    count = len(rows)
    for at in range(count):
        rows[at] = [value / rows[at][at] for value in rows[at]]
        for other in range(count):
            if other != at and (factor := rows[other][at]):
                rows[other] = [value - factor * own for value, own in zip(rows[other], rows[at], strict=True)]
    return [[float(value) for value in row[count:]] for row in rows]


def _simple(factors: Sequence[str], sets: Sequence[Times]) -> list[Effect]:
    """Return what each treatment does without any other, and with all others, as far as both were tried."""
    every = frozenset(factors)
    pairs = [("alone", name, frozenset[str]()) for name in factors]
    pairs += [("last", name, every - {name}) for name in factors]
    found: list[Effect] = []
    for kind, name, before in pairs:
        if (shift := _between(before, before | {name}, sets)) is not None:
            found.append(Effect(kind, (name,), shift))
    return found


def _between(before: frozenset[str], after: frozenset[str], sets: Sequence[Times]) -> Shift | None:
    return shift_of([times[after] - times[before] for times in sets if before in times and after in times])


def _mixed(term: Term, dependent: Mapping[Term, Sequence[Term]]) -> tuple[Term, ...]:
    return tuple(other for other, terms in dependent.items() if term in terms)


def _needs(factors: Sequence[str], sets: Sequence[Times], effects: Sequence[Effect]) -> list[str]:
    """Return a sentence for every treatment that saves nothing without another one, and does better with it."""
    interactions = [one for one in effects if one.kind == "interaction" and one.sure and not one.confounded]
    told = []
    for effect in interactions:
        for name, other in (effect.term, effect.term[::-1]):
            without, beside = (_given(name, other, on, factors, sets) for on in (False, True))
            if without is not None and beside is not None and _only_with(without, beside):
                told.append(f"{name} needs {other}: without it {_told(without)}, with it {_told(beside)}.")
    return told


def _only_with(without: Shift, beside: Shift) -> bool:
    """Whether a treatment costs time, or saves none for sure, and is better off where the other one is on."""
    if without.low is None or without.high is None or beside.high is None or beside.middle >= without.middle:
        return False
    return without.high >= 0 and (beside.high < 0 or without.low > 0)


def _given(name: str, other: str, on: bool, factors: Sequence[str], sets: Sequence[Times]) -> Shift | None:
    """Return what a treatment does where another one is on, or is not, on the average over the rest."""
    changes: list[float] = []
    for times in sets:
        pairs = [
            times[held | {name}] - times[held]
            for held in times
            if name not in held and (other in held) == on and held | {name} in times
        ]
        changes += [sum(pairs) / len(pairs)] if pairs else []
    return shift_of(changes)


def _absent(factors: Sequence[str], combined: Mapping[frozenset[str], ArmTrials]) -> tuple[Term, ...]:
    count = len(factors)
    every = (tuple(name for at, name in enumerate(factors) if mask >> at & 1) for mask in range(2**count))
    return tuple(
        sorted((held for held in every if frozenset(held) not in combined), key=lambda held: (len(held), held))
    )


def _doubts(dependent: Mapping[Term, Sequence[Term]], absent: Sequence[Term]) -> list[str]:
    """Return in sentences what the tried combinations cannot say."""
    told = [
        f"{label(term)} cannot be told apart from {' and '.join(map(label, of))}." for term, of in dependent.items()
    ]
    if absent and len(absent) <= _LISTED:
        told.insert(0, f"Not tried, or without a trial that counts: {'; '.join(map('.'.join, absent))}.")
    elif absent:
        told.insert(0, f"{len(absent)} combinations were not tried, or have no trial that counts.")
    return told


_LISTED: Final = 8


def _told(shift: Shift) -> str:
    interval = "" if shift.low is None else f" ({shift.confidence:.0%}: {shift.low:+.1f} to {shift.high:+.1f})"
    return f"{shift.middle:+.1f} s{interval}"
