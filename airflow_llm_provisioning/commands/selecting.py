"""The options that select trials, for every command that reads many of them."""

import argparse
from typing import TYPE_CHECKING

from airflow_llm_provisioning.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store import ResultsStore
    from airflow_llm_provisioning.gateways.store.selection import Selection


def selection_options(parser: argparse.ArgumentParser, *, runs: bool = False) -> None:
    """Add the options. `runs`: with those that choose one DAG run."""
    parser.add_argument("--experiment", help="only this experiment")
    parser.add_argument("--since", metavar="WHEN", help="opened at this date or instant, or later (UTC without a zone)")
    parser.add_argument("--until", metavar="WHEN", help="opened before this date or instant")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="only trials that have this value, for example cloud=eks, status=failed or arm=KEY; several of one name "
        "are alternatives",
    )
    if runs:
        one = parser.add_mutually_exclusive_group()
        one.add_argument("--run", metavar="RUN_ID", help="only this DAG run (default: all)")
        one.add_argument("--newest", action="store_true", help="only the newest DAG run of the selection")


def selected(store: "ResultsStore", parsed: argparse.Namespace) -> "Selection":
    """Return what a command line asks for. Raises ConfigurationError for a filter that is none, and for a run id that
    several DAGs have.
    """
    from dataclasses import replace

    from airflow_llm_provisioning.gateways.store.selection import Selection

    run_id = getattr(parsed, "run", None)
    # An empty option is a variable of a script that was not set.
    named = {"experiment": parsed.experiment or None, "run": run_id or None}
    found = Selection.of(parsed.where, since=parsed.since, until=parsed.until, **named)
    if getattr(parsed, "newest", False) and (newest := store.queries.newest_run(found)) is not None:
        return replace(found, run_id=newest.run_id, dag_id=newest.dag_id)
    if run_id:
        dags = sorted({row.dag_id for row in store.queries.runs(found).rows})
        if len(dags) > 1:
            raise ConfigurationError(
                f"{len(dags)} DAGs have a run {run_id!r}: {', '.join(dags)}. Choose one of them with --where dag=NAME."
            )
    return found


def positive(text: str) -> int:
    """Read a number of rows."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number
