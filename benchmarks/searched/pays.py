"""Which method pays when: one row for each treatment, cloud and workload, from the trials of the record search.

The page is generated from these rows, and a test holds it to them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from airflow_llm_provisioning.core.treatments import known_treatments
from searched.trials import Book, Combination

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "treatments"
DATA: Final = FOLDER / "which-pays.json"
PAGE: Final = FOLDER / "which-pays.md"
# What a treatment needs that no step of a preparation makes, because it is the user's.
BY_USER: Final = {
    "weights_stream": "a bucket that you fill",
    "image_volume": "an artifact that you push",
    "ray_start_trim": "a switch of KubeRay's operator",
}
# Polling hides what is smaller.
_NOTHING_S: Final = 2.0
_HEAD: Final = (
    "*Alone* is what a treatment saves against the baseline of the same cloud, workload and target; *target*",
    "names what differs from the section's: its node autoscaler, an option of its nodes, a gate. *In the best* is",
    "what the best combination found loses without it, or, of one that keeps nodes warm, what the best gains with",
    "it. The best serves as fast as the baseline, unless its section says otherwise. A figure is printed only",
    "where the trial was ready, cold except for what was declared, and every treatment verified. The clouds' own",
    "figures will differ: read the order and the reason, then measure.",
)
Row = dict[str, Any]


def pays_rows(book: Book, records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the rows. `alone_s`: what a treatment saves against the baseline; `in_best_s`: what the best combination
    loses without it; each None where that trial does not count or could not be planned.
    """
    return [row for record in records if record["best"] is not None for row in _rows_of(book, record)]


def _rows_of(book: Book, record: Mapping[str, Any]) -> Iterator[Row]:
    base = Combination(record["cloud"], record["autoscaler"], record["setup"], record["workload"], ())
    gains = {gain["treatment"]: gain["gain_s"] for gain in record["gains"]}
    for told in record["with_kept_nodes"]:
        gains |= {name: told["gain_s"] for name in told["names"] if name not in record["best"]["names"]}
    for name, item in known_treatments().items():
        if item.clouds and base.cloud not in item.clouds:
            continue
        one = _where(book, base, name)
        alone, plain = book.known.get(one), book.known.get(one.bare())
        saved = round(plain["total_s"] - alone["total_s"], 1) if alone and plain and alone["counts"] else None
        yield {
            "treatment": name,
            "cloud": base.cloud,
            "workload": base.workload,
            "setup": base.setup,
            "autoscaler": one.autoscaler,
            "form": list(one.form),
            "baseline_s": plain["total_s"] if plain else None,
            "alone_s": saved,
            "in_best_s": gains.get(name),
            "in_best": name in record["best"]["names"],
            "why": book.refused.get(one) or (alone["why"] if alone else "not run within the budget"),
            "keeps_warm": list(item.keeps_warm),
            "prepared": [step.name for step in item.steps],
            "usd_hour": None if alone is None else _hour(alone.get("usd_hour")),
        }


def _where(book: Book, base: Combination, name: str) -> Combination:
    """Return a treatment alone where it was run: on the record's node autoscaler first."""
    alone = base.of([name])
    elsewhere = (one for one in book.known if one == alone._replace(autoscaler=one.autoscaler, form=one.form))
    return alone if alone in book.known else next(elsewhere, alone)


def _hour(rates: Mapping[str, float | None] | None) -> float | None:
    known = [rate for rate in (rates or {}).values() if rate is not None]
    return round(sum(known), 4) if rates and len(known) == len(rates) else None


