"""`llm-provisioning`: look at results, replay traces, check targets, and what other packages add to it."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from airflow_llm_provisioning import __version__
from airflow_llm_provisioning.commands.exit_codes import EXIT_CODES, ExitCode
from airflow_llm_provisioning.commands.gate import add_gate
from airflow_llm_provisioning.commands.history import add_history
from airflow_llm_provisioning.commands.init import add_init
from airflow_llm_provisioning.commands.owned import add_owned
from airflow_llm_provisioning.commands.plan import add_plan
from airflow_llm_provisioning.commands.plugins import add_plugin_commands
from airflow_llm_provisioning.commands.preflight import add_preflight
from airflow_llm_provisioning.commands.reap import add_reap
from airflow_llm_provisioning.commands.render import add_render, add_schema
from airflow_llm_provisioning.commands.replay import add_replay
from airflow_llm_provisioning.commands.results import add_report, add_results
from airflow_llm_provisioning.commands.store import add_store
from airflow_llm_provisioning.commands.streams import tolerant_streams
from airflow_llm_provisioning.commands.traces import add_trace
from airflow_llm_provisioning.commands.what_if import add_what_if
from airflow_llm_provisioning.exceptions import ProvisioningError

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (`commands.exit_codes`); an error is one sentence on stderr."""
    with tolerant_streams():
        return _done(arguments)


def _done(arguments: Sequence[str] | None) -> int:
    try:
        parsed = _parsed(arguments)
        command: Command = parsed.command
        code = command(parsed)
        sys.stdout.flush()
    except ProvisioningError as error:
        return _not_done(str(error))
    except OSError as error:
        return _not_done(_sentence(error))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return code


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    try:
        return _parser().parse_args(arguments)
    except SystemExit:
        # `--help` and `--version` end here. A full disk has taken nothing of them, which argparse does not tell.
        sys.stdout.flush()
        raise


def _not_done(sentence: str) -> int:
    # Late: a parser needs no redactor.
    from airflow_llm_provisioning.report.escaping import terminal_text

    print(f"llm-provisioning: {terminal_text(sentence)}", file=sys.stderr)  # noqa: T201 - a command line speaks on its streams
    return ExitCode.NOT_DONE


def _sentence(error: OSError) -> str:
    """Return a system's error in one sentence: the file, and what the system said."""
    if error.filename is None:
        return f"{error}."
    return f"The file {os.fsdecode(error.filename)} cannot be used: {error.strerror}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llm-provisioning",
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        add_results,
        add_history,
        add_gate,
        add_what_if,
        add_report,
        add_init,
        add_replay,
        add_trace,
        add_store,
        add_plan,
        add_preflight,
        add_owned,
        add_reap,
        add_render,
        add_schema,
    ):
        add(commands)
    add_plugin_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
