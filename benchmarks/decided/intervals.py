"""How often the interval of a reduction holds the truth, and how many trials the stopping rule saves.

`coverage_95`: lowest and highest coverage of the 95 % interval of a reduction, over 5 to 20 trials an arm and every
scenario (log-normal noise, outliers, nights). `coverage_95_unequal_noise`: the same where the treated arm has three
times the noise, which the method does not assume. `looks_coverage`: the lowest coverage of the interval with which an
arm stops by its rule. `saved_trials_ratio`: by how much fewer trials the rule needs than 20 for the same claim, a half
width of five points, over the scenarios whose claim 20 trials reach.
"""

import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from airflow_llm_provisioning.core.statistics import Block, reduction_in_blocks
from airflow_llm_provisioning.core.stopping import StoppingRule, half_width_pct

SIZES = (5, 6, 7, 8, 9, 10, 12, 15, 20)
RULE = StoppingRule(5, 20, 5.0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """`noise`: standard deviation of the logarithm of a trial's time; `treated_noise`: of the treated arm's, None for
    the same. `outliers`: share of trials that take 1.3 to 3 times as long. `night`: standard deviation of what a night
    does to both arms. `saved`: the true reduction.
    """

    noise: float
    outliers: float = 0.0
    night: float = 0.0
    per_night: int = 100
    treated_noise: float | None = None
    saved: float = 0.3

    def blocks(self, n: int, rng: random.Random) -> list[Block]:
        """Return n trials of each arm, `per_night` a night."""
        found: list[Block] = []
        for start in range(0, n, self.per_night):
            base, size = 1000 * rng.lognormvariate(0, self.night), min(self.per_night, n - start)
            old = [self._time(base, self.noise, rng) for _ in range(size)]
            noise = self.noise if self.treated_noise is None else self.treated_noise
            found.append((old, [self._time(base * (1 - self.saved), noise, rng) for _ in range(size)]))
        return found

    def _time(self, base: float, noise: float, rng: random.Random) -> float:
        return base * rng.lognormvariate(0, noise) * (rng.uniform(1.3, 3) if rng.random() < self.outliers else 1)


FIXED = {
    "log-normal": Scenario(0.08),
    "outliers": Scenario(0.08, outliers=0.1),
    "nights": Scenario(0.08, outliers=0.1, night=0.15, per_night=3),
    "nights of two": Scenario(0.2, night=0.3, per_night=2),
}
UNEQUAL = {"unequal noise": Scenario(0.08, treated_noise=0.24)}
SEQUENTIAL = [Scenario(noise, 0.05, 0.15, 3, saved=saved) for noise in (0.02, 0.04, 0.06) for saved in (0.3, 0.5)]


def figures(repeats: int, seed: int) -> dict[str, object]:
    """Return the figures over so many experiments of each scenario and size."""
    covered, unequal = dict(coverages(FIXED, repeats, seed)), dict(coverages(UNEQUAL, repeats, seed))
    kept, saved = [], []
    for scenario in SEQUENTIAL:
        used, ratio, reached = stopped(scenario, max(50, repeats // 10), seed)
        kept.append(ratio)
        print(f"{scenario}: {used:.1f} trials, coverage {ratio:.3f}, reached {reached:.2f}", file=sys.stderr)
        if reached >= 0.9:
            saved.append(1 - used / RULE.most)
    return {
        "coverage_95": [round(min(covered.values()), 4), round(max(covered.values()), 4)],
        "coverage_95_unequal_noise": [round(min(unequal.values()), 4), round(max(unequal.values()), 4)],
        "looks_coverage": round(min(kept), 4),
        "saved_trials_ratio": round(sum(saved) / len(saved), 3) if saved else None,
    }


def coverages(scenarios: Mapping[str, Scenario], repeats: int, seed: int) -> Iterator[tuple[tuple[str, int], float]]:
    """Yield how often the 95 % interval holds the truth: ((scenario, n), share)."""
    for name, scenario in scenarios.items():
        for n in SIZES:
            rng = random.Random(f"{seed} {name} {n}")
            hits, made = 0, 0
            for _ in range(repeats):
                found = reduction_in_blocks(scenario.blocks(n, rng), confidence=0.95)
                if found is not None and found.low_pct is not None and found.high_pct is not None:
                    made += 1
                    hits += found.low_pct <= 100 * scenario.saved <= found.high_pct
            print(f"{name}, n={n}: {hits}/{made}", file=sys.stderr)
            if made:
                yield (name, n), hits / made


def stopped(scenario: Scenario, repeats: int, seed: int) -> tuple[float, float, float]:
    """Return mean trials an arm, coverage at the stop, how often 20 reach the claim with a plain interval."""
    rng = random.Random(f"{seed} {scenario}")
    used = hits = reached = 0
    for _ in range(repeats):
        blocks = scenario.blocks(RULE.most, rng)
        for n in range(RULE.fewest, RULE.most + 1):
            look = RULE.look(_first(blocks, n))
            if look.enough:
                break
        found = look.reduction
        used += n
        if found is not None and found.low_pct is not None and found.high_pct is not None:
            hits += found.low_pct <= 100 * scenario.saved <= found.high_pct
        whole = reduction_in_blocks(blocks, confidence=0.95)
        width = half_width_pct(whole) if whole else None
        reached += width is not None and width <= RULE.half_width_pct
    return used / repeats, hits / repeats, reached / repeats


def _first(blocks: list[Block], n: int) -> list[Block]:
    found: list[Block] = []
    for old, new in blocks:
        found.append((old[:n], new[:n]))
        n -= len(old)
        if n <= 0:
            break
    return found
