"""How far the simulated reductions depend on uncertain numbers: each is moved to both ends of its range.

One number at a time, baseline against improved, without noise and without waiting. A number that neither trial reads
cannot move the reduction and is not run again, by construction and not by judgement. It fits nothing: what comes out is
what the profiles say.
"""

import gc
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from airflow_llm_provisioning.core.arm import BASELINE
from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.published import PUBLISHED_REDUCTION_PCT
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.experiment import simulated_experiment
from llm_provisioning_simulator.instant_trial import InstantTrial, Key, Outcome, profile_of, run_trial
from llm_provisioning_simulator.profiles import FOLDER, NOISE, Quantity
from llm_provisioning_simulator.sweep_lines import sweep_lines

IMPROVED: Final = "improved"
Row = dict[str, Any]
Outcomes = Mapping[Key, Outcome]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Pair:
    """A baseline and an improved trial of one cloud and set-up, at the profile's values."""

    baseline: InstantTrial
    improved: InstantTrial

    def moved(self, name: str, value: float) -> "Pair":
        """Return the pair with one number of the profile set otherwise."""
        values = ((name, value),)
        return Pair(replace(self.baseline, values=values), replace(self.improved, values=values))

    def read(self, at_values: "Outcomes") -> frozenset[str]:
        """Return the numbers that either trial reads."""
        return at_values[self.baseline.key].read | at_values[self.improved.key].read


