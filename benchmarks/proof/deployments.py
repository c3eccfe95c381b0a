"""Proof: the analysis of generated deployments agrees with their known true instants.

For each of `size.deployments` a scenario and a distortion are drawn, the trace is analysed, and the result is compared
with the truth. Then the trace is changed in an impossible way and must be flagged. The figures:

`sum_mismatches`: deployments whose phases do not sum to the total, or without a total although an endpoint was ready.
`inside_bounds_ratio`: share of the milestones whose true instant is within the stated bounds. `median_width_s`: width
of the bounds of milestones with a stamp, with every drawn skew. `joined_ratio_undistorted`: share of joined phases in
traces that only the resolution of the stamps distorts. `negative_phases`. `impossible_flagged_ratio`.
"""

import multiprocessing
import random
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse
from airflow_llm_provisioning.core.timing.timeline import Milestone
from proof import Size
from proof.generated import Deployment, draw_distortion, draw_scenario, generate
from proof.generated.impossible import spoil

# The kinds of flags for impossible input.
ALARMS: Final = frozenset({"contradiction", "disagreement", "clock", "log_time"})
_CHUNK: Final = 50
_CLOCKS: Final = {"api-server": "api", "kuberay-operator": "operator"}


@dataclass
class Tally:
    """The counts over some deployments; tallies can be added."""

    deployments: int = 0
    undistorted: int = 0
    mismatches: int = 0
    negative: int = 0
    told: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    widths: list[tuple[str, float, float]] = field(default_factory=list)
    alarms: Counter[str] = field(default_factory=Counter)
    spoiled: Counter[str] = field(default_factory=Counter)
    unflagged: Counter[str] = field(default_factory=Counter)
    examples: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Add the counts of another tally."""
        self.deployments += other.deployments
        self.undistorted += other.undistorted
        self.mismatches += other.mismatches
        self.negative += other.negative
        for name in ("told", "outside", "phases", "alarms", "spoiled", "unflagged"):
            getattr(self, name).update(getattr(other, name))
        self.widths += other.widths
        self.examples = {**other.examples, **self.examples}


def prove(size: Size) -> dict[str, Any]:
    """Return the figures of `size.deployments` deployments."""
    total = Tally()
    seeds = [size.seed * 10_000_000 + number for number in range(size.deployments)]
    for tally in _tallies([seeds[at : at + _CHUNK] for at in range(0, len(seeds), _CHUNK)], size.processes):
        total.add(tally)
        if total.deployments % 1000 == 0:
            print(f"  {total.deployments} deployments", file=sys.stderr, flush=True)
    return {**_figures(total), **_details(total)}


def _tallies(chunks: list[list[int]], processes: int) -> Iterator[Tally]:
    if processes == 1 or len(chunks) == 1:
        yield from map(_count, chunks)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        # In order, so that examples and lists are the same in every run.
        yield from pool.imap(_count, chunks)


def _count(seeds: Iterable[int]) -> Tally:
    tally = Tally()
    for seed in seeds:
        _check_deployment(seed, tally)
    return tally


def _check_deployment(seed: int, tally: Tally) -> None:
    rng = random.Random(seed)
    scenario, distortion = draw_scenario(rng), draw_distortion(rng)
    deployment = generate(seed, distortion, scenario)
    analysis = analyse(deployment.lines)
    tally.deployments += 1
    _partition(seed, analysis, tally)
    for milestone in analysis.milestones:
        if milestone.name in deployment.truth:
            _check_milestone(seed, milestone, deployment, tally)
    tally.alarms.update(flag.kind for flag in analysis.flags if flag.kind in ALARMS)
    if distortion.none:
        tally.undistorted += 1
        tally.phases.update(phase.name for phase in analysis.phases)
    name, lines = spoil(deployment, rng)
    tally.spoiled[name] += 1
    spoiled = analyse(lines)
    tally.negative += sum(1 for phase in spoiled.phases if phase.duration_us < 0)
    if not any(flag.kind in ALARMS for flag in spoiled.flags):
        tally.unflagged[name] += 1
        tally.examples.setdefault(f"unflagged: {name}", seed)


def _partition(seed: int, analysis: Analysis, tally: Tally) -> None:
    tally.negative += sum(1 for phase in analysis.phases if phase.duration_us < 0)
    exact = analysis.total_us is not None and sum(p.duration_us for p in analysis.phases) == analysis.total_us
    chained = all(a.end_at == b.start_at for a, b in zip(analysis.phases, analysis.phases[1:], strict=False))
    if not (exact and chained):
        tally.mismatches += 1
        tally.examples.setdefault("mismatch", seed)


def _check_milestone(seed: int, milestone: Milestone, deployment: Deployment, tally: Tally) -> None:
    tally.told[milestone.name] += 1
    if not milestone.earliest_at <= deployment.truth[milestone.name] <= milestone.latest_at:
        tally.outside[milestone.name] += 1
        tally.examples.setdefault(f"outside: {milestone.name}", seed)
    if milestone.stamp is not None:
        skew = abs(deployment.skews[_source(milestone.clock)])
        tally.widths.append((milestone.clock.partition(" ")[0], milestone.width_s, skew))


def _source(clock: str) -> str:
    """Return the generator's name of a clock."""
    kind, _, whose = clock.partition(" ")
    if kind == "node":
        return whose
    return f"{kind}-{whose.rpartition('-')[2]}" if whose else _CLOCKS.get(clock, clock)


def _figures(total: Tally) -> dict[str, Any]:
    told, phases, spoiled = total.told.total(), total.phases.total(), total.spoiled.total()
    joined = sum(count for name, count in total.phases.items() if "+" in name)
    return {
        "deployments": total.deployments,
        "sum_mismatches": total.mismatches,
        "inside_bounds_ratio": (told - total.outside.total()) / told if told else None,
        "median_width_s": statistics.median(width for _, width, _ in total.widths) if total.widths else None,
        "joined_ratio_undistorted": joined / phases if phases else None,
        "negative_phases": total.negative,
        "impossible_flagged_ratio": (spoiled - total.unflagged.total()) / spoiled if spoiled else None,
    }


def _details(total: Tally) -> dict[str, Any]:
    """Return details: which milestones, clocks and joined phases, and how often a valid trace was flagged as
    impossible.
    """
    kinds = sorted({kind for kind, _, _ in total.widths})
    by_kind = {kind: [(width, skew) for k, width, skew in total.widths if k == kind] for kind in kinds}
    return {
        "undistorted": total.undistorted,
        "milestones": total.told.total(),
        "outside_bounds": dict(total.outside.most_common()),
        "median_width_less_skew_s": _median(width - skew for _, width, skew in total.widths),
        "median_width_s_by_clock": {kind: _median(width for width, _ in found) for kind, found in by_kind.items()},
        "median_skew_s": _median(skew for _, _, skew in total.widths),
        "joined_undistorted": {name: count for name, count in total.phases.most_common() if "+" in name},
        "alarms_on_valid_traces": dict(total.alarms),
        "spoiled": dict(sorted(total.spoiled.items())),
        "unflagged": dict(total.unflagged),
        "examples": total.examples,
    }


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return round(statistics.median(found), 3) if found else None
