"""Selects the results store of a command and says which one it is.

Order: the option `--store`, the option `--store-conn`, the environment variable, the Airflow connection of the default
name, the store that `make demo` or `make ui` named for this Python environment, the file in AIRFLOW_HOME.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

STORE_VARIABLE: Final = "LLM_PROVISIONING_STORE"
# In the folder of the Python environment (sys.prefix): the path of the SQLite file of the last demonstration.
DEMO_STORE: Final = "llm-provisioning-store"


@dataclass(frozen=True, slots=True)
class Location:
    """A results store's SQLAlchemy URL, and what named it."""

    url: str
    named_by: str


def store_option(parser: argparse.ArgumentParser) -> None:
    """Add the options for the results store to a command."""
    parser.add_argument(
        "--store",
        type=named,
        metavar="URL",
        help=f"SQLAlchemy URL or SQLite file of the results store (default: ${STORE_VARIABLE}, else the Airflow "
        "connection llm_provisioning_results, else the SQLite file in AIRFLOW_HOME)",
    )
    parser.add_argument("--store-conn", type=named, metavar="CONN_ID", help="Airflow connection of the results store")


def named(text: str) -> str:
    """Read what names a store. An empty one is a variable of a script that was not set: another store is not meant."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: name a store, or leave the option out")
    return text


@contextmanager
def read_store(parsed: argparse.Namespace) -> Iterator["ResultsStore"]:
    """Open the results store of a command that only reads, name it on stderr, and close it at the end.

    Raises StoreError if it does not exist.
    """
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

    store = ResultsStore.open_for_reading(_said(location(parsed)))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def opened_store(parsed: argparse.Namespace) -> Iterator["ResultsStore"]:
    """Open the results store of a command that writes, created if need be; name it on stderr, close it at the end."""
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

    store = ResultsStore.open(_said(location(parsed)))
    try:
        yield store
    finally:
        store.close()


def location(parsed: argparse.Namespace, *, said: bool = False) -> Location:
    """Return where the results store of a command is; `said`: and name it on stderr."""
    found = _location(parsed)
    if said:
        _said(found)
    return found


def _location(parsed: argparse.Namespace) -> Location:
    from airflow_llm_provisioning.connections import store_url

    if parsed.store:
        return Location(as_url(parsed.store), "--store")
    if parsed.store_conn:
        return Location(store_url(parsed.store_conn), f"connection {parsed.store_conn}")
    if os.environ.get(STORE_VARIABLE):
        return Location(as_url(os.environ[STORE_VARIABLE]), f"${STORE_VARIABLE}")
    return _default()


def _default() -> Location:
    from airflow_llm_provisioning.connections import DEFAULT_STORE, default_store_file, stored_url

    connected = stored_url(DEFAULT_STORE)
    if connected is not None:
        return Location(connected, f"connection {DEFAULT_STORE}")
    if "AIRFLOW_HOME" not in os.environ and (demo := _of_the_demonstration()) is not None:
        return Location(f"sqlite:///{demo}", "the last `make demo` or `make ui`")
    return Location(f"sqlite:///{default_store_file()}", "the file in AIRFLOW_HOME")


def _of_the_demonstration() -> Path | None:
    """Return the file that the last demonstration named, as long as its folder exists; the first trial creates it."""
    named = Path(sys.prefix) / DEMO_STORE
    if not named.is_file():
        return None
    path = Path(named.read_text(encoding="utf-8").strip())
    return path if path.parents[1].is_dir() else None


def as_url(given: str) -> str:
    """Return a path as the URL of its SQLite file."""
    return given if "://" in given else f"sqlite:///{Path(given).expanduser()}"


def _said(found: Location) -> str:
    from airflow_llm_provisioning.gateways.store.database import store_address

    sys.stderr.write(f"Results store: {store_address(found.url)[1]} ({found.named_by})\n")
    return found.url
