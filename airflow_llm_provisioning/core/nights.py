"""The history of one cell: what each DAG run measured of it, and which facts held then.

A cell (target, workload, set-up, variant) keeps its name while its arm changes: another model revision, node profile or
manifest makes another arm. So a history follows the cell over its arms, never pools two of them in one number, and
keeps what defines an arm among the facts, because a change of it is a cause that an alarm must be able to name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from statistics import median
from typing import Any, Final

from airflow_llm_provisioning.core.arm import IMAGE_DIGEST, Arm, observed_facts
from airflow_llm_provisioning.core.comparison import ArmTrials, grouped
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.names import fingerprint

# How many nights of a cell are looked at: more than a year. An alarm needs 60 before a change.
NEWEST_NIGHTS: Final = 400
# Facts that define the arm: fact -> field of the stratum.
ARM_FACTS: Final[Mapping[str, str]] = {
    "model": "model_id",
    "model revision": "model_revision",
    "node autoscaler": "autoscaler",
    "node profile": "nodes",
    "region": "region",
    "workload content": "workload_content",
}

# Identity of an environment -> it and its facts: trials of many nights share one object.
_Observed = dict[int, tuple[Mapping[str, Any], dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Cell:
    """What a history follows: everything by name."""

    origin: str
    target: str
    workload: str
    setup: str
    variant: str

    @property
    def label(self) -> str:
        """Return it for people."""
        return f"{self.target} / {self.workload} / {self.setup} / {self.variant}"

    @property
    def key(self) -> str:
        """Fingerprint of the cell, for an address or a column."""
        return fingerprint({field.name: getattr(self, field.name) for field in fields(self)}, 16)

    @property
    def short_name(self) -> str:
        """Return it as an experiment file and a command line name it; it has no origin."""
        return f"{self.target}/{self.workload}/{self.setup}/{self.variant}"


@dataclass(frozen=True, slots=True)
class Night:
    """What one DAG run measured of a cell. `total_s`: median over its comparable trials, `n` of them. `phases`: median
    seconds of the deciding path that each phase took; 0 where it is not on the path, because the phases of a trial sum
    to its total. `facts`: name -> values that were observed.
    """

    at: datetime
    run_id: str
    arm: str
    n: int
    total_s: float
    phases: Mapping[str, float]
    facts: Mapping[str, frozenset[str]]


def cell_of(arm: Arm, target: str) -> Cell:
    """Return the cell that an arm's trials on a target belong to."""
    stratum = arm.stratum
    return Cell(stratum.origin, target, stratum.workload, stratum.setup, arm.variant)


def nights_of(trials: Iterable[Measured]) -> dict[Cell, tuple[Night, ...]]:
    """Return the history of every cell, oldest night first. A run without a comparable trial of a cell is no night of
    it. Where a run holds two arms of one cell (its file was edited meanwhile), the arm of the newest trial counts.
    """
    runs: dict[tuple[Cell, str, str], list[Measured]] = {}
    observed: _Observed = {}
    for trial in trials:
        runs.setdefault((cell_of(trial.arm, trial.target), *trial.run), []).append(trial)
    found: dict[Cell, list[Night]] = {}
    for (cell, _, run_id), members in runs.items():
        arms = [arm for arm in grouped(members) if arm.totals]
        if arms:
            newest = max(arms, key=lambda arm: max(trial.opened_at for trial in arm.pooled))
            found.setdefault(cell, []).append(_night(run_id, newest, observed))
    return {cell: tuple(sorted(nights, key=lambda night: (night.at, night.run_id))) for cell, nights in found.items()}


def _night(run_id: str, arm: ArmTrials, observed: _Observed) -> Night:
    return Night(
        at=min(trial.opened_at for trial in arm.pooled),
        run_id=run_id,
        arm=arm.arm.key,
        n=len(arm.totals),
        total_s=median(arm.totals),
        phases=_phases(arm.pooled),
        facts=_facts(arm, observed),
    )


def _phases(trials: Sequence[Measured]) -> dict[str, float]:
    seen = [{phase.name: phase.duration_s for phase in trial.phases} for trial in trials if trial.phases]
    names = sorted({name for phases in seen for name in phases})
    known = {name: [s for phases in seen if (s := seconds_of(phases, name)) is not None] for name in names}
    return {name: median(values) for name, values in known.items() if values}


def seconds_of(phases: Mapping[str, float], name: str) -> float | None:
    """Return the seconds of a phase: 0 where it is not on the path, None where it is joined with others (`a+b`)."""
    if name in phases:
        return phases[name]
    parts = set(name.split("+"))
    return None if any(parts & set(other.split("+")) for other in phases) else 0.0


def _facts(arm: ArmTrials, observed: _Observed) -> dict[str, frozenset[str]]:
    seen: dict[str, set[str]] = {}
    for same, environment in {id(trial.environment): trial.environment for trial in arm.pooled}.items():
        if same not in observed:
            observed[same] = environment, observed_facts(environment)
        for name, value in observed[same][1].items():
            # The digest's fact is named with its image; a history also follows an image of another name.
            seen.setdefault(IMAGE_DIGEST if name.startswith(IMAGE_DIGEST) else name, set()).add(value)
    for name, field in ARM_FACTS.items():
        if (value := getattr(arm.arm.stratum, field)) is not None:
            seen[name] = {str(value)}
    seen["treatments"] = {"+".join(sorted(arm.arm.treatments)) or "none"}
    return {name: frozenset(values) for name, values in sorted(seen.items())}
