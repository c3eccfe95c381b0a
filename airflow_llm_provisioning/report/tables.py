"""Rows of results, and the ways to print them. A missing value is an empty cell, never a zero; every row says its
origin. Rows of arms are shown by cloud; where a cloud has arms of several families, each family has its own heading.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.capacity import capacity_rows
from airflow_llm_provisioning.core.factorial_effects import effects_of
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.precision import CLAIMS, precision_rows
from airflow_llm_provisioning.core.published import PUBLISHED_MODEL, PUBLISHED_REDUCTION_PCT, PUBLISHED_VARIANT
from airflow_llm_provisioning.core.result import Preparation
from airflow_llm_provisioning.core.secrets import redacted_value
from airflow_llm_provisioning.core.serving_guard import trade_off
from airflow_llm_provisioning.core.statistics import MIN_FOR_INTERVAL
from airflow_llm_provisioning.decisions.cost import cost_table
from airflow_llm_provisioning.decisions.floor import floors
from airflow_llm_provisioning.gateways.store.queries import Queries
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.gateways.store.selection import Selection
from airflow_llm_provisioning.gateways.store.sums import Failure
from airflow_llm_provisioning.report.escaping import cell_text, spreadsheet_value
from airflow_llm_provisioning.report.families import OLD_ROWS, by_family, differing_facts, is_old
from airflow_llm_provisioning.report.floor_tables import floor_rows, floor_tables
from airflow_llm_provisioning.report.text_table import text_table, wrapped

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
    "trials_for_5_points": "n for 5",
    "serving": "tokens/s",
    "published": "published",
    "start": "start",
    "applied": "treatments",
    "origin": "origin",
    "excluded": "not counted",
}

PHASES_SHOWN: Final = {
    "setup": "set-up",
    "variant": "variant",
    "path": "path",
    "trials": "n",
    "phase": "phase",
    "mean_s": "mean (s)",
    "path_total_s": "mean total (s)",
    "origin": "origin",
}
READ_SO: Final = (
    "time: median from submission to the ready endpoint, cold and verified trials only; +-: what its own bounds allow",
    (
        "saved: against the baseline of the same stratum (cloud, nodes, set-up, workload, model), with its interval "
        "where there are enough trials"
    ),
    "n for 5: about how many trials each arm needs for an interval of 5 points to each side",
    "tokens/s: how fast the model writes, one request at a time, and by how much slower than the baseline it does",
    "published: what the origin of this experiment printed for its own clusters, for orientation",
)
READ_PHASES_SO: Final = (
    "path: the phases of the deciding path in their order; of each arm the path of most trials comes first",
    "n: the trials that took it, of the arm's comparable trials; the phases of a path sum to its mean total",
)
EFFECTS_SHOWN: Final = {
    "effect": "effect",
    "of": "of",
    "change": "change of the time",
    "sets": "sets",
    "confounded": "not told apart from",
    "origin": "origin",
}
READ_EFFECTS_SO: Final = (
    "effect: of one treatment, on the average over the others; alone: without any other; last: with all others",
    "interaction: by how much the effect of one changes where the other is on",
    "sets: whole experiments, of one trial of every arm in one DAG run; they carry the interval",
)
WIDTH: Final = 170
MOST_RUNS: Final = 100
NARROWEST: Final = 60
# A row of an older version may have none.
NO_REASON: Final = "no reason was recorded"

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
    ("dag_id", "run_id", "last_at", "trials", "comparable", "ended"),
    ("cloud", "setup", "variant", "n", "p10_s", "p50_s", "p90_s", "p95_s", "p99_s", "origin"),
    ("target", "verb", "seconds", "reused", "price_usd", "price_basis", "origin"),
    (
        *("cloud", "setup", "variant", "currency", "n", "cost", "saved", "seconds_saved", "prepared", "idle_a_day"),
        *("kept_warm", "break_even_a_day", "origin", "why"),
    ),
    (
        *("cloud", "setup", "variant", "n", "half_width_pct", "confidence"),
        *(f"trials_for_{points:g}" for points in CLAIMS),
        *("origin", "why"),
    ),
    ("hour", "cloud", "zone", "kind", "refusals", "trials", "no_capacity", "waited_s", "origin", "sentence"),
)


def results_rows(
    store: ResultsStore, what: str, selection: Selection | Mapping[str, Any], *, limit: int | None = None
) -> list[Row]:
    """Return the rows of one of `KINDS`, for the trials of a selection or those whose columns equal its values.

    `limit`: of `trials` and `runs`, only the newest.
    """
    if what == "preparations":
        return [_preparation(item) for item in store.preparations()]
    if what == "cost":
        return cost_table(store, Selection.equal(selection))
    if what == "floor":
        return floor_rows(floors(store, Selection.equal(selection)))
    return KINDS[what](store.queries, Selection.equal(selection), limit)


def _comparison(queries: Queries, selection: Selection, _limit: int | None) -> list[Row]:
    failures = queries.failures(selection)
    return [
        row.as_dict() | {"reasons": _reasons(*failures.get(row.arm.key, ([], 0)))}
        for row in queries.comparison(selection)
    ]


def _trials(queries: Queries, selection: Selection, limit: int | None) -> list[Row]:
    rows = queries.trials_page(selection, limit=limit).rows
    return [{name: value for name, value in row.items() if name not in ("exclusion", "cell")} for row in reversed(rows)]


def _effects(trials: Sequence[Measured]) -> list[Row]:
    return [row | {"reasons": " ".join(found.sentences)} for found in effects_of(trials) for row in found.rows()]


def _runs(queries: Queries, selection: Selection, limit: int | None) -> list[Row]:
    page = queries.runs(selection, limit=limit or MOST_RUNS)
    return [
        {
            "experiment": row.experiment,
            "dag_id": row.dag_id,
            "run_id": row.run_id,
            "first_at": row.first_at.isoformat(),
            "last_at": row.last_at.isoformat(),
            "trials": row.trials,
            "comparable": row.comparable,
            "ended": ", ".join(f"{n} {status}" for status, n in row.by_status.items()),
        }
        for row in reversed(page.rows)
    ]


KINDS: Final[Mapping[str, Callable[[Queries, Selection, int | None], list[Row]]]] = {
    "comparison": _comparison,
    "trials": _trials,
    "phases": lambda queries, selection, _: [row for path in queries.phase_means(selection) for row in path.rows()],
    "effects": lambda queries, selection, _: _effects(queries.measured(selection)),
    "percentiles": lambda queries, selection, _: queries.percentiles(selection),
    "runs": _runs,
    "capacity": lambda queries, selection, _: capacity_rows(queries.refused(selection)),
    "precision": lambda queries, selection, _: precision_rows(queries.comparison(selection)),
}


def _reasons(newest: Sequence[Failure], n: int) -> str:
    """Return why trials did not succeed: `trial id: status, reason`, separated by semicolons."""
    told = [f"{one.trial_id}: {one.status}, {one.reason or NO_REASON}" for one in newest]
    return "; ".join(told + ([f"and {n - len(told)} earlier ones"] if n > len(told) else []))


def terminal_width() -> int:
    """Return the columns of the terminal (`COLUMNS` outweighs it); where there is none, those of a wide one."""
    return max(NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns)


def written(rows: Sequence[Row], form: str, width: int = WIDTH) -> str:
    """Return rows as `table` (for a terminal of `width` columns), `csv` or `json` text."""
    if form == "json":
        return json.dumps(redacted_value(_rounded(rows)), indent=1) + "\n"
    if form == "csv":
        safe = [
            {spreadsheet_value(key): spreadsheet_value(value) for key, value in row.items()}
            for row in redacted_value(_rounded(rows))
        ]
        return str(frame(safe).to_csv(index=False, lineterminator="\n"))
    if not rows:
        return "There are no results.\n"
    if "reduction_pct" in rows[0]:
        return _comparison_tables(rows, width)
    if "path_total_s" in rows[0]:
        return _phase_tables(rows, width)
    if "effect" in rows[0]:
        return _effect_tables(rows, width)
    if "times_floor_low" in rows[0]:
        return floor_tables(rows, width)
    wanted = next((columns for columns in NARROW if set(columns) <= set(rows[0])), tuple(rows[0]))
    return text_table("", rows, {key: key for key in wanted}, width)


def frame(rows: Sequence[Row]) -> "DataFrame":
    """Return rows as a data frame for notebooks: a missing number is <NA>, and an integer beside it stays one."""
    import pandas as pd

    return pd.DataFrame(list(rows), dtype=object).convert_dtypes()


def published(row: Mapping[str, Any]) -> float | None:
    """Return the origin's published reduction of an arm that stands for its bundle of treatments with its model, in per
    cent.
    """
    if row["variant"] != PUBLISHED_VARIANT or row["model_id"] != PUBLISHED_MODEL:
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
        "serving": serving_text(row),
    }


def serving_text(row: Mapping[str, Any]) -> str:
    """Return how fast an arm's model writes: `49.8`, or `32.0 (36 % slower)`; empty where it was not measured."""
    if row.get("tokens_s") is None:
        return ""
    share = row.get("slower_pct")
    return f"{row['tokens_s']:.1f}" + (f" ({share:.0f} % slower)" if share else "")


