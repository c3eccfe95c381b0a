"""Which trials of two arms may be held against each other pair by pair, and what the interval then rests on.

Trials of one DAG run are not independent of each other: they met the same hour, region and load. Where runs hold both
arms, only trials of the same run are paired. Where none does, trials of different runs are paired, and an interval is
allowed only if every run gave one trial to its arm, because then nothing is counted twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.statistics import Block

Runs = Mapping[tuple[str, str], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Pairing:
    """`blocks`: (baseline, treated) totals in seconds. `claim`: whether an interval is allowed. `basis`: what it rests
    on, or why there is none, in a few words; "" where a side has no trials.
    """

    blocks: tuple[Block, ...]
    claim: bool
    basis: str


def paired(baseline: Sequence[Measured], treated: Sequence[Measured]) -> Pairing:
    """Return how the comparable trials of an arm are paired with those of its baseline."""
    olds, news = _totals_by_run(baseline), _totals_by_run(treated)
    if not olds or not news:
        return Pairing((), claim=False, basis="")
    shared = sorted(olds.keys() & news.keys())
    if shared:
        alone = sum(len(totals) for runs in (olds, news) for run, totals in runs.items() if run not in shared)
        told = f", {alone} trials of runs without the other arm left out" if alone else ""
        basis = f"within {len(shared)} {'run' if len(shared) == 1 else 'runs'}{told}"
        return Pairing(tuple((olds[run], news[run]) for run in shared), claim=True, basis=basis)
    block = (_all(olds), _all(news))
    if any(len(totals) > 1 for runs in (olds, news) for totals in runs.values()):
        return Pairing((block,), claim=False, basis="no interval: no run holds both arms, and trials share runs")
    return Pairing((block,), claim=True, basis="between runs of one trial each")


def _all(runs: Runs) -> list[float]:
    return [total for totals in runs.values() for total in totals]


def _totals_by_run(trials: Sequence[Measured]) -> Runs:
    runs: dict[tuple[str, str], list[float]] = {}
    for trial in trials:
        if trial.total_s is not None:
            runs.setdefault(trial.run, []).append(trial.total_s)
    return runs
