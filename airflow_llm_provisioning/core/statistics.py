"""Baseline against variant: Hodges-Lehmann on the logarithm of the times, with the interval that so few trials allow.

The estimate is the median of all pairwise ratios; its interval comes from the exact distribution of Mann and
Whitney's U.
Under three trials an arm there is no interval; under five it is a 90 % one; a 95 % claim needs five in both arms.
Only comparable
trials enter (ready, cold, treatment verified); the others are counted by their reason, never dropped in silence.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any, Final

from airflow_llm_provisioning.core.result import TrialResult, TrialStatus

BASELINE: Final = "baseline"
ANOTHER_IMAGE: Final = "another image"
MIN_FOR_INTERVAL: Final = 3
MIN_FOR_95: Final = 5
_EXACT_LIMIT: Final = 60
_Z: Final = {0.90: 1.6448536269514722, 0.95: 1.959963984540054}


@dataclass(frozen=True, slots=True)
class Reduction:
    """How much shorter than the baseline, in per cent of it; positive is faster. `confidence`: None where no interval
    is allowed.
    """

    reduction_pct: float
    low_pct: float | None
    high_pct: float | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One line of the timing table.

    `n`: comparable trials; `trials`: all that were planned and have a row; `excluded`: why the others do not count,
    "" where
    all do. `bound_s`: the median half width of the totals' own bounds. Times are medians over the comparable trials.
    """

    cloud: str
    setup: str
    variant: str
    profile: str
    origin: str
    n: int
    trials: int
    median_s: float | None
    min_s: float | None
    max_s: float | None
    bound_s: float | None
    completion_s: float | None
    reduction_pct: float | None
    reduction_low_pct: float | None
    reduction_high_pct: float | None
    confidence: float | None
    start: str
    applied: str
    excluded: str

    def as_dict(self) -> dict[str, Any]:
        """Return it flat, for XCom and the store."""
        return asdict(self)


def compare(trials: Iterable[TrialResult]) -> list[ComparisonRow]:
    """Return one row per origin, profile, cloud, set-up and variant, each against the baseline of the same."""
    groups = _arms(trials)
    return [_row(key, group, groups.get((*key[:4], BASELINE), [])) for key, group in sorted(groups.items(), key=_order)]


def reduction(baseline: Sequence[float], treated: Sequence[float]) -> Reduction | None:
    """Return how much shorter `treated` is than `baseline` (seconds each); None where either is empty."""
    if not baseline or not treated:
        return None
    ratios = sorted(math.log(new) - math.log(old) for old in baseline for new in treated)
    estimate = _saved_pct(median(ratios))
    n, m = len(baseline), len(treated)
    if min(n, m) < MIN_FOR_INTERVAL:
        return Reduction(estimate, None, None, None)
    confidence = 0.95 if min(n, m) >= MIN_FOR_95 else 0.90
    rank = _rank(n, m, confidence)
    if rank is None:
        return Reduction(estimate, None, None, None)
    return Reduction(estimate, _saved_pct(ratios[-1 - rank]), _saved_pct(ratios[rank]), confidence)


def exclusion(trial: TrialResult) -> str | None:
    """Return why a trial may not enter a cold comparison, or None."""
    if trial.status is not TrialStatus.SUCCEEDED:
        return str(trial.status)
    if trial.total_s is None:
        return "no total"
    if trial.start != "cold":
        return f"start {trial.start}"
    if trial.applied not in ("applied", "none"):
        return f"treatment {trial.applied}"
    return None


def comparable(arm: Sequence[TrialResult]) -> tuple[list[TrialResult], Counter[str]]:
    """Return an arm's trials that may be pooled, and how many of the others do not count for which reason.

    A tag that moved between two replicates gives them different images: those of the most frequent digest are pooled,
    of several the one that was met first.
    """
    kept = [trial for trial in arm if exclusion(trial) is None]
    reasons = Counter(reason for trial in arm if (reason := exclusion(trial)) is not None)
    digests = Counter(digest for trial in kept if (digest := _image_digest(trial)) is not None)
    usual = digests.most_common(1)[0][0] if digests else None
    alike = [trial for trial in kept if _image_digest(trial) in (None, usual)]
    if len(alike) < len(kept):
        reasons[ANOTHER_IMAGE] = len(kept) - len(alike)
    return alike, reasons


def excluded(trials: Iterable[TrialResult]) -> dict[str, str]:
    """Return trial id -> why it does not count, of the trials that `compare` leaves out."""
    reasons: dict[str, str] = {}
    for arm in _arms(trials).values():
        pooled = {trial.trial_id for trial in comparable(arm)[0]}
        reasons |= {t.trial_id: exclusion(t) or ANOTHER_IMAGE for t in arm if t.trial_id not in pooled}
    return reasons


@dataclass(frozen=True, slots=True)
class PhaseMean:
    """A phase of one arm, averaged over the trials whose deciding path passed it; `n` says how many."""

    cloud: str
    setup: str
    variant: str
    origin: str
    phase: str
    mean_s: float
    n: int