def sweep(experiment_file: Path, progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """Sweep an experiment's simulated clouds; returns {origin, experiment, workload, fingerprint, cells, rows, unread,
    lines}. `progress` is called with the trials that are done and their number, whenever one is done.

    `cells`: [{cloud, setup, baseline_s, improved_s, reduction_pct, published_pct}], at the profiles' values. `rows`:
    [{cloud, setup, quantity, unit, value, low, high, baseline_at_low_s, ..., reduction_at_low_pct,
    reduction_at_high_pct, reduction_pct, file, source_or_assumption, assumed}], one per cell and uncertain number that
    was read; a reduction is None where a trial never became ready. `unread`: cloud -> uncertain numbers no trial read.
    `lines`: all of it as text.
    """
    experiment = simulated_experiment(experiment_file)
    pairs = list(_pairs(experiment))
    if not pairs:
        raise ConfigurationError(
            f"Experiment {experiment.name!r} cannot be swept: no cloud of it has both a {BASELINE} and an {IMPROVED} "
            "variant."
        )
    return {
        "origin": "simulated",
        "experiment": experiment.name,
        "workload": experiment.workloads[0].name,
        "fingerprint": fingerprint(experiment_file),
    } | sweep_pairs(pairs, progress=progress)


def sweep_pairs(
    pairs: Sequence[Pair], only: Iterable[str] | None = None, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Sweep some pairs over all their uncertain numbers, or over some; returns {cells, rows, unread, lines}."""
    chosen = None if only is None else frozenset(only)
    with simulating_processes() as pool:
        at_values = _outcomes(pool, [trial for pair in pairs for trial in (pair.baseline, pair.improved)])
        uncertain = [[q for q in _uncertain(pair) if chosen is None or q.name in chosen] for pair in pairs]
        jobs = [job for pair, moving in zip(pairs, uncertain, strict=True) for job in _jobs(pair, moving, at_values)]
        outcomes = at_values | _outcomes(pool, jobs, progress)
    rows = [
        _row(pair, quantity, outcomes)
        for pair, moving in zip(pairs, uncertain, strict=True)
        for quantity in moving
        if quantity.name in pair.read(at_values)
    ]
    found = {
        "cells": [_cell(pair, outcomes) for pair in pairs],
        "rows": rows,
        "unread": _unread(pairs, uncertain, at_values),
    }
    return found | {"lines": sweep_lines(found)}


def fingerprint(experiment_file: Path) -> str:
    """Return the SHA-256 of what a sweep's numbers come from: the profile files and the experiment."""
    digest = hashlib.sha256()
    for path in (*sorted(FOLDER.glob("*.toml")), experiment_file):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _pairs(experiment: Experiment) -> Iterator[Pair]:
    served = experiment.workloads[0]
    for cloud in dict.fromkeys(target.cloud for target in experiment.targets):
        plain = _target(experiment, cloud, BASELINE)
        fast = _target(experiment, cloud, IMPROVED)
        if plain is None or fast is None:
            continue
        for setup in experiment.setups:
            treatments = experiment.treatments(IMPROVED, cloud)
            yield Pair(
                InstantTrial(plain, setup, BASELINE, served), InstantTrial(fast, setup, IMPROVED, served, treatments)
            )


def _target(experiment: Experiment, cloud: str, variant: str) -> Target | None:
    return next((t for t in experiment.targets if t.cloud == cloud and variant in t.variants), None)


def _uncertain(pair: Pair) -> Iterator[Quantity]:
    """Yield the numbers with a range; the noise is none of them here, because it is switched off."""
    return (q for q in profile_of(pair.baseline.target).uncertain() if q.name != NOISE)


def _jobs(pair: Pair, uncertain: Iterable[Quantity], at_values: Outcomes) -> Iterator[InstantTrial]:
    for quantity in uncertain:
        for end in set(_ends(quantity)) - {quantity.value}:
            moved = pair.moved(quantity.name, end)
            for trial, changed in ((pair.baseline, moved.baseline), (pair.improved, moved.improved)):
                if quantity.name in at_values[trial.key].read:
                    yield changed


def _ends(quantity: Quantity) -> tuple[float, float]:
    low = quantity.value if quantity.low is None else quantity.low
    return low, quantity.value if quantity.high is None else quantity.high


def _outcomes(
    pool: ProcessPoolExecutor, trials: Sequence[InstantTrial], progress: Progress = lambda done, total: None
) -> dict[Key, Outcome]:
    found: dict[Key, Outcome] = {}
    for done, (trial, outcome) in enumerate(
        zip(trials, pool.map(run_trial, trials, chunksize=4), strict=True), start=1
    ):
        found[trial.key] = outcome
        progress(done, len(trials))
    return found


def simulating_processes() -> ProcessPoolExecutor:
    """Return a pool of fresh processes, one for each core."""
    # Spawned, not forked: the caller may have threads, and a worker needs nothing of it.
    return ProcessPoolExecutor(os.cpu_count() or 1, mp_context=get_context("spawn"), initializer=_collect_less)


def _collect_less() -> None:
    """Let a worker look for garbage rarely: a trial makes many small objects and few cycles. Saves a quarter."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def _cell(pair: Pair, outcomes: Outcomes) -> Row:
    cloud, setup = pair.baseline.target.cloud, str(pair.baseline.setup)
    baseline_s, improved_s = outcomes[pair.baseline.key].total_s, outcomes[pair.improved.key].total_s
    return {
        "cloud": cloud,
        "setup": setup,
        "baseline_s": _rounded(baseline_s),
        "improved_s": _rounded(improved_s),
        "reduction_pct": _reduction_pct(baseline_s, improved_s),
        "published_pct": PUBLISHED_REDUCTION_PCT.get((cloud, setup)),
    }


def _row(pair: Pair, quantity: Quantity, outcomes: Outcomes) -> Row:
    row: Row = {
        "cloud": pair.baseline.target.cloud,
        "setup": str(pair.baseline.setup),
        "quantity": quantity.name,
        "unit": quantity.unit,
        "value": quantity.value,
        "low": quantity.low,
        "high": quantity.high,
        "reduction_pct": _cell(pair, outcomes)["reduction_pct"],
        "file": f"{quantity.file}.toml",
        "source_or_assumption": quantity.source or quantity.assumed,
        "assumed": quantity.assumed is not None,
    }
    for end, value in zip(("low", "high"), _ends(quantity), strict=True):
        moved = pair.moved(quantity.name, value)
        # A trial that does not read the number is the trial at the profile's values.
        baseline_s = outcomes.get(moved.baseline.key, outcomes[pair.baseline.key]).total_s
        improved_s = outcomes.get(moved.improved.key, outcomes[pair.improved.key]).total_s
        row[f"baseline_at_{end}_s"] = _rounded(baseline_s)
        row[f"improved_at_{end}_s"] = _rounded(improved_s)
        row[f"reduction_at_{end}_pct"] = _reduction_pct(baseline_s, improved_s)
    return row


def _unread(
    pairs: Sequence[Pair], uncertain: Sequence[Sequence[Quantity]], at_values: Outcomes
) -> dict[str, list[str]]:
    named: dict[str, set[str]] = {}
    read: dict[str, set[str]] = {}
    for pair, quantities in zip(pairs, uncertain, strict=True):
        cloud = pair.baseline.target.cloud
        named.setdefault(cloud, set()).update(quantity.name for quantity in quantities)
        read.setdefault(cloud, set()).update(pair.read(at_values))
    return {cloud: sorted(names - read[cloud]) for cloud, names in named.items()}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _reduction_pct(baseline_s: float | None, improved_s: float | None) -> float | None:
    if baseline_s is None or improved_s is None:
        return None
    return round(100 * (1 - improved_s / baseline_s), 2)
