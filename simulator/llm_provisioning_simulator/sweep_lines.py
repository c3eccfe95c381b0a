"""A sweep as text for a terminal. It reads the sweep's plain data only."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Row = Mapping[str, Any]

# Percentage points; what moves a reduction by less is named, not tabulated.
SHOWN_FROM_POINTS: Final = 0.5


def sweep_lines(found: Mapping[str, Any]) -> list[str]:
    """Return the lines: per cloud and set-up what the reduction is, and what moves it, the widest first."""
    lines = [
        "SIMULATED. How each reduction moves when one uncertain number of the profile goes to the ends of its range;",
        "all others stay, no noise. 'published' is what the origin of this experiment printed for its own clusters.",
    ]
    for cell in found["cells"]:
        rows = [row for row in found["rows"] if (row["cloud"], row["setup"]) == (cell["cloud"], cell["setup"])]
        lines += ["", *_cell_lines(cell, rows)]
    for cloud, names in found["unread"].items():
        if names:
            lines += ["", f"{cloud.upper()}: read by no trial, so without influence here: {', '.join(names)}."]
    return lines


def span_points(row: Row) -> float | None:
    """Return how far apart a number's two ends leave the reduction, in percentage points; None where a trial failed."""
    ends = [row["reduction_at_low_pct"], row["reduction_at_high_pct"], row["reduction_pct"]]
    return None if any(end is None for end in ends) else max(ends) - min(ends)


def by_influence(rows: Sequence[Row]) -> list[Row]:
    """Return rows with the most influential first; those where a trial failed before all."""
    return sorted(
        rows, key=lambda row: (-(float("inf") if (span := span_points(row)) is None else span), row["quantity"])
    )


def _cell_lines(cell: Row, rows: Sequence[Row]) -> Iterator[str]:
    published = cell["published_pct"]
    beside = "" if published is None else f" (published: {-published:+.0f} %)"
    title = f"{cell['cloud'].upper()} {cell['setup']}"
    took = f"{_seconds(cell['baseline_s'])} -> {_seconds(cell['improved_s'])}"
    yield f"{title}: {took}, {_per_cent(cell['reduction_pct'])}{beside}"
    small = []
    for row in by_influence(rows):
        span = span_points(row)
        if span is not None and span < SHOWN_FROM_POINTS:
            small.append(row["quantity"])
            continue
        ends = f"{_per_cent(row['reduction_at_low_pct']):>9} .. {_per_cent(row['reduction_at_high_pct']):>9}"
        kind = "assumed" if row["assumed"] else "sourced"
        yield f"  {row['quantity']:32} {ends}   for {row['low']:.4g} .. {row['high']:.4g} {row['unit']} ({kind})"
    if small:
        yield f"  under {SHOWN_FROM_POINTS} points: {', '.join(small)}"


def _seconds(value: float | None) -> str:
    return "not ready" if value is None else f"{value:.0f} s"


def _per_cent(value: float | None) -> str:
    return "no figure" if value is None else f"{-value:+.1f} %"
