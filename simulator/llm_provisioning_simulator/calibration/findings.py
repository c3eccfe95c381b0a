"""A whole calibration: fit the surrogate, find what holds together, what does not, and what would have to be added."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Final

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.calibration.lacking import Lacking, candidates
from llm_provisioning_simulator.calibration.search import Effort, Found, search
from llm_provisioning_simulator.calibration.statements import Cell, Seconds, Statement, Statements
from llm_provisioning_simulator.calibration.surrogate import Surrogate, fit
from llm_provisioning_simulator.calibration.terms import mechanisms
from llm_provisioning_simulator.calibration.trials import Cells, KeptTrials
from llm_provisioning_simulator.calibration.worlds import Parameter, Space, Unit, space_of
from llm_provisioning_simulator.instant_trial import profile_of, run_trial

Progress = Callable[[str], None]
Row = dict[str, Any]
# With fewer a linear fit says nothing.
_LEAST_READY: Final = 3
_SHARE: Final = 0.9
"""How much of the posterior a printed range holds."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is computed. `fitted`: worlds that are run as whole trials for the surrogate; `drawn`: worlds of the
    prior's sample, from which every search starts; `confirmed`: worlds of the posterior that are run as whole trials at
    the end; `mixing`: rounds by which the posterior's worlds spread; `pair`, `whole`: the searches' own steps.
    """

    fitted: int = 60
    drawn: int = 3000
    confirmed: int = 8
    mixing: int = 150
    pair: Effort = field(default_factory=lambda: Effort(worlds=50, rounds=20, steps=4))
    whole: Effort = field(default_factory=lambda: Effort(worlds=120, rounds=30, steps=4))


SHORT: Final = Size(
    fitted=8,
    drawn=60,
    confirmed=1,
    mixing=2,
    pair=Effort(worlds=10, rounds=2, steps=2),
    whole=Effort(worlds=12, rounds=4, steps=2),
)


@dataclass(slots=True)
class Calibration:
    """One calibration's parts. `prior`: a sample of the prior, with the totals of each world; `seen`: for every world
    that was looked at in full, which statements held in it.
    """

    statements: Statements
    cells: Cells
    space: Space
    surrogate: Surrogate
    size: Size
    seed: int
    kept: KeptTrials
    prior: dict[Unit, Seconds] = field(default_factory=dict)
    seen: set[frozenset[str]] = field(default_factory=set)
    looked_at: int = 0

    def draw_prior(self) -> None:
        """Draw the prior's sample."""
        rng = random.Random(self.seed)
        for _ in range(self.size.drawn):
            world = self.space.draw(rng)
            self.prior[world] = self.seconds(world)

    def seconds(self, world: Unit, space: Space | None = None, asked: Sequence[Statement] = ()) -> Seconds:
        """Return the totals of a world: of all cells, or of those that some statements are about."""
        if space is None and world in self.prior:
            return self.prior[world]
        self.looked_at += 1
        only = tuple(dict.fromkeys(cell for item in asked for cell in item.cells)) or None
        found = self.surrogate.seconds(world, space, only)
        if space is None and only is None:
            self.seen.add(frozenset(item.name for item in self.statements.items if item.holds(found)))
        return found

    def search(
        self,
        asked: Sequence[Statement],
        effort: Effort,
        *,
        missing: int = 0,
        space: Space | None = None,
        start: Sequence[Unit] = (),
    ) -> Found:
        """Search the worlds in which these statements hold together, or all but `missing` of them."""

        def distance(world: Unit) -> float:
            seconds = self.seconds(world, space, asked if space or len(asked) < len(self.statements.items) else ())
            return sorted(item.distance(seconds) for item in asked)[-1 - missing]

        rng = random.Random(f"{self.seed} {missing} {sorted(item.name for item in asked)}")
        return search(distance, rng, effort, start or tuple(self.prior))


