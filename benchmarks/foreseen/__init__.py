"""How often a later total lies inside the 90 % interval of `what-if`: measured in virtual time, over drawn worlds.

A world is one draw of every uncertain number of the simulated profile, within its range; predictions know no profile.
In each world an experiment runs: three trials of the baseline, and in some worlds of other variants as well. Every
other variant is predicted from these rows, by what is shipped, and then run once in the same world. A trial that
may not enter a comparison is not held against anything, and counted.

`coverage` returns {what_if_worlds, what_if_totals, what_if_inside, what_if_coverage_90, what_if_width_pct,
what_if_error_pct, what_if_refused, what_if_set_aside, by_variant, missed}: `width_pct` is the median width of the
intervals and `error_pct` the median distance of their middles, both of the later total.
"""

import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product, repeat
from statistics import median
from typing import Any, Final

from proof.recorded_trial import Scenario, run
from proof.targets import FAST, KINDS, PLAIN, target
from proof.valid_trials import BY_HAND, GATES, TREATED
from proof.variants import VARIANTS
from proof.workers import report, workers
from proof.workloads import SERVED_2025, SERVED_CURRENT

from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import impossible, resolved, vain
from airflow_llm_provisioning.core.what_if import MeasuredStart, measured_start, predict
from airflow_llm_provisioning.core.workload import ScalingSetup, Workload
from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.profiles import Quantity, load_profile

TRIALS: Final = 3


@dataclass(frozen=True, slots=True)
class World:
    """One experiment: where it runs, which variants are measured, and the seed of all draws. `drawn`: whether the
    profile's numbers are drawn from their ranges, else they are its own values.
    """

    cloud: str
    autoscaler: str
    setup: ScalingSetup
    served: Workload
    measured: tuple[str, ...]
    seed: int
    drawn: bool = True

    @property
    def label(self) -> str:
        """Where it is, for a list."""
        where = f"{self.cloud} {self.autoscaler} {self.setup} {self.served.name} seed {self.seed}"
        return f"{where} from {', '.join(self.measured)}"

    def target(self, variant: str) -> Target:
        """Return the target whose nodes a variant needs."""
        kind = "plain" if variant in PLAIN else "fast" if variant in FAST else variant
        return target(self.cloud, kind, self.autoscaler)

    def others(self) -> Iterator[str]:
        """Yield the variants that are predicted."""
        treated = [name for name, cloud, scaler in TREATED if (cloud, scaler) == (self.cloud, self.autoscaler)]
        for name in dict.fromkeys((*PLAIN, *FAST, *treated)):
            chosen = resolved(VARIANTS[name], self.cloud)
            refused = impossible(chosen, self.target(name), self.served) or vain(chosen, self.setup)
            if name not in self.measured and not refused:
                yield name

    def values(self) -> dict[str, float]:
        """Return the numbers of this world."""
        rng = random.Random(self.seed)
        uncertain = load_profile(self.cloud, self.autoscaler).uncertain()
        return {quantity.name: _drawn(quantity, rng) for quantity in uncertain} if self.drawn else {}

    def run(self, variant: str, turn: int) -> TrialResult:
        """Run one trial of a variant."""
        scenario = Scenario(
            target=self.target(variant),
            declared=self.served,
            setup=self.setup,
            variant=variant,
            seed=self.seed * 101 + turn,
            values=self.values(),
            gates=GATES.get(variant, frozenset()),
        )
        if variant in BY_HAND:
            scenario = replace(scenario, after_preparation=BY_HAND[variant])
        return run(scenario)[-1].row


@dataclass(frozen=True, slots=True)
class HeldTotal:
    """One later total. `low_s`, `high_s`, `middle_s`: what was predicted."""

    world: str
    variant: str
    total_s: float
    low_s: float
    middle_s: float
    high_s: float

    @property
    def inside(self) -> bool:
        """Whether it lies inside the interval."""
        return self.low_s <= self.total_s <= self.high_s


@dataclass(slots=True)
class Tally:
    """What one world gave. `refused`: sentences of predictions that were refused; `set_aside`: trials that do not
    count, by reason.
    """

    held: list[HeldTotal] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    set_aside: Counter[str] = field(default_factory=Counter)