def _rounded(rows: Sequence[Row]) -> list[Row]:
    """Return rows for a program: no float is finer than the store's instants, which are in microseconds, and one that
    is no number in JSON is missing.
    """
    return [{key: _for_program(value) for key, value in row.items()} for row in rows]


def _for_program(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 6) if math.isfinite(value) else None


def _with_doubt(row: Row) -> Row:
    """Say so where a reduction has no interval: the estimate alone looks surer than it is."""
    if row["reduction_pct"] is None or row["confidence"] is not None:
        return row
    return row | {"reduction": f"{row['reduction']} (no interval: n < {MIN_FOR_INTERVAL})"}


def _comparison_tables(rows: Sequence[Row], width: int) -> str:
    parts = []
    for heading, group in by_family(rows):
        parts.append(text_table(_title(group, heading), [_with_doubt(shown(row)) for row in group], SHOWN, width))
        facts = [wrapped(sentence, width) for row in group if (sentence := trade_off(row))]
        facts += [wrapped(sentence, width) for row in group for sentence in differing_facts(row)]
        facts += [
            wrapped(f"{row['setup']} {row['variant']}, not counted: {row['reasons']}", width)
            for row in group
            if row.get("reasons")
        ]
        parts += ["\n".join(facts) + "\n"] if facts else []
    parts.append("".join(f"{wrapped(sentence, width)}\n" for sentence in READ_SO))
    parts += [f"{wrapped(OLD_ROWS, width)}\n"] if any(map(is_old, rows)) else []
    return "\n".join(parts)


