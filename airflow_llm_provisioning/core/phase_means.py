"""The phases of an arm, averaged so that they add up: over the trials that took the same deciding path.

A mean over all trials that passed a phase would not sum to any total, because they did not all pass the same phases.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from airflow_llm_provisioning.core.arm import Arm
from airflow_llm_provisioning.core.comparison import ArmTrials, grouped, identifying_columns, naming_columns
from airflow_llm_provisioning.core.measured import Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class PathMeans:
    """The mean phases of an arm's trials that took the same deciding path (the same phases in the same order).

    `phases`: (name, mean seconds) in their order. They sum to `total_s`, the mean total of the same trials, which are
    in `totals` as (seconds, trial id). `number`: 1 for the path of most trials, of `paths` paths; `n` of the arm's
    `pooled` trials took it.
    """

    arm: Arm
    number: int
    paths: int
    n: int
    pooled: int
    total_s: float
    phases: tuple[tuple[str, float], ...]
    totals: tuple[tuple[float, str], ...] = ()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one flat row per phase."""
        for position, (phase, mean_s) in enumerate(self.phases):
            yield {
                **naming_columns(self.arm),
                "path": f"{self.number} of {self.paths}",
                "n": self.n,
                "pooled": self.pooled,
                "position": position,
                "phase": phase,
                "mean_s": mean_s,
                "path_total_s": self.total_s,
                **identifying_columns(self.arm),
            }


def phase_means(trials: Iterable[Measured]) -> list[PathMeans]:
    """Return the mean of every phase, per arm and per deciding path, over the arm's comparable trials. Trials without
    phases have no path.
    """
    return [means for found in grouped(trials) for means in paths_of(found)]


def paths_of(found: ArmTrials) -> list[PathMeans]:
    """Return the mean phases of one arm, the path of most trials first."""
    paths: dict[tuple[str, ...], list[Measured]] = {}
    for trial in found.pooled:
        if trial.phases and trial.total_s is not None:
            paths.setdefault(tuple(phase.name for phase in trial.phases), []).append(trial)
    # The sort is stable: of equally frequent paths the one that was taken first comes first.
    ordered = sorted(paths.items(), key=lambda item: -len(item[1]))
    return [
        PathMeans(
            arm=found.arm,
            number=number,
            paths=len(ordered),
            n=len(members),
            pooled=len(found.pooled),
            total_s=fmean([trial.total_s for trial in members if trial.total_s is not None]),
            phases=tuple(zip(names, _means(members), strict=True)),
            totals=tuple((trial.total_s, trial.trial_id) for trial in members if trial.total_s is not None),
        )
        for number, (names, members) in enumerate(ordered, start=1)
    ]


def _means(members: Iterable[Measured]) -> Iterator[float]:
    """Yield the mean seconds of each phase of trials that took the same path."""
    for seconds in zip(*([phase.duration_s for phase in trial.phases] for trial in members), strict=True):
        yield fmean(seconds)
