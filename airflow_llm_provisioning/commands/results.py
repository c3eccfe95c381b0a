"""`llm-provisioning results` and `report`: what was measured, as tables, CSV, JSON or HTML. They only read."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.commands.numbers import positive
from airflow_llm_provisioning.commands.selecting import asked, selected, selection_options
from airflow_llm_provisioning.commands.stored import read_store, store_option
from airflow_llm_provisioning.exceptions import ConfigurationError
from airflow_llm_provisioning.report.exports import FORMATS, TRIALS


def add_results(commands: Any) -> None:
    """Add the command `results`."""
    parser = commands.add_parser("results", help="print what was measured: the timing table, trials or phases")
    store_option(parser)
    selection_options(parser, runs=True)
    parser.add_argument(
        "--what",
        choices=[
            "comparison",
            "trials",
            "phases",
            "effects",
            "floor",
            "percentiles",
            "runs",
            "cost",
            "capacity",
            "precision",
            "preparations",
        ],
        help="default: comparison",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="of trials and runs, only the newest N (default: all; 100 runs)"
    )
    parser.add_argument(
        "--format",
        choices=["table", *FORMATS],
        default="table",
        help="table, csv, json, markdown and parquet write what --what names; the others write the trials",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to a file instead of the terminal")
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

    form = FORMATS.get(parsed.format)
    if form is not None and form.kind == TRIALS and parsed.what not in (None, "trials"):
        raise ConfigurationError(f"--format {parsed.format} writes trials, not --what {parsed.what}: leave it out.")
    if form is not None and form.binary and parsed.out is None and sys.stdout.isatty():
        raise ConfigurationError(f"--format {parsed.format} is no text for a terminal: name a file with --out.")
    wanted = asked(parsed)
    with read_store(parsed) as store:
        wanted = selected(store, parsed, wanted)
        if form is not None and form.kind == TRIALS:
            data = form.write(store.queries.measured(wanted, phases=True))
        else:
            rows = results_rows(store, parsed.what or "comparison", wanted, limit=parsed.limit)
            data = (
                form.write(rows)
                if form
                else written(rows, parsed.format, terminal_width()).encode("utf-8", "backslashreplace")
            )
    _put(data, parsed.out, binary=form is not None and form.binary)
    return ExitCode.DONE


def _put(data: bytes, out: Path | None, *, binary: bool) -> None:
    """Write a file, readable by its owner only, or standard output."""
    from airflow_llm_provisioning.gateways.private_files import write_private

    if out is not None:
        write_private(out, data)
        sys.stdout.write(f"{out}\n")
    elif binary:
        sys.stdout.buffer.write(data)
    else:
        sys.stdout.write(data.decode())


def _report(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.report.page import write_report

    sweep = _sweep(parsed.sweep) if parsed.sweep else None
    wanted = asked(parsed)
    with read_store(parsed) as store:
        write_report(parsed.out, store, selected(store, parsed, wanted), sweep=sweep)
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