def _effect_tables(rows: Sequence[Row], width: int) -> str:
    parts = []
    for stratum in dict.fromkeys(row["stratum"] for row in rows):
        group = [row for row in rows if row["stratum"] == stratum]
        title = f"{_title(group, '')}, {group[0]['setup']}, baseline {group[0]['baseline_s']:.1f} s"
        parts.append(text_table(title, [row | {"change": effect_text(row)} for row in group], EFFECTS_SHOWN, width))
        parts += [f"{wrapped(group[0]['reasons'], width)}\n"] if group[0]["reasons"] else []
    parts.append("".join(f"{wrapped(sentence, width)}\n" for sentence in READ_EFFECTS_SO))
    return "\n".join(parts)


def effect_text(row: Mapping[str, Any]) -> str:
    """Return what a treatment does: `-143.2 s, -16.8 % (95 %: -150.1 to -136.0 s)`."""
    text = f"{row['change_s']:+.1f} s, {row['change_pct']:+.1f} %"
    if row["confidence"] is None:
        return text
    return f"{text} ({row['confidence']:.0%}: {row['change_low_s']:+.1f} to {row['change_high_s']:+.1f} s)"


def _phase_tables(rows: Sequence[Row], width: int) -> str:
    parts = [
        text_table(
            _title(group, heading),
            [row | {"trials": f"{row['n']} of {row['pooled']}"} for row in group],
            PHASES_SHOWN,
            width,
        )
        for heading, group in by_family(rows)
    ]
    parts.append("".join(f"{wrapped(sentence, width)}\n" for sentence in READ_PHASES_SO))
    return "\n".join(parts)


def _title(rows: Sequence[Row], heading: str) -> str:
    cloud, heading = cell_text(str(rows[0]["cloud"])).upper(), cell_text(heading)
    return f"{cloud}: {heading}" if heading else cloud


def _preparation(item: Preparation) -> Row:
    row = asdict(item)
    result = row.pop("result")
    made = ("image", "digest", "snapshot_id", "disk_image", "pool", "pod")
    row["made"] = "; ".join(f"{key}={result[key]}" for key in made if result.get(key))
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}
