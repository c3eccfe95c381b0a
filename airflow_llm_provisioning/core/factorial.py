"""Factorial plans over treatments: which combinations are tried, what they are called, and what a fraction confounds.

`full` tries every combination. `fraction` tries a regular fraction of resolution IV and higher (III of three
treatments), by the generators of the NIST/SEMATECH e-Handbook of Statistical Methods, section 5.3.3.4.7. The
combination without any treatment, the baseline, is always in it: the sign of each generator is chosen so.
`one-at-a-time` tries each treatment alone; it says nothing of interactions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import combinations, product
from math import prod
from typing import Final

from airflow_llm_provisioning.core.arm import BASELINE
from airflow_llm_provisioning.core.names import fingerprint

FEWEST: Final = 2
MOST: Final = 7
_LONGEST_NAME: Final = 63
# Number of treatments -> for each further treatment the earlier ones whose product it is, by position.
_GENERATORS: Final[Mapping[int, tuple[tuple[int, ...], ...]]] = {
    3: ((0, 1),),
    4: ((0, 1, 2),),
    5: ((0, 1, 2, 3),),
    6: ((0, 1, 2), (1, 2, 3)),
    7: ((0, 1, 2), (1, 2, 3), (0, 2, 3)),
}


class DesignKind(StrEnum):
    """Which combinations of the treatments are tried."""

    FULL = "full"
    FRACTION = "fraction"
    ONE_AT_A_TIME = "one-at-a-time"


@dataclass(frozen=True, slots=True)
class Design:
    """A plan over treatments (or groups of them). A ValueError says why there is none."""

    kind: DesignKind
    treatments: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse too few and too many treatments, and those that stand there twice."""
        count = len(self.treatments)
        if len(set(self.treatments)) < count:
            raise ValueError("a treatment stands there twice; every name must be unique")
        fewest = 3 if self.kind is DesignKind.FRACTION else FEWEST
        if not fewest <= count <= MOST:
            raise ValueError(f"design `{self.kind}` has {count} treatments; {fewest} to {MOST} are needed")

    def combinations(self) -> list[tuple[str, ...]]:
        """Return every combination that is tried, the baseline first, in the order of the treatments."""
        count = len(self.treatments)
        if self.kind is DesignKind.ONE_AT_A_TIME:
            return [(), *((name,) for name in self.treatments)]
        if self.kind is DesignKind.FULL:
            rows: Iterable[tuple[int, ...]] = product((-1, 1), repeat=count)
        else:
            rows = _fraction(count)
        found = [tuple(name for name, sign in zip(self.treatments, row, strict=True) if sign > 0) for row in rows]
        return sorted(found, key=lambda names: (len(names), [self.treatments.index(name) for name in names]))

    def variants(self) -> dict[str, tuple[str, ...]]:
        """Return the generated variants: name -> treatments."""
        return {variant_name(names): names for names in self.combinations()}

    def confounded(self) -> list[str]:
        """Return in sentences which effects the plan cannot tell apart, before any trial."""
        if self.kind is DesignKind.ONE_AT_A_TIME:
            return [
                "Each treatment is tried alone, so its effect holds without the others; no interaction is estimated."
            ]
        return confounding(self.treatments, self.combinations())


def variant_name(treatments: Iterable[str]) -> str:
    """Return the name of a combination: its treatments in the order of the alphabet, joined by dots. It does not
    change when the file lists them in another order; a long one ends with a fingerprint.
    """
    names = sorted(treatments)
    whole = ".".join(names) or BASELINE
    if len(whole) <= _LONGEST_NAME:
        return whole
    mark = fingerprint({"treatments": names}, 8)
    return f"{whole[: _LONGEST_NAME - 9].rstrip('._-')}-{mark}"


def terms(factors: Sequence[str]) -> list[tuple[str, ...]]:
    """Return what a plan may estimate: each factor's effect, then the interaction of each two."""
    return [*((name,) for name in factors), *combinations(factors, 2)]


def column(term: Sequence[str], runs: Sequence[Iterable[str]]) -> list[int]:
    """Return the contrast of a term over runs (the treatments of each): the product of its factors' signs."""
    held = [frozenset(run) for run in runs]
    return [prod(1 if factor in run else -1 for factor in term) for run in held]


def confounding(factors: Sequence[str], runs: Sequence[Iterable[str]]) -> list[str]:
    """Return a sentence for each effect and interaction that these runs cannot tell from others, or not at all."""
    _, dependent = independent_terms(factors, runs)
    return [f"{label(term)} cannot be told apart from {_listed(others)}." for term, others in dependent.items()]


def independent_terms(
    factors: Sequence[str], runs: Sequence[Iterable[str]]
) -> tuple[list[tuple[str, ...]], dict[tuple[str, ...], list[tuple[str, ...]]]]:
    """Return the terms that the runs can tell apart, and for each other term those that it is mixed up with. Effects of
    single treatments come first. The empty term stands for the mean.
    """
    kept: list[tuple[str, ...]] = []
    reduced: list[tuple[list[Fraction], dict[tuple[str, ...], Fraction]]] = []
    dependent: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for term in [(), *terms(factors)]:
        vector = [Fraction(value) for value in column(term, runs)]
        mix: dict[tuple[str, ...], Fraction] = {term: Fraction(1)}
        for other, parts in reduced:
            pivot = next(at for at, value in enumerate(other) if value)
            if factor := vector[pivot] / other[pivot]:
                vector = [value - factor * own for value, own in zip(vector, other, strict=True)]
                for name, share in parts.items():
                    mix[name] = mix.get(name, Fraction(0)) - factor * share
        if any(vector):
            kept.append(term)
            reduced.append((vector, mix))
        else:
            dependent[term] = [name for name, share in mix.items() if share and name != term]
    return kept, dependent


def label(term: Sequence[str]) -> str:
    """Return a term for people: `a`, `a x b`, or `the mean`."""
    return " x ".join(term) or "the mean"


def _listed(found: Sequence[Sequence[str]]) -> str:
    names = [label(term) for term in found]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _fraction(count: int) -> Iterator[tuple[int, ...]]:
    """Yield the signs of each run of the fraction."""
    generators = _GENERATORS[count]
    for basic in product((-1, 1), repeat=count - len(generators)):
        # With all basic treatments left out the others must be left out as well.
        yield (*basic, *(prod(basic[at] for at in of) * (-1) ** (len(of) + 1) for of in generators))