def coverage(number: int, *, seed: int = 1, processes: int = 1, drawn: bool = True) -> dict[str, Any]:
    """Run `number` worlds and return the figures (see the module)."""
    found = Tally()
    chosen = list(worlds(number, seed, drawn=drawn))
    with workers(processes) as pool:
        for done, one in enumerate(pool.map(_tried, chosen, repeat(seed)), start=1):
            found.held += one.held
            found.refused += one.refused
            found.set_aside.update(one.set_aside)
            report(f"what-if: {done} of {number} worlds, {_inside(found.held)} of {len(found.held)} inside")
    return figures(number, found)


def worlds(number: int, seed: int, *, drawn: bool = True) -> Iterator[World]:
    """Yield worlds: every cloud with every node autoscaler, both set-ups and both workloads, in a drawn order."""
    rng = random.Random(seed)
    every = list(product(KINDS, ScalingSetup, (SERVED_2025, SERVED_CURRENT)))
    given = 0
    while True:
        rng.shuffle(every)
        for (cloud, autoscaler), setup, served in every:
            if given == number:
                return
            more = rng.choice(((), (), ("fast_download",), ("baked_image",), ("fast_download", "baked_image")))
            yield World(cloud, autoscaler, setup, served, ("baseline", *more), seed * 100_003 + given, drawn)
            given += 1


def tried(world: World, only: Collection[str] | None = None) -> Tally:
    """Measure, predict, and run what was predicted. `only`: these of the other variants."""
    found = Tally()
    arms = [starts for turn, name in enumerate(world.measured) if (starts := _measured(world, name, turn, found))]
    if len(arms) < len(world.measured):
        return found
    for turn, variant in enumerate(name for name in world.others() if only is None or name in only):
        try:
            prediction = predict(arms, resolved(VARIANTS[variant], world.cloud))
        except ConfigurationError as error:
            found.refused.append(f"{world.label}: {variant}: {error}")
            continue
        row = world.run(variant, 50 + turn)
        if row.exclusion is not None or row.total_s is None:
            found.set_aside[f"{variant}: {row.exclusion}"] += 1
        elif prediction.low_s is not None and prediction.high_s is not None:
            low_s, high_s = prediction.low_s, prediction.high_s
            found.held.append(HeldTotal(world.label, variant, row.total_s, low_s, prediction.middle_s, high_s))
    return found


def figures(number: int, found: Tally) -> dict[str, Any]:
    """Return the figures of all worlds."""
    held = found.held
    by_variant = {name: [item for item in held if item.variant == name] for name in sorted({x.variant for x in held})}
    return {
        "what_if_worlds": number,
        "what_if_totals": len(held),
        "what_if_inside": _inside(held),
        "what_if_coverage_90": _inside(held) / len(held) if held else None,
        "what_if_width_pct": _median(100 * (item.high_s - item.low_s) / item.total_s for item in held),
        "what_if_error_pct": _median(abs(100 * (item.middle_s / item.total_s - 1)) for item in held),
        "what_if_refused": len(found.refused),
        "what_if_set_aside": sum(found.set_aside.values()),
        "by_variant": {
            name: {
                "totals": len(items),
                "inside": _inside(items),
                "width_pct": _median(100 * (item.high_s - item.low_s) / item.total_s for item in items),
                "error_pct": _median(abs(100 * (item.middle_s / item.total_s - 1)) for item in items),
            }
            for name, items in by_variant.items()
        },
        "missed": [
            f"{item.world}: {item.variant} took {item.total_s:.0f} s, predicted {item.low_s:.0f} to {item.high_s:.0f} s"
            for item in held
            if not item.inside
        ],
        "refused": found.refused[:20],
        "set_aside": dict(found.set_aside),
    }


def _tried(world: World, _seed: int) -> Tally:
    return tried(world)


def _measured(world: World, variant: str, arm: int, found: Tally) -> Sequence[MeasuredStart]:
    rows = [world.run(variant, arm * TRIALS + turn) for turn in range(TRIALS)]
    found.set_aside.update(f"{variant}: {row.exclusion}" for row in rows if row.exclusion is not None)
    return [start for row in rows if row.exclusion is None and (start := measured_start(row)) is not None]


def _drawn(quantity: Quantity, rng: random.Random) -> float:
    """Draw a number from its range: evenly in its logarithm, or in itself where it may be zero."""
    low = quantity.value if quantity.low is None else quantity.low
    high = quantity.value if quantity.high is None else quantity.high
    place = rng.random()
    value = low + place * (high - low) if low <= 0 else low * math.exp(place * math.log(high / low))
    return float(round(value)) if quantity.fixed else value


def _inside(held: Iterable[HeldTotal]) -> int:
    return sum(item.inside for item in held)


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return median(found) if found else None
