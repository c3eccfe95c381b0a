"""Opens a results database for a command that only reads: nothing is created, upgraded or written.

A SQLite file in WAL mode is not read without care: a connection with `mode=ro` leaves files beside it, and cannot open
it in a folder that cannot be written (sqlite.org/wal.html, "Read-Only Databases"). Without a log beside it no other
process has it open, and it is read as immutable.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from airflow_llm_provisioning.exceptions import MissingStoreError, StoreError
from airflow_llm_provisioning.gateways.store.database import HEAD, first_line, newer_schema, open_engine, store_address

_VERSION: Final = "llmp_schema_version"

Opened = tuple[Engine, Callable[[], None]]
"""An engine, and what to do after it was closed: it raises StoreError if what was read may be incomplete."""


def open_for_reading(url: str) -> Opened:
    """Open the database at a SQLAlchemy URL. Raises StoreError if there is none or it is no results store.

    An older SQLite file is copied, and the copy is brought up to date.
    """
    parsed, shown = store_address(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(_existing(parsed, shown), shown)
        engine = create_engine(parsed, pool_pre_ping=True)
        found = _version(engine, shown)
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise StoreError(f"The results store {shown} cannot be read: {first_line(error)}.") from error
    if found == HEAD:
        return engine, _nothing
    engine.dispose()
    raise StoreError(
        f"The results store {shown} was written by an older version of this package. A command that only reads does "
        "not change it; the next trial or `llm-provisioning preflight` brings it up to date."
    )


def stored_schema(url: str) -> str | None:
    """Return the version of a database's schema, and change nothing. Raises StoreError if the database does not exist,
    is no results store, or was written by a newer version of this package.
    """
    parsed, shown = store_address(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            engine = _engine(_existing(parsed, shown), "mode=ro")
        else:
            engine = create_engine(parsed)
        found = _version(engine, shown)
        engine.dispose()
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise StoreError(f"The results store {shown} cannot be read: {first_line(error)}.") from error
    return found


def _existing(parsed: URL, shown: str) -> Path:
    path = Path((parsed.database or "").removeprefix("file:").split("?", 1)[0])
    if path.is_file():
        return path
    found = f"{path} is no file" if path.exists() else f"no file {path}"
    raise MissingStoreError(
        f"The results store {shown} does not exist: {found}. Name another with --store or --store-conn; the "
        "first trial, preparation or import creates a store."
    )


def _sqlite(path: Path, shown: str) -> Opened:
    log = path.with_name(f"{path.name}-wal")
    live = log.exists() and log.stat().st_size > 0
    engine = _engine(path, "mode=ro" if live else "mode=ro&immutable=1")
    if _version(engine, shown) == HEAD:
        return engine, _nothing if live else _unchanged(path, shown)
    engine.dispose()
    return _upgraded_copy(path, "mode=ro" if live else "mode=ro&immutable=1", shown)


def _engine(path: Path, options: str) -> Engine:
    return create_engine("sqlite://", creator=lambda: _connection(path, options), poolclass=NullPool)


def _connection(path: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?{options}", uri=True, check_same_thread=False)


def _unchanged(path: Path, shown: str) -> Callable[[], None]:
    """Return a check that the file was not written while it was read as immutable, which SQLite does not notice."""
    before = path.stat()

    def check() -> None:
        after = path.stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise StoreError(f"The results store {shown} was written while it was read: run the command again.")

    return check


def _upgraded_copy(path: Path, options: str, shown: str) -> Opened:
    folder = TemporaryDirectory(prefix="llm-provisioning-")
    copy = Path(folder.name) / path.name
    try:
        with closing(_connection(path, options)) as old, closing(sqlite3.connect(copy)) as new:
            old.backup(new)
        return open_engine(f"sqlite:///{copy}"), folder.cleanup
    except (StoreError, sqlite3.Error) as error:
        folder.cleanup()
        raise StoreError(
            f"The results store {shown} was written by an older version of this package, and a copy of it could not be "
            f"brought up to date: {_cause(error)}. Restore it from a backup."
        ) from error


def _cause(error: Exception) -> str:
    return first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)


def _version(engine: Engine, shown: str) -> str | None:
    """Return the version of the schema. Closes the engine if this is no results store, or one of a newer version."""
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(_VERSION):
                raise StoreError(
                    f"The database {shown} is no results store: it has no table {_VERSION}. Name another with --store "
                    "or --store-conn."
                )
            found = connection.scalar(text(f"SELECT version_num FROM {_VERSION}"))  # noqa: S608 - a constant
        if found is not None and found > HEAD:
            raise newer_schema(found)
    except BaseException:
        engine.dispose()
        raise
    return None if found is None else str(found)


def _nothing() -> None:
    """Nothing is left to be done."""
