"""`llm-provisioning reap`: delete what expired or was orphaned, and see that it is gone. No scheduler is needed."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.commands.numbers import seconds
from airflow_llm_provisioning.commands.owned import code_of, json_text, write_sentences, write_table
from airflow_llm_provisioning.commands.selected_targets import selected_places, selected_targets, target_options
from airflow_llm_provisioning.commands.stored import location, store_option

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.target import Target
    from airflow_llm_provisioning.reaping.reap import Reaped


def add_reap(commands: Any) -> None:
    """Add the command `reap`."""
    parser = commands.add_parser("reap", help="delete what expired or was orphaned, and see that it is gone")
    target_options(parser)
    store_option(parser)
    parser.add_argument("--yes", action="store_true", help="delete; without it, only say what would be deleted")
    parser.add_argument(
        "--everything",
        action="store_true",
        help="also what is kept until a later expiry (images, snapshots, pools), which ends the experiment; never what "
        "a running trial uses",
    )
    parser.add_argument(
        "--wait", type=seconds, default=300.0, metavar="S", help="real seconds for all deletions (default: 300)"
    )
    parser.add_argument("--format", choices=["table", "json"], default="table")
    parser.set_defaults(command=_reap)


def _reap(parsed: argparse.Namespace) -> int:
    targets, store_url = selected_targets(parsed), location(parsed, said=True).url
    return _deleted(parsed, targets, store_url) if parsed.yes else _dry(parsed, targets, store_url)


def _dry(parsed: argparse.Namespace, targets: "list[Target]", store_url: str) -> int:
    import asyncio

    from airflow_llm_provisioning.core.owned import State, may_delete
    from airflow_llm_provisioning.reaping.owned import survey

    found = asyncio.run(survey(targets, store_url, selected_places(parsed, targets)))
    due = [item for item in found.items if may_delete(item, everything=parsed.everything)]
    other = [item for item in found.items if item not in due and item.state is not State.IN_USE and not item.parent]
    if parsed.format == "json":
        rows = {"would_delete": due, "other": other}
        told = {name: [item.as_dict() for item in items] for name, items in rows.items()}
        sys.stdout.write(json_text({**told, "notes": found.notes}))
    else:
        write_table("Would be deleted", due)
        if other:
            write_table("Would not be deleted", other)
        write_sentences([*found.notes, "Nothing was deleted: give --yes to delete."])
    return max(code_of(found.items), ExitCode.OBJECTION if due else ExitCode.DONE)


def _deleted(parsed: argparse.Namespace, targets: "list[Target]", store_url: str) -> int:
    import asyncio

    from airflow_llm_provisioning.reaping.reap import reap

    def log(line: str) -> None:
        from airflow_llm_provisioning.report.escaping import terminal_text

        sys.stderr.write(terminal_text(f"{line}\n"))

    done = asyncio.run(
        reap(
            targets,
            store_url,
            places=selected_places(parsed, targets),
            everything=parsed.everything,
            wait_s=parsed.wait,
            log=log,
        )
    )
    if parsed.format == "json":
        sys.stdout.write(json_text(done.as_dict()))
    else:
        _write(done)
    if done.survey.unknown or done.problems:
        return ExitCode.NOT_DONE
    return ExitCode.OBJECTION if not done.clean or done.unrecorded else ExitCode.DONE


def _write(done: "Reaped") -> None:
    tables = {
        "Deleted and seen to be gone": done.deleted,
        "Not gone": (*done.left, *done.stuck),
        "Kept because a running trial may use them": done.kept,
        "With our label, and not ours to delete": done.unrecorded,
        "Not known": done.survey.unknown,
    }
    for title, items in tables.items():
        if items:
            write_table(title, items)
    write_sentences([*done.survey.notes, done.sentence()])
