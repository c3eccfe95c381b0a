"""The report's section about a sweep of the simulator: how each reduction depends on every uncertain number.

It reads the sweep's plain data. The simulator is not needed, and an older sweep can be shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from airflow_llm_provisioning.report.charts import tornado_chart
from airflow_llm_provisioning.report.markup import Markup, element, folded, html, table

Row = Mapping[str, Any]

CHARTED: Final = 10


def sweep_section(sweep: Mapping[str, Any]) -> Markup:
    """Return charts per cloud and set-up and their numbers, from a sweep's {cells, rows, unread}."""
    clouds = []
    for cloud, group in groupby(sweep["cells"], key=lambda cell: cell["cloud"]):
        figures = [_figure(cell, _of(sweep["rows"], cell)) for cell in group]
        clouds.append(element("section", [element("h3", cloud.upper()), element("div", figures, class_="pair")]))
    tables = [
        folded("Every varied number, and both reductions", _varied_numbers(sweep["rows"])),
        folded("Sources of the numbers", _sources(sweep["rows"])),
    ]
    return html([*clouds, *tables, *_unread(sweep.get("unread") or {})])


def _figure(cell: Row, rows: Sequence[Row]) -> Markup:
    base = cell["reduction_pct"]
    published = cell["published_pct"]
    beside = "" if published is None else f"; published: {-published:+.0f} % (dashed)"
    caption = (
        f"{cell['setup']}: {_seconds(cell['baseline_s'])} to {_seconds(cell['improved_s'])}, {_change(base)}{beside}"
    )
    complete = [row for row in rows if _span(row) is not None]
    widest = sorted(complete, key=lambda row: (-(_span(row) or 0.0), row["quantity"]))[:CHARTED]
    if base is None or not widest:
        return element("figure", [element("figcaption", caption), element("p", "There are no figures for a chart.")])
    drawn = tornado_chart(
        [
            {
                "name": row["quantity"],
                "low_pct": -row["reduction_at_low_pct"],
                "high_pct": -row["reduction_at_high_pct"],
            }
            for row in widest
        ],
        -base,
        None if published is None else -published,
    )
    return element("figure", [element("figcaption", caption), Markup(drawn)])


def _varied_numbers(rows: Sequence[Row]) -> Markup:
    shown = [
        {
            "cell": f"{row['cloud']} {row['setup']}",
            "quantity": row["quantity"],
            "range": f"{row['low']:.4g} to {row['high']:.4g}",
            "low": _change(row["reduction_at_low_pct"]),
            "value": _change(row["reduction_pct"]),
            "high": _change(row["reduction_at_high_pct"]),
            "span": _span(row),
        }
        for row in sorted(rows, key=lambda row: -(_span(row) or 0.0))
    ]
    columns = {"cell": "cell", "quantity": "number", "range": "from .. to", "low": "at its lower end"}
    return table(
        columns | {"value": "at the profile's value", "high": "at its upper end", "span": "difference in points"}, shown
    )


def _sources(rows: Sequence[Row]) -> Markup:
    known: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        known.setdefault(
            (row["file"], row["quantity"]),
            {
                "quantity": row["quantity"],
                "file": row["file"],
                "value": f"{row['value']:.4g} ({row['low']:.4g} to {row['high']:.4g}) {row['unit']}",
                "kind": "assumed" if row["assumed"] else "sourced",
                "why": row["source_or_assumption"],
            },
        )
    columns = {
        "quantity": "number",
        "file": "file",
        "value": "value (range)",
        "kind": "",
        "why": "source or assumption",
    }
    return table(columns, [known[key] for key in sorted(known)])


def _unread(unread: Mapping[str, Sequence[str]]) -> Iterator[Markup]:
    for cloud, names in unread.items():
        if names:
            yield element("p", f"{cloud.upper()}: uncertain, but used by no trial: {', '.join(names)}.", class_="quiet")


def _of(rows: Sequence[Row], cell: Row) -> list[Row]:
    return [row for row in rows if (row["cloud"], row["setup"]) == (cell["cloud"], cell["setup"])]


def _span(row: Row) -> float | None:
    """Return the percentage points between the ends, or None if a trial at one of them never became ready."""
    ends = [row["reduction_at_low_pct"], row["reduction_pct"], row["reduction_at_high_pct"]]
    return None if any(end is None for end in ends) else float(max(ends) - min(ends))


def _seconds(value: float | None) -> str:
    return "not ready" if value is None else f"{value:.0f} s"


def _change(value: float | None) -> str:
    return "no figure" if value is None else f"{-value:+.1f} %"
