"""Trials -> arms -> rows: each arm against the baseline of its own stratum.

Trials are grouped by `Arm.key` and by nothing else. Only comparable trials enter a figure (ready, cold, treatments
verified); the others are counted by their reason. Facts that differ inside an arm or between an arm and its baseline
are named in the row.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from airflow_llm_provisioning.core.arm import (
    Arm,
    Confounder,
    confounders,
    confounders_between,
    image_digest,
)
from airflow_llm_provisioning.core.blocks import paired
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.serving_speed import ServingSpeed, pooled_speed, slower
from airflow_llm_provisioning.core.statistics import Reduction, median_of, reduction_in_blocks
from airflow_llm_provisioning.core.stopping import trials_needed
from airflow_llm_provisioning.core.treatments import kept_warm

ANOTHER_IMAGE: Final = "another image"
# The half width for which a row says how many trials it takes.
POINTS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ArmTrials:
    """The trials of one arm, in the order they were opened. `pooled`: those that enter its figures; `set_aside`: trial
    id -> why the trial does not.
    """

    arm: Arm
    trials: tuple[Measured, ...]
    pooled: tuple[Measured, ...]
    set_aside: Mapping[str, str]

    @property
    def totals(self) -> list[float]:
        """The total of every pooled trial, in seconds."""
        return [trial.total_s for trial in self.pooled if trial.total_s is not None]

    @property
    def speed(self) -> ServingSpeed | None:
        """How fast the model wrote in the pooled trials."""
        return pooled_speed([trial.speed for trial in self.pooled if trial.speed])

    @property
    def mixed(self) -> tuple[Confounder, ...]:
        """The observed facts that have more than one value among the pooled trials."""
        return confounders(trial.environment for trial in self.pooled)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """One line of the timing table: one arm.

    `n`: comparable trials; `trials`: all that were planned and have a row; `excluded`: why the others do not count, ""
    where all do. `bound_s`: the median half width of the totals' own bounds. Times are medians over the comparable
    trials. `interval_basis`: which trials were paired for the reduction and its interval (`core.blocks`).
    `trials_for_5_points`: about how many trials each arm needs for an interval of five points to each side.
    `confounders`: observed facts that differ between the arm and its baseline; `mixed`: those that have more than one
    value inside the arm. `tokens_s`: how fast the model wrote, with its bounds; `slower_pct`: by how much less than the
    baseline's, 0 where it did not, None where that is not known.
    """

    arm: Arm
    n: int
    trials: int
    median_s: float | None
    min_s: float | None
    max_s: float | None
    bound_s: float | None
    completion_s: float | None
    reduction_pct: float | None = None
    reduction_low_pct: float | None = None
    reduction_high_pct: float | None = None
    confidence: float | None = None
    interval_basis: str = ""
    trials_for_5_points: int | None = None
    start: str = ""
    applied: str = ""
    excluded: str = ""
    confounders: tuple[Confounder, ...] = ()
    mixed: tuple[Confounder, ...] = ()
    tokens_s: float | None = None
    tokens_low: float | None = None
    tokens_high: float | None = None
    slower_pct: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it flat, for XCom and the store."""
        numbers = ("n", "trials", "median_s", "min_s", "max_s", "bound_s", "completion_s")
        saved = ("reduction_pct", "reduction_low_pct", "reduction_high_pct", "confidence", "trials_for_5_points")
        served = ("tokens_s", "tokens_low", "tokens_high", "slower_pct")
        words = ("interval_basis", "start", "applied", "excluded")
        return {
            **naming_columns(self.arm),
            **{name: getattr(self, name) for name in (*numbers, *saved, *served, *words)},
            "confounders": "; ".join(map(str, self.confounders)),
            "mixed": "; ".join(map(str, self.mixed)),
            "kept_warm": "+".join(kept_warm(self.arm.treatments)),
            **identifying_columns(self.arm),
        }


def grouped(trials: Iterable[Measured]) -> tuple[ArmTrials, ...]:
    """Return the arms of these trials, in the order of the tables: by cloud and family, the baseline of each set-up
    first. The order of the trials does not matter.
    """
    arms: dict[str, list[Measured]] = {}
    names: dict[str, set[str]] = {}
    for trial in sorted(trials, key=lambda trial: (trial.opened_at, trial.trial_id)):
        arms.setdefault(trial.arm.key, []).append(trial)
        names.setdefault(trial.arm.stratum.family, set()).add(trial.arm.stratum.workload)
    found = (_arm(members, names[members[0].arm.stratum.family]) for members in arms.values())
    return tuple(sorted(found, key=lambda each: table_order(each.arm)))


def compare(trials: Iterable[Measured]) -> list[ComparisonRow]:
    """Return one row per arm, each against the baseline arm of its own stratum."""
    arms = grouped(trials)
    baselines = {found.arm.stratum.key: found for found in arms if found.arm.is_baseline}
    return [_row(found, baselines.get(found.arm.stratum.key)) for found in arms]


def excluded(trials: Iterable[Measured]) -> dict[str, str]:
    """Return trial id -> why it does not count, of the trials that `compare` leaves out."""
    return {trial_id: why for found in grouped(trials) for trial_id, why in found.set_aside.items()}


