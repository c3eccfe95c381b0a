"""`llm-provisioning history`: what each cell measured night by night, what got slower or faster since when, and who
acknowledged it.
"""

import argparse
import getpass
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.commands.numbers import positive
from airflow_llm_provisioning.commands.selecting import asked, check_run, selected, selection_options
from airflow_llm_provisioning.commands.stored import opened_store, read_store, store_option
from airflow_llm_provisioning.core.alarm import Change, watch_phases
from airflow_llm_provisioning.core.expected import ExpectedChange, expected_from
from airflow_llm_provisioning.core.level_notes import LevelNote, NoteKind
from airflow_llm_provisioning.core.nights import NEWEST_NIGHTS
from airflow_llm_provisioning.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_llm_provisioning.decisions.changes import CellHistory
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

SHOWN_NIGHTS = 14
_OF_ACKNOWLEDGE = ("why", "by", "change", "origin")


def add_history(commands: Any) -> None:
    """Add the command."""
    history = commands.add_parser("history", help="print the nights of every cell, and what changed since when and why")
    store_option(history)
    selection_options(history)
    history.add_argument("--target", help="only this target")
    history.add_argument(
        "--nights",
        type=positive,
        default=NEWEST_NIGHTS,
        metavar="N",
        help=f"of each cell, the newest N nights (default: {NEWEST_NIGHTS})",
    )
    history.add_argument(
        "--expected",
        action="append",
        default=[],
        metavar="WHEN",
        help="a new level is wanted from here on: a date, the id of a DAG run or an image digest",
    )
    history.add_argument("--phases", action="store_true", help="also what changed in single phases")
    history.add_argument("--format", choices=["text", "json"], default="text")
    history.add_argument(
        "--acknowledge", metavar="CELL", help="record that the slower level of TARGET/WORKLOAD/SETUP/VARIANT is known"
    )
    history.add_argument("--why", default="", help="with --acknowledge: why it stays")
    history.add_argument("--by", help="with --acknowledge: who says so (default: the user of this machine)")
    history.add_argument("--change", metavar="RUN_ID", help="with --acknowledge: the first run of the level")
    history.add_argument("--origin", help="with --acknowledge: measured or simulated, where both exist")
    history.set_defaults(command=_history)


def _history(parsed: argparse.Namespace) -> int:
    if parsed.acknowledge is not None:
        return _acknowledge(parsed)
    from airflow_llm_provisioning.decisions.changes import histories

    expected = _expected(parsed)
    if given := [f"--{name}" for name in _OF_ACKNOWLEDGE if getattr(parsed, name)]:
        raise ConfigurationError(f"{given[0]} goes with --acknowledge, which is missing.")
    wanted = asked(parsed)
    with read_store(parsed) as store:
        wanted = selected(store, parsed, wanted)
        _check_expected(store, expected)
        if parsed.target:
            wanted = replace(wanted, target=parsed.target)
        nights = store.queries.history(wanted, nights=parsed.nights)
        found = histories(nights, store.level_notes(), expected)
    if parsed.format == "json":
        sys.stdout.write(json.dumps([_row(one) for one in found], indent=1) + "\n")
        return 0
    if not found:
        sys.stdout.write("There are no comparable trials.\n")
    for one in found:
        sys.stdout.write(
            "\n".join([*_lines(one, parsed.nights), *(_phase_lines(one) if parsed.phases else ())]) + "\n\n"
        )
    return 0


def _expected(parsed: argparse.Namespace) -> list[ExpectedChange]:
    try:
        return [expected_from(text) for text in parsed.expected]
    except ValueError as error:
        raise ConfigurationError(f"--expected: {error}") from error


def _check_expected(store: "ResultsStore", expected: Iterable[ExpectedChange]) -> None:
    """Raise ConfigurationError for a run that the store does not have: no night would begin a new level there."""
    for run_id in (change.run for change in expected if change.run is not None):
        try:
            check_run(store, run_id)
        except ConfigurationError as error:
            told = "Allowed are a date as 2026-12-01, an instant, the id of a DAG run and an image digest."
            raise ConfigurationError(f"--expected: {error} {told}") from error


def _acknowledge(parsed: argparse.Namespace) -> int:
    """Record an acknowledgement. The store must exist."""
    from airflow_llm_provisioning.decisions.acknowledge import acknowledge

    with read_store(parsed):
        pass
    with opened_store(parsed) as store:
        note = acknowledge(
            store,
            parsed.acknowledge,
            by=parsed.by or getpass.getuser(),
            why=parsed.why,
            run_id=parsed.change,
            experiment=parsed.experiment,
            origin=parsed.origin,
        )
    sys.stdout.write(f"{note.cell.label}: the level since {note.run_id} is acknowledged by {note.by}: {note.why}\n")
    return 0


def _lines(found: "CellHistory", limit: int) -> list[str]:
    cell, nights = found.cell, found.nights
    told = f"the newest {limit} nights" if len(nights) == limit else f"{len(nights)} nights"
    lines = [f"{cell.label} ({cell.origin}): {told}"]
    if len(nights) > SHOWN_NIGHTS:
        lines.append(f"  the last {SHOWN_NIGHTS}:")
    lines += [f"  {night.at:%Y-%m-%d}  {night.total_s:8.1f} s  n={night.n}" for night in nights[-SHOWN_NIGHTS:]]
    lines += [f"  Expected: {note.run_id}, {note.why}" for note in found.notes if note.kind is NoteKind.EXPECTED]
    if found.watched.nights_until:
        lines.append(f"  A change can be told in {found.watched.nights_until} more nights.")
    elif not found.watched.changes:
        lines.append("  No change.")
    return lines + [f"  {change}{_known(found.acknowledged(change))}" for change in found.watched.changes]


def _phase_lines(found: "CellHistory") -> list[str]:
    """Return a line for every change of a single phase."""
    seen = watch_phases(found.nights, expected=found.expected)
    return [f"  Phase {name}: {change}" for name, watched in seen.items() for change in watched.changes]


def _known(note: LevelNote | None) -> str:
    return f" Acknowledged by {note.by} on {note.at:%Y-%m-%d}: {note.why}" if note is not None else ""


def _row(found: "CellHistory") -> Mapping[str, Any]:
    cell, alarm = found.cell, found.open_alarm
    return {
        "cell": asdict(cell),
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
            for night in found.nights
        ],
        "nights_until": found.watched.nights_until,
        "expected": sorted(found.expected),
        "open_alarm": alarm.run_id if alarm is not None else None,
        "changes": [_change(change, found.acknowledged(change)) for change in found.watched.changes],
        "phase_changes": {
            name: [_change(change, None) for change in watched.changes]
            for name, watched in watch_phases(found.nights, expected=found.expected).items()
            if watched.changes
        },
    }


def _change(change: Change, note: LevelNote | None) -> Mapping[str, Any]:
    return {
        "since": change.at.isoformat(),
        "run_id": change.run_id,
        "recovered": change.recovered,
        "acknowledged": None if note is None else {"by": note.by, "at": note.at.isoformat(), "why": note.why},
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
