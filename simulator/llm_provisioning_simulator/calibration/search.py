"""Approximate Bayesian computation by a shrinking tolerance: which worlds of the prior agree with the statements.

A population of worlds is drawn from the prior. Step by step the tolerance shrinks to the median distance of the
population, worlds outside are replaced by copies of worlds inside, and every world takes random steps that keep it
inside the prior and the tolerance. The prior is uniform on the unit cube and the steps are symmetric, so what is left
is a sample of the prior within the tolerance (P. Del Moral, A. Doucet, A. Jasra, Statistics and Computing 22, 2012).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from llm_provisioning_simulator.calibration.worlds import Unit

Distance = Callable[[Unit], float]
"""How far a world is from all statements: up to 1 they hold."""

Scored = tuple[float, Unit]
HOLDS: Final = 1.0
_SCALES: Final = (0.02, 0.08, 0.3)
_AT_ONCE: Final = (1, 3, 8)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search ended with. `worlds`: the population, with its distances; `tried`: how many were looked at."""

    worlds: tuple[tuple[float, Unit], ...]
    tried: int

    @property
    def best(self) -> tuple[float, Unit]:
        """The nearest world."""
        return min(self.worlds)

    @property
    def holds(self) -> bool:
        """Whether all statements hold together in the nearest world."""
        return self.best[0] <= HOLDS

    def agreeing(self) -> list[Unit]:
        """Return the worlds in which all statements hold."""
        return [world for distance, world in self.worlds if distance <= HOLDS]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a search may look at: `rounds` of `steps` for each of `worlds`, and `mixing` rounds more once all of
    them hold, so that copies of a few worlds spread over everything that agrees.
    """

    worlds: int = 150
    rounds: int = 30
    steps: int = 6
    mixing: int = 0


def search(distance: Distance, rng: random.Random, effort: Effort, start: Sequence[Unit]) -> Found:
    """Return a sample of the prior within the smallest tolerance reached. `start`: a sample of the prior."""
    scored = sorted((distance(world), world) for world in start)
    population, tried, left = scored[: effort.worlds], len(scored), effort.mixing
    for _ in range(effort.rounds + effort.mixing):
        if population[-1][0] <= HOLDS:
            left -= 1
            if left < 0:
                break
        tolerance = max(HOLDS, median(far for far, _ in population))
        inside = [item for item in population if item[0] <= tolerance]
        chosen = inside + [rng.choice(inside) for _ in range(effort.worlds - len(inside))]
        walked = [_walked(item, tolerance, distance, rng, effort.steps) for item in chosen]
        tried += effort.steps * len(chosen)
        if walked == chosen:
            break
        population = sorted(walked)
    return Found(tuple(population), tried)


def _walked(item: Scored, tolerance: float, distance: Distance, rng: random.Random, steps: int) -> Scored:
    """Return where a world ends up after some steps that stay within the tolerance and the prior."""
    for _ in range(steps):
        candidate = _stepped(item[1], rng)
        if candidate is not None and (far := distance(candidate)) <= tolerance:
            item = far, candidate
    return item


def _stepped(world: Unit, rng: random.Random) -> Unit | None:
    """Return a world beside another one; None where the step leaves the prior."""
    scale = rng.choice(_SCALES)
    moved = list(world)
    for place in rng.sample(range(len(moved)), min(len(moved), rng.choice(_AT_ONCE))):
        moved[place] += rng.gauss(0.0, scale)
        if not 0.0 <= moved[place] <= 1.0:
            return None
    return tuple(moved)