def naming_columns(arm: Arm) -> dict[str, Any]:
    """Return what a reader looks for first in a row of an arm."""
    stratum = arm.stratum
    return {
        "cloud": stratum.cloud,
        "setup": stratum.setup,
        "variant": arm.variant,
        "workload": stratum.workload,
        "origin": stratum.origin,
    }


def identifying_columns(arm: Arm) -> dict[str, Any]:
    """Return the rest of what an arm is, with its keys. With the naming columns a stratum can be read from a row."""
    stratum = arm.stratum
    return {
        "region": stratum.region,
        "autoscaler": stratum.autoscaler,
        "nodes": stratum.nodes,
        "fallback": stratum.fallback,
        "model_id": stratum.model_id,
        "model_revision": stratum.model_revision,
        "workload_content": stratum.workload_content,
        "treatments": "+".join(arm.treatments),
        "arm": arm.key,
        "stratum": stratum.key,
    }


def _arm(members: Sequence[Measured], names: Collection[str]) -> ArmTrials:
    """Return an arm with its trials that may be pooled, and why the others may not. `names`: of its workload; the same
    content may have several in several experiment files.

    A tag that moved between two replicates gives them different images: those of the most frequent digest are pooled,
    of several the one that was met first. A trial whose digest was not observed stays.
    """
    set_aside = {trial.trial_id: why for trial in members if (why := trial.exclusion) is not None}
    kept = [trial for trial in members if trial.trial_id not in set_aside]
    digests = Counter(digest for trial in kept if (digest := image_digest(trial.environment)) is not None)
    usual = digests.most_common(1)[0][0] if digests else None
    pooled = [trial for trial in kept if image_digest(trial.environment) in (None, usual)]
    in_pool = {trial.trial_id for trial in pooled}
    set_aside |= {trial.trial_id: ANOTHER_IMAGE for trial in kept if trial.trial_id not in in_pool}
    return ArmTrials(table_arm((trial.arm for trial in members), names), tuple(members), tuple(pooled), set_aside)


def _row(found: ArmTrials, baseline: ArmTrials | None) -> ComparisonRow:
    other = baseline if baseline is not None and not found.arm.is_baseline else None
    totals = found.totals
    pairing = paired(other.pooled if other else (), found.pooled)
    saved = reduction_in_blocks(pairing.blocks, claim=pairing.claim)
    widths = [
        (trial.total_high_s - trial.total_low_s) / 2
        for trial in found.pooled
        if trial.total_high_s is not None and trial.total_low_s is not None
    ]
    speed, share = found.speed, slower(found.speed, other.speed if other else None)
    return ComparisonRow(
        arm=found.arm,
        n=len(totals),
        trials=len(found.trials),
        median_s=median_of(totals),
        min_s=min(totals, default=None),
        max_s=max(totals, default=None),
        bound_s=median_of(widths),
        completion_s=median_of([trial.completion_s for trial in found.pooled if trial.completion_s is not None]),
        reduction_pct=saved.reduction_pct if saved else None,
        reduction_low_pct=saved.low_pct if saved else None,
        reduction_high_pct=saved.high_pct if saved else None,
        confidence=saved.confidence if saved else None,
        interval_basis=pairing.basis,
        trials_for_5_points=_needed(saved, other, found),
        start=_counts(trial.start for trial in found.trials),
        applied=_counts(trial.applied for trial in found.trials),
        excluded=_counts(found.set_aside.values()),
        confounders=_between(found, other),
        mixed=found.mixed,
        tokens_s=speed.tokens_s if speed else None,
        tokens_low=speed.low if speed else None,
        tokens_high=speed.high if speed else None,
        slower_pct=None if share is None else 100 * share,
    )


def _needed(saved: Reduction | None, baseline: ArmTrials | None, arm: ArmTrials) -> int | None:
    if saved is None or baseline is None:
        return None
    return trials_needed(saved, min(len(baseline.totals), len(arm.totals)), POINTS)


def _between(found: ArmTrials, baseline: ArmTrials | None) -> tuple[Confounder, ...]:
    if baseline is None:
        return ()
    own = (trial.environment for trial in found.pooled)
    return confounders_between(own, (trial.environment for trial in baseline.pooled))


def _counts(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(Counter(words).items()))


def table_arm(members: Iterable[Arm], names: Collection[str]) -> Arm:
    """Return an arm as the tables name it. `members`: as its trials have it, because the order of the treatments is no
    part of its key; `names`: of its workload.
    """
    arm = min(members, key=lambda arm: arm.treatments)
    return replace(arm, stratum=replace(arm.stratum, workload=" or ".join(sorted(names))))


def table_order(arm: Arm) -> tuple[Any, ...]:
    """Return what the rows of tables are sorted by: cloud, family, set-up, and the baseline first."""
    stratum = arm.stratum
    names = (stratum.autoscaler, stratum.region, stratum.model_id, stratum.model_revision)
    family = (stratum.cloud, stratum.origin, stratum.workload, *(name or "" for name in names), stratum.family)
    variant = (not arm.is_baseline, arm.variant == "improved", arm.variant)
    return (*family, stratum.setup != "static", stratum.setup, *variant, arm.key)
