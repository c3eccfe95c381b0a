"""A surrogate of whole trials: for each cell one linear combination of the terms, fitted to whole trials.

It exists because a world of two dozen whole trials takes ten seconds, and thousands are needed. It is no second model:
its terms are the simulator's own functions, its coefficients come from whole trials, and its error against trials that
the fit did not see (leave one out, PRESS: D. M. Allen, Technometrics 16, 1974) is printed with every result.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from statistics import fmean, median, pstdev
from typing import Final

from llm_provisioning_simulator.calibration.statements import Cell
from llm_provisioning_simulator.calibration.terms import Mechanisms
from llm_provisioning_simulator.calibration.worlds import Space, Unit

_RIDGE: Final = 1e-4
# The last term, head against worker, bends the total where one overtakes the other: hinges at these quantiles.
_KNOTS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
Matrix = list[list[float]]


@dataclass(frozen=True, slots=True)
class Fit:
    """One cell's coefficients. `error_pct`: of each whole trial, predicted without it."""

    knots: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float
    error_pct: tuple[float, ...]

    def seconds(self, terms: Sequence[float]) -> float:
        """Return the total of a trial with these terms."""
        bent = _bent(terms, self.knots)
        return self.intercept + math.fsum(map(mul, self.coefficients, bent))


@dataclass(frozen=True, slots=True)
class Surrogate:
    """All cells of a calibration."""

    space: Space
    mechanisms: Mapping[Cell, Mechanisms]
    fits: Mapping[Cell, Fit]

    def seconds(self, world: Unit, space: Space | None = None, only: Iterable[Cell] | None = None) -> dict[Cell, float]:
        """Return the total of every cell in a world. `only`: of these cells."""
        of = space or self.space
        numbers: dict[tuple[str, str], dict[str, float]] = {}
        pulls: dict[str, dict[str, float]] = {}
        found = {}
        for cell in self.fits if only is None else only:
            mechanism = self.mechanisms[cell]
            key = (cell.cloud, cell.variant if of.has_variants else "")
            if key not in numbers:
                numbers[key] = {**mechanism.base, **of.values(world, cell)}
            terms = mechanism.terms_of(numbers[key], pulls.setdefault(cell.cloud, {}))
            found[cell] = self.fits[cell].seconds(terms)
        return found

    def errors(self) -> dict[str, float]:
        """Return {median_pct, p95_pct, worst_pct} of all cells' trials, each predicted without itself."""
        every = sorted(abs(error) for fit in self.fits.values() for error in fit.error_pct)
        return {
            "median_pct": round(median(every), 2),
            "p95_pct": round(every[int(0.95 * (len(every) - 1))], 2),
            "worst_pct": round(every[-1], 2),
        }


def fit(rows: Sequence[Sequence[float]], totals: Sequence[float]) -> Fit:
    """Fit one cell. `rows`: the terms of each trial; `totals`: its seconds."""
    knots = _knots([row[-1] for row in rows])
    bent = [_bent(row, knots) for row in rows]
    columns = list(zip(*bent, strict=True))
    means = [fmean(column) for column in columns]
    spreads = [pstdev(column) or 1.0 for column in columns]
    scaled = [[(x - m) / s for x, m, s in zip(row, means, spreads, strict=True)] for row in bent]
    mean = fmean(totals)
    inverse = _inverse(_gram(scaled, _RIDGE * len(rows)))
    moment = [sum(row[i] * (y - mean) for row, y in zip(scaled, totals, strict=True)) for i in range(len(means))]
    weights = [sum(a * b for a, b in zip(line, moment, strict=True)) for line in inverse]
    errors = []
    for row, total in zip(scaled, totals, strict=True):
        predicted = mean + sum(a * b for a, b in zip(weights, row, strict=True))
        leverage = 1.0 / len(rows) + sum(
            x * sum(a * b for a, b in zip(line, row, strict=True)) for x, line in zip(row, inverse, strict=True)
        )
        errors.append(100.0 * (predicted - total) / max(1e-9, 1.0 - leverage) / total)
    coefficients = tuple(w / s for w, s in zip(weights, spreads, strict=True))
    intercept = mean - sum(c * m for c, m in zip(coefficients, means, strict=True))
    return Fit(knots, coefficients, intercept, tuple(errors))


def _knots(values: Sequence[float]) -> tuple[float, ...]:
    ordered = sorted(values)
    return tuple(ordered[int(share * (len(ordered) - 1))] for share in _KNOTS)


def _bent(terms: Sequence[float], knots: Sequence[float]) -> list[float]:
    last = terms[-1]
    return [*terms, *[last - knot if last > knot else 0.0 for knot in knots]]


def _gram(rows: Sequence[Sequence[float]], ridge: float) -> Matrix:
    size = len(rows[0])
    found = [[0.0] * size for _ in range(size)]
    for row in rows:
        for i, x in enumerate(row):
            line = found[i]
            for j in range(i, size):
                line[j] += x * row[j]
    for i in range(size):
        found[i][i] += ridge
        for j in range(i):
            found[i][j] = found[j][i]
    return found


def _inverse(matrix: Matrix) -> Matrix:
    """Invert a positive definite matrix by Gauss and Jordan."""
    size = len(matrix)
    work = [[*row, *(1.0 if i == j else 0.0 for j in range(size))] for i, row in enumerate(matrix)]
    for i in range(size):
        pivot = work[i][i]
        work[i] = [x / pivot for x in work[i]]
        for k in range(size):
            factor = work[k][i]
            if k != i and factor:
                work[k] = [x - factor * y for x, y in zip(work[k], work[i], strict=True)]
    return [row[size:] for row in work]