def phase_means(trials: Iterable[TrialResult]) -> list[PhaseMean]:
    """Return the mean of every phase per arm over its comparable trials, in the order the phases were met."""
    arms: dict[tuple[str, str, str, str], list[TrialResult]] = {}
    for trial in trials:
        arms.setdefault((trial.cloud, str(trial.setup), trial.variant, trial.origin), []).append(trial)
    means = []
    for key, arm in sorted(arms.items()):
        seconds: dict[str, list[float]] = {}
        for trial in comparable(arm)[0]:
            for phase in trial.phases:
                seconds.setdefault(phase.name, []).append(phase.duration_s)
        means += [PhaseMean(*key, phase=name, mean_s=fmean(values), n=len(values)) for name, values in seconds.items()]
    return means


def _row(key: tuple[str, ...], group: Sequence[TrialResult], baseline: Sequence[TrialResult]) -> ComparisonRow:
    origin, profile, cloud, setup, variant = key
    kept, reasons = comparable(group)
    totals = [trial.total_s for trial in kept if trial.total_s is not None]
    base = [trial.total_s for trial in comparable(baseline)[0] if trial.total_s is not None]
    saved = reduction(base, totals) if variant != BASELINE else None
    widths = [
        (trial.total_high_s - trial.total_low_s) / 2
        for trial in kept
        if trial.total_high_s is not None and trial.total_low_s is not None
    ]
    return ComparisonRow(
        cloud=cloud,
        setup=setup,
        variant=variant,
        profile=profile,
        origin=origin,
        n=len(totals),
        trials=len(group),
        median_s=_median(totals),
        min_s=min(totals, default=None),
        max_s=max(totals, default=None),
        bound_s=_median(widths),
        completion_s=_median([trial.completion_s for trial in kept if trial.completion_s is not None]),
        reduction_pct=saved.reduction_pct if saved else None,
        reduction_low_pct=saved.low_pct if saved else None,
        reduction_high_pct=saved.high_pct if saved else None,
        confidence=saved.confidence if saved else None,
        start=_counts(trial.start for trial in group),
        applied=_counts(trial.applied for trial in group),
        excluded=", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())),
    )


def _arms(trials: Iterable[TrialResult]) -> dict[tuple[str, ...], list[TrialResult]]:
    arms: dict[tuple[str, ...], list[TrialResult]] = {}
    for trial in trials:
        key = (trial.origin, trial.profile, trial.cloud, str(trial.setup), trial.variant)
        arms.setdefault(key, []).append(trial)
    return arms


def _image_digest(trial: TrialResult) -> str | None:
    worker = trial.environment.get("worker")
    digest = worker.get("image_digest") if isinstance(worker, Mapping) else None
    return digest if isinstance(digest, str) else None


def _counts(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(Counter(words).items()))


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _saved_pct(log_ratio: float) -> float:
    return 100 * (1 - math.exp(log_ratio))


def _order(item: tuple[tuple[str, ...], Any]) -> tuple[Any, ...]:
    origin, profile, cloud, setup, variant = item[0]
    return (origin, profile, cloud, setup != "static", variant != BASELINE, variant == "improved", variant)


def _rank(n: int, m: int, confidence: float) -> int | None:
    """Return how many of the sorted pairwise differences lie outside the interval at each end; None if even all are
    too few.
    """
    tail = (1 - confidence) / 2
    if n * m > _EXACT_LIMIT * _EXACT_LIMIT:
        spread = math.sqrt(n * m * (n + m + 1) / 12)
        return max(0, math.floor(n * m / 2 - _Z[confidence] * spread))
    counts = _u_counts(n, m)
    total = sum(counts)
    below, rank = 0, None
    for u, count in enumerate(counts):
        below += count
        # A hair of tolerance: 1/20 is exactly the tail of three against three at 90 %.
        if below / total > tail + 1e-12:
            break
        rank = u
    return rank


def _u_counts(n: int, m: int) -> list[int]:
    """Return in how many of all orders of n and m values U has each value from 0 to n*m (the Gaussian binomial's
    coefficients).
    """
    counts = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        for u in range(n * m, m + i - 1, -1):
            counts[u] -= counts[u - m - i]
        for u in range(i, n * m + 1):
            counts[u] += counts[u - i]
    return counts


PUBLISHED_REDUCTION_PCT: Final[Mapping[tuple[str, str], float]] = {
    # Elotl, "Reducing Deploy Time for LLM Serving on Cloud Kubernetes with Luna Smart Autoscaler", January 2025:
    # prose only,
    # the tables' seconds were never published as text. Its summary says 47 where the body says 46 for EKS dynamic.
    ("eks", "static"): 26.0,
    ("eks", "dynamic"): 46.0,
    ("gke", "static"): 47.0,
    ("gke", "dynamic"): 48.0,
    ("aks", "static"): 47.0,
    ("aks", "dynamic"): 60.0,
}