def prepare_calibration(
    statements: Statements, experiment: Experiment, size: Size, seed: int, kept: KeptTrials, progress: Progress
) -> Calibration:
    """Run the whole trials that a calibration needs, and fit the surrogate to them."""
    cells = Cells(experiment, statements.variants)
    trials = {cell: cells.trial(cell) for cell in statements.cells}
    outcomes = {cell: run_trial(trial) for cell, trial in trials.items()}
    read: dict[str, frozenset[str]] = {}
    for cell, outcome in outcomes.items():
        read[cell.cloud] = read.get(cell.cloud, frozenset()) | outcome.read
    profiles = {cell.cloud: profile_of(trial.target) for cell, trial in trials.items()}
    space = space_of(tuple(profiles.values()), read)
    wide = space.with_ranges(
        {name: ends for item in candidates(space, statements) for name, ends in item.ranges.items()}
    )
    rng = random.Random(seed)
    worlds = [wide.draw(rng) for _ in range(size.fitted)]
    asked = [(cell, wide.values(world, cell)) for world in worlds for cell in trials]
    told = _told(progress, "whole trials for the surrogate")
    totals = iter(kept.run(cells, asked, told))
    rows: dict[Cell, list[tuple[list[float], float]]] = {cell: [] for cell in trials}
    moved = {cell: mechanisms(trial, outcomes[cell].read) for cell, trial in trials.items()}
    for cell, values in asked:
        total_s = next(totals)
        if total_s is not None:
            rows[cell].append((moved[cell].terms(values), total_s))
    for cell, found in rows.items():
        if len(found) < _LEAST_READY:
            raise ConfigurationError(
                f"{cell}: {len(found)} of {size.fitted} simulated trials became ready, so nothing can be said of it: "
                "leave its statements out, or see why by running it (`llm-provisioning simulator`)."
            )
    fits = {cell: fit([terms for terms, _ in found], [total for _, total in found]) for cell, found in rows.items()}
    return Calibration(statements, cells, space, Surrogate(space, moved, fits), size, seed, kept)


def calibrate(
    statements: Statements,
    experiment: Experiment,
    size: Size,
    seed: int,
    progress: Progress,
    kept_trials: KeptTrials | None = None,
) -> Row:
    """Return what a calibration finds, as plain data; see docs/calibration.md for its parts."""
    of = prepare_calibration(statements, experiment, size, seed, kept_trials or KeptTrials(), progress)
    progress(f"surrogate: {of.surrogate.errors()}; drawing worlds")
    of.draw_prior()
    alone = [_alone(of, item) for item in statements.items]
    progress("which statements hold together")
    everything = of.search(statements.items, size.whole)
    kept, found, sets = _greatest(of, everything)
    progress("which statements exclude each other")
    reachable = [item for item, row in zip(statements.items, alone, strict=True) if row["reached"]]
    conflicts = list(_conflicts(of, reachable))
    left_out = [item for item in statements.items if item not in kept]
    progress("whole trials of the posterior")
    confirmed = _confirmed(of, kept, found)
    progress("what would have to be added")
    lacking = [row for item in left_out for row in _lacking(of, item, kept, found)]
    together = _together(of, statements.items, left_out, found) if lacking else None
    best = found.best[1]
    return {
        "origin": "simulated",
        "statements": statements.name,
        "source": statements.source,
        "seed": seed,
        "trials_fitted": size.fitted * len(statements.cells),
        "worlds_looked_at": of.looked_at,
        "parameters": len(of.space.parameters),
        "surrogate_error": of.surrogate.errors(),
        "consistent": not left_out,
        "statements_total": len(statements.items),
        "statements_met": confirmed["met"],
        "nearest_distance": round(everything.best[0], 2),
        "alone": alone,
        "excluding_pairs": conflicts,
        "as_many_without": sets,
        "kept": [item.name for item in kept],
        "left_out": [_missed(of, item, best) for item in left_out],
        "posterior": _posterior(of.space, found.agreeing() or [best]),
        "posterior_worlds": len(found.agreeing()),
        "confirmed": confirmed,
        "lacking": lacking,
        "lacking_together": together,
    }


def _told(progress: Progress, what: str) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        if done * 10 // total > (done - 1) * 10 // total:
            progress(f"{what}: {done} of {total}")

    return tell


