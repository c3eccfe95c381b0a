"""`llm-provisioning history`: what each cell measured night by night, and what got slower or faster since when."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from airflow_llm_provisioning.commands.stored import read_store, store_option
from airflow_llm_provisioning.core.alarm import Change, Watch, watch
from airflow_llm_provisioning.core.nights import Cell, Night, nights_of

SHOWN_NIGHTS = 14


def add_history(commands: Any) -> None:
    """Add the command."""
    history = commands.add_parser("history", help="print the nights of every cell, and what changed since when and why")
    store_option(history)
    history.add_argument("--experiment", help="only this experiment")
    history.add_argument("--target", help="only this target")
    history.add_argument("--expected", action="append", default=[], metavar="RUN_ID", help="a new level is wanted here")
    history.add_argument("--format", choices=["text", "json"], default="text")
    history.set_defaults(command=_history)


def _history(parsed: argparse.Namespace) -> int:
    chosen = {key: value for key in ("experiment", "target") if (value := getattr(parsed, key))}
    with read_store(parsed) as store:
        cells = nights_of(store.trials(**chosen))
    told = {cell: watch(nights, expected=parsed.expected) for cell, nights in sorted(cells.items(), key=_label)}
    if parsed.format == "json":
        sys.stdout.write(json.dumps([_row(cell, cells[cell], told[cell]) for cell in told], indent=1) + "\n")
        return 0
    if not told:
        sys.stdout.write("There are no comparable trials.\n")
    for cell, found in told.items():
        sys.stdout.write("\n".join(_lines(cell, cells[cell], found)) + "\n\n")
    return 0


def _label(item: tuple[Cell, object]) -> tuple[str, str]:
    return item[0].label, item[0].origin


def _lines(cell: Cell, nights: tuple[Night, ...], found: Watch) -> list[str]:
    lines = [f"{cell.label} ({cell.origin}): {len(nights)} nights"]
    if len(nights) > SHOWN_NIGHTS:
        lines.append(f"  the last {SHOWN_NIGHTS}:")
    lines += [f"  {night.at:%Y-%m-%d}  {night.total_s:8.1f} s  n={night.n}" for night in nights[-SHOWN_NIGHTS:]]
    if found.nights_until:
        lines.append(f"  A change can be told in {found.nights_until} more nights.")
    elif not found.changes:
        lines.append("  No change.")
    return lines + [f"  {change}" for change in found.changes]


def _row(cell: Cell, nights: tuple[Night, ...], found: Watch) -> Mapping[str, Any]:
    return {
        "cell": {
            "origin": cell.origin,
            "target": cell.target,
            "workload": cell.workload,
            "setup": cell.setup,
            "variant": cell.variant,
        },
        "nights": [
            {
                "at": night.at.isoformat(),
                "run_id": night.run_id,
                "arm": night.arm,
                "n": night.n,
                "total_s": night.total_s,
                "phases": dict(night.phases),
                "facts": {name: sorted(values) for name, values in night.facts.items()},
            }
            for night in nights
        ],
        "nights_until": found.nights_until,
        "changes": [_change(change) for change in found.changes],
    }


def _change(change: Change) -> Mapping[str, Any]:
    return {
        "since": change.at.isoformat(),
        "run_id": change.run_id,
        "recovered": change.recovered,
        "before_s": change.before_s,
        "after_s": change.after_s,
        "change_pct": change.change_pct,
        "phases": [
            {"name": shift.name, "before_s": shift.before_s, "after_s": shift.after_s, "share": shift.share}
            for shift in change.phases
        ],
        "causes": [
            {
                "fact": cause.fact,
                "before": list(cause.before),
                "after": list(cause.after),
                "acts_on_phase": cause.acts_on_phase,
            }
            for cause in change.causes
        ],
        "text": str(change),
    }
