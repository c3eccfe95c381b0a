"""`llm-provisioning preflight`: everything that is wrong with an experiment's targets, at once."""

import argparse
import sys
from pathlib import Path
from typing import Any

from airflow_llm_provisioning.commands.exit_codes import ExitCode


def add_preflight(commands: Any) -> None:
    """Add the command `preflight`."""
    parser = commands.add_parser("preflight", help="list everything wrong with an experiment's targets, at once")
    parser.add_argument("experiment", type=Path, help="the experiment's YAML file")
    parser.add_argument("--target", action="append", help="only this target (may be repeated)")
    parser.add_argument("--store-conn", metavar="CONN_ID", help="Airflow connection of the results store")
    parser.set_defaults(command=_preflight)


def _preflight(parsed: argparse.Namespace) -> int:
    import asyncio

    from airflow_llm_provisioning.connections import DEFAULT_STORE
    from airflow_llm_provisioning.dag_factory import load_experiment
    from airflow_llm_provisioning.preparation.preflight import check_experiment
    from airflow_llm_provisioning.report.escaping import terminal_text

    experiment, store = load_experiment(parsed.experiment), parsed.store_conn or DEFAULT_STORE
    findings = asyncio.run(check_experiment(experiment, only=parsed.target, results_conn_id=store))
    for finding in findings:
        sys.stdout.write(terminal_text(f"{finding}\n"))
    return ExitCode.OBJECTION if any(finding.blocks for finding in findings) else ExitCode.DONE
