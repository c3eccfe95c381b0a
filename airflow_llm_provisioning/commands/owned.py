"""`llm-provisioning owned`: everything that is ours in the clusters and clouds of an experiment, in one list."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.commands.selected_targets import selected_places, selected_targets, target_options
from airflow_llm_provisioning.commands.stored import location, store_option

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.owned import OwnedThing

_COLUMNS: Final = {
    "place": "place",
    "kind": "kind",
    "name": "name",
    "of": "of",
    "state": "state",
    "age": "age",
    "expires": "expires (UTC)",
    "price_hour_usd": "USD/h",
    "why": "why",
}


def add_owned(commands: Any) -> None:
    """Add the command `owned`."""
    parser = commands.add_parser("owned", help="list everything of ours in an experiment's clusters and clouds")
    target_options(parser)
    store_option(parser)
    parser.add_argument("--format", choices=["table", "json"], default="table")
    parser.set_defaults(command=_owned)


def _owned(parsed: argparse.Namespace) -> int:
    import asyncio

    from airflow_llm_provisioning.reaping.owned import survey

    targets = selected_targets(parsed)
    found = asyncio.run(survey(targets, location(parsed, said=True).url, selected_places(parsed, targets)))
    if parsed.format == "json":
        rows = [item.as_dict() for item in found.items]
        sys.stdout.write(json_text({"things": rows, "notes": found.notes}))
    else:
        write_table("What is ours", found.items)
        write_sentences(found.notes)
    return code_of(found.items)


def code_of(items: "Sequence[OwnedThing]") -> int:
    """Return the exit code of a list: 2 where a part is unknown, 1 where something is not in use."""
    from airflow_llm_provisioning.core.owned import State

    states = {item.state for item in items}
    if State.UNKNOWN in states:
        return ExitCode.NOT_DONE
    return ExitCode.OBJECTION if states - {State.IN_USE} else ExitCode.DONE


def write_table(title: str, items: "Sequence[OwnedThing]") -> None:
    """Write things as a table, or one sentence where there are none."""
    from airflow_llm_provisioning.report.tables import terminal_width
    from airflow_llm_provisioning.report.text_table import text_table

    if not items:
        sys.stdout.write(f"{title}: nothing.\n")
        return
    sys.stdout.write(text_table(title, [_row(item) for item in items], _COLUMNS, terminal_width()))


def write_sentences(sentences: Sequence[str]) -> None:
    """Write sentences of clusters and clouds, without secrets and control characters."""
    from airflow_llm_provisioning.report.escaping import terminal_text

    for sentence in sentences:
        sys.stdout.write(terminal_text(f"{sentence}\n"))


def json_text(value: Any) -> str:
    """Return JSON without secrets: sentences of clusters and clouds may hold anything."""
    from airflow_llm_provisioning.core.secrets import redacted_value

    return json.dumps(redacted_value(value), indent=2) + "\n"


def _row(item: "OwnedThing") -> dict[str, Any]:
    age_s = item.age_s
    expires = item.expires_at.strftime("%Y-%m-%d %H:%M") if item.expires_at else None
    return {**item.as_dict(), "age": None if age_s is None else _span(age_s), "expires": expires}


def _span(seconds: float) -> str:
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{seconds:.0f} s"
