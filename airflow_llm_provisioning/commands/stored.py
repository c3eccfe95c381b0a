"""Selects the results store of a command: an option, an environment variable, or the file in AIRFLOW_HOME."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store import ResultsStore

STORE_VARIABLE: Final = "LLM_PROVISIONING_STORE"


def store_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the results store to a command."""
    parser.add_argument(
        "--store",
        metavar="URL",
        help=f"SQLAlchemy URL of the results store (default: ${STORE_VARIABLE}, else the SQLite file in AIRFLOW_HOME)",
    )


@contextmanager
def opened_store(parsed: argparse.Namespace) -> Iterator["ResultsStore"]:
    """Open the results store of a command, and close it at the end."""
    from airflow_llm_provisioning.connections import default_store_file
    from airflow_llm_provisioning.gateways.store import ResultsStore

    store = ResultsStore.open(parsed.store or os.environ.get(STORE_VARIABLE) or f"sqlite:///{default_store_file()}")
    try:
        yield store
    finally:
        store.close()
