"""How many trials a claim of some points to each side needs, for every arm of a comparison."""

from collections.abc import Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.comparison import ComparisonRow, identifying_columns, naming_columns
from airflow_llm_provisioning.core.statistics import Reduction
from airflow_llm_provisioning.core.stopping import half_width_pct, trials_needed

CLAIMS: Final = (10.0, 5.0, 3.0, 2.0, 1.0)
"""Points of the reduction to each side."""


def precision_rows(rows: Sequence[ComparisonRow]) -> list[dict[str, Any]]:
    """Return one row for each arm that is compared: `n` trials of it and of its baseline that count (the fewer of the
    two), `half_width_pct` of its interval now, and for each of `CLAIMS` about how many trials each arm needs,
    `trials_for_<points>`. None: there is no interval yet, or all times are equal; `why` says it.

    The width shrinks with the square root of the number, so a claim far from today's width is a rough figure.
    """
    baselines = {row.arm.stratum.key: row for row in rows if row.arm.is_baseline}
    return [_row(row, baselines.get(row.arm.stratum.key)) for row in rows if not row.arm.is_baseline]


def _row(row: ComparisonRow, baseline: ComparisonRow | None) -> dict[str, Any]:
    n = min(row.n, baseline.n if baseline else 0)
    found = _reduction(row)
    width = half_width_pct(found) if found else None
    needed = {f"trials_for_{points:g}": trials_needed(found, n, points) if found else None for points in CLAIMS}
    return {
        **naming_columns(row.arm),
        "n": n,
        "half_width_pct": width,
        "confidence": row.confidence,
        **needed,
        "why": _why(row, baseline, width),
        **identifying_columns(row.arm),
    }


def _reduction(row: ComparisonRow) -> Reduction | None:
    if row.reduction_pct is None:
        return None
    return Reduction(row.reduction_pct, row.reduction_low_pct, row.reduction_high_pct, row.confidence)


def _why(row: ComparisonRow, baseline: ComparisonRow | None, width: float | None) -> str:
    if baseline is None or not baseline.n:
        return "no trial of its baseline counts"
    if not row.n:
        return "no trial of it counts"
    if width is None:
        return "too few trials for an interval"
    return "" if width else "all times are equal, so nothing is known of their spread"
