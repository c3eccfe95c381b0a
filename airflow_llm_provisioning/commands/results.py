"""`llm-provisioning results` and `report`: what was measured, as tables, CSV, JSON or HTML. They only read."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.commands.selecting import positive, selected, selection_options
from airflow_llm_provisioning.commands.stored import read_store, store_option
from airflow_llm_provisioning.exceptions import ConfigurationError


def add_results(commands: Any) -> None:
    """Add the command `results`."""
    parser = commands.add_parser("results", help="print what was measured: the timing table, trials or phases")
    store_option(parser)
    selection_options(parser, runs=True)
    parser.add_argument(
        "--what",
        choices=["comparison", "trials", "phases", "effects", "percentiles", "runs", "capacity", "preparations"],
        default="comparison",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="of trials and runs, only the newest N (default: all; 100 runs)"
    )
    parser.add_argument("--format", choices=["table", "csv", "json"], default="table")
    parser.set_defaults(command=_results)


def add_report(commands: Any) -> None:
    """Add the command `report`."""
    parser = commands.add_parser(
        "report", help="write an HTML report that opens offline, with tables and a phase chart"
    )
    store_option(parser)
    selection_options(parser, runs=True)
    parser.add_argument(
        "--sweep", type=Path, help="a sweep's JSON, to show how the reductions move over every assumption"
    )
    parser.add_argument("--out", type=Path, default=Path("report.html"))
    parser.set_defaults(command=_report)


def _results(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.report.tables import results_rows, terminal_width, written

    with read_store(parsed) as store:
        rows = results_rows(store, parsed.what, selected(store, parsed), limit=parsed.limit)
    sys.stdout.write(written(rows, parsed.format, terminal_width()))
    return ExitCode.DONE


def _report(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.report.page import write_report

    sweep = _sweep(parsed.sweep) if parsed.sweep else None
    with read_store(parsed) as store:
        write_report(parsed.out, store, selected(store, parsed), sweep=sweep)
    sys.stdout.write(f"{parsed.out}\n")
    return ExitCode.DONE


def _sweep(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"The sweep {path} is no JSON: {error}.") from error
    if not isinstance(found, dict) or not {"cells", "rows"} <= found.keys():
        raise ConfigurationError(f"The file {path} is no sweep: make one with `llm-provisioning sweep --out {path}`.")
    return found