def _alone(of: Calibration, item: Statement) -> Row:
    """Return whether one statement holds in any world, and how near the nearest one comes."""
    found = of.search([item], of.size.whole)
    nearest = of.seconds(found.best[1])
    return {
        "statement": item.name,
        "why": item.why,
        "reached": found.holds,
        "share_of_prior": round(sum(item.holds(seconds) for seconds in of.prior.values()) / len(of.prior), 4),
        "nearest": round(item.value(nearest), 1),
        "unit": item.unit,
        "within": item.within,
    }


def _conflicts(of: Calibration, items: Sequence[Statement]) -> Iterator[Row]:
    """Yield the pairs that no world of any search had together, each searched for once more on its own."""
    for one, other in combinations(items, 2):
        if any(one.name in held and other.name in held for held in of.seen):
            continue
        found = of.search([one, other], of.size.pair)
        if not found.holds:
            yield {"statements": [one.name, other.name], "nearest_distance": round(found.best[0], 2)}


def _greatest(of: Calibration, everything: Found) -> tuple[list[Statement], Found, list[list[str]]]:
    """Return the largest number of statements that one world meets, the worlds in which these hold, and what each set
    of as many leaves out.
    """
    items, found, missing = of.statements.items, everything, 0
    while not found.holds and missing < len(items) - 1:
        missing += 1
        found = of.search(items, of.size.whole, missing=missing, start=[*of.prior, *(w for _, w in found.worlds)])
    sets = Counter(_held(of, world) for world in found.agreeing() or [found.best[1]])
    names = max(sets, key=lambda held: (len(held), sets[held], sorted(held)))
    kept = [item for item in items if item.name in names]
    left_out = [[item.name for item in items if item.name not in held] for held in sets if len(held) == len(kept)]
    if not kept:
        return kept, found, left_out
    spread = replace(of.size.whole, mixing=of.size.mixing)
    found = of.search(kept, spread, start=[*of.prior, *(world for _, world in found.worlds)])
    return kept, found, left_out


def _held(of: Calibration, world: Unit) -> frozenset[str]:
    seconds = of.seconds(world)
    return frozenset(item.name for item in of.statements.items if item.holds(seconds))


def _missed(of: Calibration, item: Statement, world: Unit) -> Row:
    seconds = of.seconds(world)
    return {
        "statement": item.name,
        "stated": [item.low, item.high],
        "found": round(item.value(seconds), 1),
        "missed_by": round(item.missed_by(seconds), 1),
        "unit": item.unit,
        "within": item.within,
    }


def _posterior(space: Space, worlds: Sequence[Unit]) -> list[Row]:
    rows = []
    for place, item in enumerate(space.parameters):
        shares = sorted(world[place] for world in worlds)
        low, middle, high = (shares[min(len(shares) - 1, int(q * len(shares)))] for q in (0.05, 0.5, 0.95))
        rows.append(
            {
                "parameter": item.name,
                "unit": item.unit,
                "file": f"{item.file}.toml",
                "prior": [item.low, item.high],
                "posterior": [item.at(low), item.at(high)],
                "median": item.at(middle),
                "narrowed_to": round((high - low) / _SHARE, 2),
                "why": item.why,
            }
        )
    return sorted(rows, key=lambda row: row["narrowed_to"])


