"""Whole trials of worlds, and what of the mechanisms each cell uses. The surrogate is held to these trials."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from airflow_llm_provisioning.core.experiment import Experiment, Target
from airflow_llm_provisioning.core.treatments import impossible, resolved, treated_nodes
from airflow_llm_provisioning.core.workload import ScalingSetup
from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.calibration.statements import Cell
from llm_provisioning_simulator.instant_trial import InstantTrial, run_trial
from llm_provisioning_simulator.sweep import simulating_processes

Progress = Callable[[int, int], None]
Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Cells:
    """The trials that cells stand for, of one experiment."""

    experiment: Experiment
    variants: Mapping[str, tuple[str, ...]]

    def trial(self, cell: Cell) -> InstantTrial:
        """Return the trial of a cell at the profile's values. ConfigurationError where the experiment has no such."""
        plain = next((target for target in self.experiment.targets if target.cloud == cell.cloud), None)
        if plain is None:
            raise ConfigurationError(f"{cell}: experiment {self.experiment.name!r} has no target on {cell.cloud!r}.")
        if cell.setup not in {str(setup) for setup in ScalingSetup}:
            raise ConfigurationError(f"{cell}: {cell.setup!r} is no set-up; there are static and dynamic.")
        names = self.variants.get(cell.variant, self.experiment.variants.get(cell.variant))
        if names is None:
            raise ConfigurationError(f"{cell}: neither the experiment nor the statements define {cell.variant!r}.")
        treatments = resolved(names, cell.cloud)
        target = _bare(plain)
        target = replace(target, nodes=treated_nodes(target.nodes, treatments))
        served = self.experiment.workloads[0]
        for reason in impossible(treatments, target, served):
            raise ConfigurationError(f"{cell} is not possible: {reason}")
        return InstantTrial(target, ScalingSetup(cell.setup), cell.variant, served, treatments)


def _bare(target: Target) -> Target:
    """Return a target without what the treatments of its experiment's variants did to its nodes."""
    return replace(target, nodes=replace(target.nodes, features={}))


@dataclass(slots=True)
class KeptTrials:
    """The results of whole trials, by what decides them. `path`: where they are kept for another run of the same
    simulator and experiment, whose `fingerprint` is in the file; None: only in memory.
    """

    path: Path | None = None
    fingerprint: str = ""
    known: dict[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            try:
                found = json.loads(self.path.read_text(encoding="utf-8"))
                same, trials = found["fingerprint"] == self.fingerprint, dict(found["trials"])
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigurationError(
                    f"{self.path} is no file of kept trials, and would be written over: name another file."
                ) from error
            self.known = trials if same else {}

    def run(
        self, cells: Cells, asked: Sequence[tuple[Cell, Values]], progress: Progress = lambda done, total: None
    ) -> list[float | None]:
        """Run whole trials on all cores; return the seconds of each, None for one that never became ready."""
        keys = [_key(cell, values) for cell, values in asked]
        missing = {key: pair for key, pair in zip(keys, asked, strict=True) if key not in self.known}
        trials = [replace(cells.trial(cell), values=tuple(sorted(values.items()))) for cell, values in missing.values()]
        with simulating_processes() as pool:
            results = zip(missing, pool.map(run_trial, trials, chunksize=4), strict=True)
            for done, (key, outcome) in enumerate(results, start=1):
                self.known[key] = outcome.total_s
                progress(done, len(trials))
                if done % 100 == 0 or done == len(trials):
                    self._keep()
        return [self.known[key] for key in keys]

    def _keep(self) -> None:
        if self.path is not None:
            text = json.dumps({"fingerprint": self.fingerprint, "trials": self.known})
            self.path.write_text(text, encoding="utf-8")


def _key(cell: Cell, values: Values) -> str:
    return f"{cell} {hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:24]}"
