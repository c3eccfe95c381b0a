"""Rows of results, and the ways to print them. A missing value is an empty cell, never a zero; every row says its
origin.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.result import Preparation
from airflow_llm_provisioning.core.statistics import MIN_FOR_INTERVAL, PUBLISHED_REDUCTION_PCT, compare, phase_means
from airflow_llm_provisioning.gateways.store import ResultsStore

if TYPE_CHECKING:
    from pandas import DataFrame

Row = dict[str, Any]

# What the terminal shows of a comparison; CSV and JSON have every column.
SHOWN: Final = {
    "setup": "set-up",
    "variant": "variant",
    "n": "n",
    "median_s": "time (s)",
    "bound_s": "+- (s)",
    "reduction": "saved",
    "published": "published",
    "start": "start",
    "applied": "treatments",
    "origin": "origin",
    "excluded": "not counted",
}

# What fits a terminal of the wider rows.
NARROW: Final = (
    (
        "trial_id",
        "cloud",
        "setup",
        "variant",
        "status",
        "total_s",
        "completion_s",
        "start",
        "applied",
        "origin",
        "reason",
    ),
    ("target", "verb", "seconds", "reused", "price_usd", "price_basis", "origin"),
)


def results_rows(store: ResultsStore, what: str, selection: Mapping[str, Any]) -> list[Row]:
    """Return the rows of `comparison`, `trials`, `phases` or `preparations`, for the trials that equal the
    selection.
    """
    if what == "preparations":
        return [_preparation(item) for item in store.preparations()]
    trials = store.trials(**selection)
    if what == "trials":
        return [trial.summary() for trial in trials]
    if what == "phases":
        return [asdict(mean) for mean in phase_means(trials)]
    return [row.as_dict() for row in compare(trials)]


def written(rows: Sequence[Row], form: str) -> str:
    """Return rows as `table` (for a terminal), `csv` or `json` text."""
    if form == "json":
        return json.dumps(list(rows), indent=1) + "\n"
    if form == "csv":
        return str(frame(rows).to_csv(index=False, lineterminator="\n"))
    if not rows:
        return "There are no results.\n"
    if "reduction_pct" in rows[0]:
        return _comparison_tables(rows)
    wanted = next((columns for columns in NARROW if set(columns) <= set(rows[0])), tuple(rows[0]))
    return _table("", rows, {key: key for key in wanted})


def frame(rows: Sequence[Row]) -> "DataFrame":
    """Return rows as a data frame for notebooks: a missing number is <NA>, and an integer beside it stays one."""
    import pandas as pd

    return pd.DataFrame(list(rows), dtype=object).convert_dtypes()


def published(row: Mapping[str, Any]) -> float | None:
    """Return the origin's published reduction of an `improved` row, in per cent."""
    if row["variant"] != "improved":
        return None
    return PUBLISHED_REDUCTION_PCT.get((row["cloud"], row["setup"]))


def reduction_text(row: Mapping[str, Any]) -> str:
    """Return a reduction with what is claimed of it: `-34.1 %`, or `-34.1 % (90 %: -30.2 to -38.0)`."""
    saved = row["reduction_pct"]
    if saved is None:
        return ""
    # Adding zero makes a negative zero a plain one.
    text = f"{round(-saved, 1) + 0.0:+.1f} %"
    if row["confidence"] is None:
        return text
    low, high = -row["reduction_low_pct"], -row["reduction_high_pct"]
    return f"{text} ({row['confidence']:.0%}: {low:+.1f} to {high:+.1f})"


def shown(row: Row) -> Row:
    """Return a comparison's row with what a person reads beside the numbers: `reduction`, `published`, `n`."""
    known = published(row)
    return row | {
        "reduction": reduction_text(row),
        "published": "" if known is None else f"{-known:+.0f} %",
        "n": f"{row['n']} of {row['trials']}",
    }


def cell(value: Any, key: str = "") -> str:
    """Return a value as it stands in a table, under the `key` of its column: empty where it is missing, one decimal
    place of a fraction, cents of a price, and zero for nothing but zero.
    """
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.2f}" if key.endswith("_usd") else f"{value:.1f}"
    return f"{value:.1g}" if value and not float(text) else text


def _with_doubt(row: Row) -> Row:
    """Say so where a reduction has no interval: the estimate alone looks surer than it is."""
    if row["reduction_pct"] is None or row["confidence"] is not None:
        return row
    return row | {"reduction": f"{row['reduction']} (no interval: n < {MIN_FOR_INTERVAL})"}


def _comparison_tables(rows: Sequence[Row]) -> str:
    parts = []
    for cloud, group in groupby(rows, key=lambda row: row["cloud"]):
        parts.append(_table(cloud.upper(), [_with_doubt(shown(row)) for row in group], SHOWN))
    parts.append(
        "time: median from submission to the ready endpoint, cold and verified trials only; +-: what its own bounds "
        "allow;\nsaved: against the baseline of the same cloud and set-up, with its interval where there are enough "
        "trials;\npublished: what the origin of this experiment printed for its own clusters, for orientation.\n"
    )
    return "\n".join(parts)


def _table(title: str, rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for key, heading in columns.items():
        table.add_column(heading, justify="right" if _numeric(rows, key) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(row.get(key), key) for key in columns))
    out = io.StringIO()
    Console(file=out, width=170).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _numeric(rows: Sequence[Row], key: str) -> bool:
    return any(isinstance(row.get(key), (int, float)) for row in rows)


def _preparation(item: Preparation) -> Row:
    row = asdict(item)
    result = row.pop("result")
    made = ("image", "digest", "snapshot_id", "pool", "pod")
    row["made"] = "; ".join(f"{key}={result[key]}" for key in made if result.get(key))
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}