def _confirmed(of: Calibration, kept: Sequence[Statement], found: Found) -> Row:
    """Run the nearest worlds as whole trials: what the surrogate said, and what the trials say."""
    chosen = [world for _, world in sorted(found.worlds)[: of.size.confirmed]]
    results = _whole(of, of.space, chosen)
    errors, met, held = [], [], 0
    for world, seconds in zip(chosen, results, strict=True):
        said = of.surrogate.seconds(world)
        errors += [abs(said[cell] / total - 1.0) * 100.0 for cell, total in seconds.items()]
        met.append(sum(item.holds(seconds) for item in of.statements.items))
        held += all(item.holds(seconds) for item in kept)
    errors.sort()
    place = max(range(len(chosen)), key=lambda one: met[one])
    best = met[place], results[place]
    return {
        "worlds": len(chosen),
        "kept_hold_in": held,
        "met": best[0],
        "best_world": {
            item.name: item.at(share) for item, share in zip(of.space.parameters, chosen[place], strict=True)
        },
        "error_median_pct": round(errors[len(errors) // 2], 2),
        "error_worst_pct": round(errors[-1], 2),
        "seconds_of_best": {str(cell): round(total, 1) for cell, total in best[1].items()},
        "statements_of_best": [
            {
                "statement": item.name,
                "found": round(item.value(best[1]), 1),
                "unit": item.unit,
                "holds": item.holds(best[1]),
            }
            for item in of.statements.items
        ],
    }


def _whole(of: Calibration, space: Space, worlds: Sequence[Unit]) -> list[dict[Cell, float]]:
    asked = [(cell, space.values(world, cell)) for world in worlds for cell in of.statements.cells]
    totals = iter(of.kept.run(of.cells, asked))
    found = [{cell: next(totals) for cell in of.statements.cells} for _ in worlds]
    # A trial that never became ready took longer than its limit.
    return [{cell: 7200.0 if total is None else total for cell, total in one.items()} for one in found]


def _lacking(of: Calibration, item: Statement, kept: Sequence[Statement], found: Found) -> Iterator[Row]:
    """Yield what each candidate mechanism would have to be for a left-out statement to hold with the kept ones."""
    for candidate in candidates(of.space, of.statements):
        if candidate.concerns(item):
            yield {"statement": item.name, **_needed(of, [candidate], [*kept, item], found)}


def _together(of: Calibration, items: Sequence[Statement], left_out: Sequence[Statement], found: Found) -> Row:
    """Return what all candidates together would have to be for all statements to hold."""
    chosen = [c for c in candidates(of.space, of.statements) if any(c.concerns(item) for item in left_out)]
    return _needed(of, chosen, items, found)


def _needed(of: Calibration, chosen: Sequence[Lacking], asked: Sequence[Statement], found: Found) -> Row:
    space = of.space
    for candidate in chosen:
        space = candidate.added_to(space)
    start = [of.space.moved_to(space, world) for _, world in sorted(found.worlds)]
    rng = random.Random(of.seed)
    start += [space.draw(rng) for _ in range(of.size.drawn // 6)]
    reached = of.search(asked, of.size.whole, space=space, start=start)
    worlds = reached.agreeing()
    names = {name for candidate in chosen for name in candidate.names}
    rows = [row for row in _posterior(space, worlds or [reached.best[1]]) if row["parameter"] in names]
    result: Row = {
        "mechanism": " and ".join(candidate.what for candidate in chosen),
        "suffices": reached.holds,
        "nearest_distance": round(reached.best[0], 2),
        "needed": [
            {key: row[key] for key in ("parameter", "unit", "posterior", "median")}
            | {"documented": _documented(of.space, row["parameter"])}
            for row in rows
        ],
    }
    if worlds:
        (seconds,) = _whole(of, space, [min(reached.worlds)[1]])
        result["whole_trials"] = f"{sum(item.holds(seconds) for item in asked)} of {len(asked)}"
        result["met"] = sum(item.holds(seconds) for item in of.statements.items)
        result["statements_total"] = len(of.statements.items)
    return result


def _documented(space: Space, name: str) -> list[float] | None:
    parameter: Parameter | None = next((item for item in space.parameters if item.name == name), None)
    return None if parameter is None else [parameter.low, parameter.high]


def ranges_of(found: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the posterior range of every parameter of a calibration, by name."""
    return {row["parameter"]: tuple(row["posterior"]) for row in found["posterior"]}


def met_again(found: Mapping[str, Any], statements: Statements, experiment: Experiment) -> int:
    """Return how many statements hold in the best world of a calibration, run again as whole trials."""
    cells = Cells(experiment, statements.variants)
    world = found["confirmed"]["best_world"]
    asked = []
    for cell in statements.cells:
        own = {name.partition(".")[2]: value for name, value in world.items() if name.startswith(f"{cell.cloud}.")}
        asked.append((cell, {name: value for name, value in world.items() if "." not in name} | own))
    totals = KeptTrials().run(cells, asked)
    seconds = {cell: 7200.0 if total is None else total for cell, total in zip(statements.cells, totals, strict=True)}
    return sum(item.holds(seconds) for item in statements.items)