def when(row: Mapping[str, Any]) -> str:
    """Return when a method pays, in a few words, from its row."""
    saved = max((value for value in (row["alone_s"], row["in_best_s"]) if value is not None), default=None)
    if saved is None:
        return f"not known: {row['why']}" if row["why"] else "not known"
    if saved < _NOTHING_S:
        return "not here"
    if "node" in row["keeps_warm"]:
        return f"when a start that is {saved:.0f} s faster is worth an idle node"
    if row["alone_s"] is None or row["alone_s"] < _NOTHING_S:
        return "with the others of the best combination"
    if row["in_best"] or row["in_best_s"] is None:
        prepared = row["prepared"] or row.get("treatment") in BY_USER
        return "at every deployment, once prepared" if prepared else "at every deployment"
    return "at every deployment"


def page(data: Mapping[str, Any]) -> str:
    """Return the page of some rows."""
    return "\n".join(_page(data)) + "\n"


def _page(data: Mapping[str, Any]) -> Iterator[str]:
    rows = data["rows"]
    yield "# Which method pays when"
    yield ""
    yield "SIMULATED. Generated from whole simulated trials; do not edit by hand. Run again:"
    yield ""
    yield f"```sh\n{data['command']}\n```"
    yield ""
    yield from _HEAD
    for (cloud, workload, setup), group in _grouped(rows).items():
        start = (cloud, workload, setup)
        record = next(r for r in data["records"] if (r["cloud"], r["workload"], r["setup"]) == start)
        yield ""
        yield f"## {cloud.upper()}, {workload}, {setup}"
        yield ""
        best = record["best"]
        yield (
            f"Nodes by {record['autoscaler']}. Baseline {record['baseline_s']:.0f} s; best found "
            f"{best['total_s']:.0f} s with {_names(best['names'])}.{_any_speed(record)}{_warm(record)}"
        )
        if best.get("floor"):
            yield f"{best['floor'].rstrip('.')}: {best.get('floor_gap')}."
        yield ""
        yield "| treatment | target | alone | in the best | prepared | kept warm | pays |"
        yield "|---|---|---|---|---|---|---|"
        for row in sorted(group, key=_order):
            cells = (
                *(f"`{row['treatment']}`", _differs(row, record["autoscaler"])),
                *(_saved(row["alone_s"]), _saved(row["in_best_s"])),
                *(
                    ", ".join(row["prepared"]) or BY_USER.get(row["treatment"], "nothing"),
                    ", ".join(row["keeps_warm"]) or "nothing",
                    when(row),
                ),
            )
            yield f"| {' | '.join(_cell(text) for text in cells)} |"


def _grouped(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["cloud"], row["workload"], row["setup"]), []).append(row)
    return found


def _order(row: Row) -> tuple[float, str]:
    return -max(row["alone_s"] or 0.0, row["in_best_s"] or 0.0), row["treatment"]


def _saved(seconds: float | None) -> str:
    return "no figure" if seconds is None else f"{seconds:.0f} s"


def _differs(row: Mapping[str, Any], autoscaler: str) -> str:
    other = () if row["autoscaler"] == autoscaler else (f"nodes by {row['autoscaler']}",)
    return ", ".join((*other, *row.get("form", ()))) or "the same"


def _any_speed(record: Mapping[str, Any]) -> str:
    """Return the fastest start whose service is slower, in a sentence."""
    if "any_speed" not in record:
        return " Found before what serves slower was left out of the best."
    found = record["any_speed"]
    if found["names"] == record["best"]["names"]:
        return ""
    speed = found.get("tokens_s")
    served = "" if speed is None else f" ({speed:.1f} tokens/s, the baseline {record['baseline_tokens_s']:.1f})"
    return f" At any speed of serving{served}: {found['total_s']:.0f} s with {_names(found['names'])}."


def _warm(record: Mapping[str, Any]) -> str:
    return "" if record["warm_s"] is None else f" Again on the same nodes: {record['warm_s']:.0f} s."


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "no treatment"


def _cell(text: str) -> str:
    shown = " ".join(text.split()).replace("|", "/")
    return shown if len(shown) <= 160 else f"{shown[:157]}..."


def write(data: Mapping[str, Any]) -> None:
    """Write the data file and its page."""
    DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(data), encoding="utf-8")
