"""The options that select trials, for every command that reads many of them."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from airflow_llm_provisioning.core.names import nearest
from airflow_llm_provisioning.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store import ResultsStore
    from airflow_llm_provisioning.gateways.store.selection import Selection

# Of these newest runs a wrong id may mean one.
_RUNS_NAMED: Final = 60


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


def asked(parsed: argparse.Namespace) -> "Selection":
    """Return what a command line asks for; no store is needed to see that a filter is none (ConfigurationError)."""
    from airflow_llm_provisioning.gateways.store.selection import Selection

    # An empty option is a variable of a script that was not set.
    named = {"experiment": parsed.experiment or None, "run": getattr(parsed, "run", None) or None}
    return Selection.of(parsed.where, since=parsed.since, until=parsed.until, **named)


def selected(store: "ResultsStore", parsed: argparse.Namespace, found: "Selection") -> "Selection":
    """Return what is asked for (`asked`) with the newest run, where that is wanted. Raises ConfigurationError for a run
    id that no DAG has, or several.
    """
    if getattr(parsed, "newest", False) and (newest := store.queries.newest_run(found)) is not None:
        return replace(found, run_id=newest.run_id, dag_id=newest.dag_id)
    if run_id := getattr(parsed, "run", None):
        dags = sorted({row.dag_id for row in store.queries.runs(found).rows})
        if len(dags) > 1:
            raise ConfigurationError(
                f"{len(dags)} DAGs have a run {run_id!r}: {', '.join(dags)}. Choose one of them with --where dag=NAME."
            )
        if not dags:
            check_run(store, run_id)
    return found


def check_run(store: "ResultsStore", run_id: str) -> None:
    """Raise ConfigurationError unless the store has the run; the other filters may leave nothing of it."""
    from airflow_llm_provisioning.gateways.store.selection import Selection

    if not store.queries.runs(Selection(run_id=run_id), limit=1).rows:
        known = [row.run_id for row in store.queries.runs(Selection(), limit=_RUNS_NAMED).rows]
        raise ConfigurationError(f"The results store has no DAG run {run_id!r}{nearest(run_id, known)}.")
