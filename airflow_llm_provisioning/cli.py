"""`llm-provisioning`: look at results, replay traces, check targets, and what other packages add to it."""

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from airflow_llm_provisioning import __version__
from airflow_llm_provisioning.commands.init import add_init
from airflow_llm_provisioning.commands.plugins import add_plugin_commands
from airflow_llm_provisioning.commands.render import add_render, add_schema
from airflow_llm_provisioning.commands.replay import add_replay
from airflow_llm_provisioning.commands.stored import opened_store, store_option
from airflow_llm_provisioning.commands.traces import add_trace
from airflow_llm_provisioning.exceptions import ProvisioningError

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors of ours are one sentence on stderr and exit code 1."""
    parsed = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A trace may hold half a character; a terminal that cannot show one is no reason to stop.
        sys.stdout.reconfigure(errors="backslashreplace")
    command: Command = parsed.command
    try:
        return command(parsed)
    except ProvisioningError as error:
        print(f"llm-provisioning: {error}", file=sys.stderr)  # noqa: T201 - a command line speaks on its streams
        return 1
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llm-provisioning", description=__doc__)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    results = commands.add_parser("results", help="print what was measured: the timing table, trials or phases")
    store_option(results)
    results.add_argument("--run", metavar="RUN_ID", help="only this DAG run (default: all)")
    results.add_argument("--experiment", help="only this experiment")
    results.add_argument("--what", choices=["comparison", "trials", "phases", "preparations"], default="comparison")
    results.add_argument("--format", choices=["table", "csv", "json"], default="table")
    results.set_defaults(command=_results)

    report = commands.add_parser(
        "report", help="write an HTML report that opens offline, with tables and a phase chart"
    )
    store_option(report)
    report.add_argument("--run", metavar="RUN_ID", help="only this DAG run (default: all)")
    report.add_argument("--experiment", help="only this experiment")
    report.add_argument(
        "--sweep", type=Path, help="a sweep's JSON, to show how the reductions move over every assumption"
    )
    report.add_argument("--out", type=Path, default=Path("report.html"))
    report.set_defaults(command=_report)

    add_init(commands)
    add_replay(commands)
    add_trace(commands)

    preflight = commands.add_parser("preflight", help="list everything wrong with an experiment's targets, at once")
    preflight.add_argument("experiment", type=Path, help="the experiment's YAML file")
    preflight.add_argument("--target", action="append", help="only this target (may be repeated)")
    preflight.add_argument("--store-conn", metavar="CONN_ID", help="Airflow connection of the results store")
    preflight.set_defaults(command=_preflight)

    add_render(commands)
    add_schema(commands)
    add_plugin_commands(commands)
    return parser


def _selection(parsed: argparse.Namespace) -> dict[str, Any]:
    chosen = {"run_id": parsed.run, "experiment": parsed.experiment}
    return {key: value for key, value in chosen.items() if value}


def _results(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.report.tables import results_rows, written

    with opened_store(parsed) as store:
        rows = results_rows(store, parsed.what, _selection(parsed))
    sys.stdout.write(written(rows, parsed.format))
    return 0


def _report(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.report.page import write_report

    sweep = json.loads(parsed.sweep.read_text(encoding="utf-8")) if parsed.sweep else None
    with opened_store(parsed) as store:
        write_report(parsed.out, store, _selection(parsed), sweep=sweep)
    sys.stdout.write(f"{parsed.out}\n")
    return 0


def _preflight(parsed: argparse.Namespace) -> int:
    import asyncio

    from airflow_llm_provisioning.connections import DEFAULT_STORE
    from airflow_llm_provisioning.dag_factory import load_experiment
    from airflow_llm_provisioning.preparation.preflight import check_experiment

    experiment, store = load_experiment(parsed.experiment), parsed.store_conn or DEFAULT_STORE
    findings = asyncio.run(check_experiment(experiment, only=parsed.target, results_conn_id=store))
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    return 1 if any(finding.blocks for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
