"""The results database itself: its engine, its write transactions, its schema. Knows no table's meaning.

Several tasks write at once: every write is one transaction, on SQLite one that takes the write lock at its start and
waits for it. The schema is Alembic's; opening a database brings it up to date.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from airflow_llm_provisioning.core.secrets import redacted_text
from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.private_files import private_file

HEAD: Final = "0012"
# The tests of the store run on these two.
SUPPORTED: Final = ("sqlite", "postgresql")
BUSY_TIMEOUT_S: Final = 60
# "llmp" as a number: any constant that no other user of a shared Postgres has.
_POSTGRES_LOCK: Final = 0x6C6C6D70


def open_engine(url: str) -> Engine:
    """Return an engine for the database at a SQLAlchemy URL, its schema created or upgraded. Raises StoreError."""
    parsed, shown = store_address(url)
    try:
        engine = _engine(parsed)
        _bring_up_to_date(engine)
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise StoreError(
            f"The results store {shown} cannot be opened for writing: {first_line(error)}. "
            "Check the connection, the database's rights and, for SQLite, that its folder exists and is writable."
        ) from error
    return engine


def _bring_up_to_date(engine: Engine) -> None:
    try:
        with _schema_change(engine) as connection:
            _upgrade(connection)
    except BaseException:
        engine.dispose()
        raise


# SQLAlchemy's dialects that need an event loop.
_ASYNCHRONOUS: Final = frozenset({"asyncpg", "psycopg_async", "aiosqlite"})


def store_address(url: str) -> tuple[URL, str]:
    """Return a store's URL, and how it is shown: without its password. Raises StoreError, also for a kind of database
    that is not supported.

    `postgres://` is libpq's other name of the scheme `postgresql://`, which is the only one SQLAlchemy knows
    (docs.sqlalchemy.org, changelog 1.4.0b1). A Postgres URL without a driver gets the one that is installed.
    """
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError) as error:
        # Not shown: what cannot be read may hold a password anywhere.
        raise StoreError("The results store's address is no SQLAlchemy URL, such as sqlite:////path/x.db.") from error
    if parsed.drivername in ("postgres", "postgresql"):
        driver = next((name for name in ("psycopg", "psycopg2") if find_spec(name)), None)
        parsed = parsed.set(drivername=f"postgresql+{driver}" if driver else "postgresql")
    shown = redacted_text(parsed.render_as_string(hide_password=True))
    if parsed.get_backend_name() not in SUPPORTED:
        raise StoreError(
            f"The results store {shown} is on {parsed.get_backend_name()}, which is not supported: the store was never "
            "tried there. Use a PostgreSQL database, or a SQLite file on one machine."
        )
    if (driver := parsed.drivername.partition("+")[2]) in _ASYNCHRONOUS:
        raise StoreError(
            f"The results store {shown} has the asynchronous driver {driver}, as Airflow's sql_alchemy_conn_async has; "
            f"write {parsed.get_backend_name()}:// without a driver."
        )
    return parsed, shown


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give a connection inside one write transaction.

    Writers wait for each other, on PostgreSQL as on SQLite: a chunk's position, and a row that replaces another, follow
    from what was read in the same transaction.
    """
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{BUSY_TIMEOUT_S}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
        yield connection


@contextmanager
def _schema_change(engine: Engine) -> Iterator[Connection]:
    """Give a connection inside one write transaction in which SQLite enforces no foreign key.

    SQLite changes a table by making it anew. Dropping the old one would delete every phase and milestone that refers to
    it, and the setting cannot be changed inside a transaction (sqlite.org/lang_altertable.html, "Making Other Kinds Of
    Table Schema Changes"; sqlite.org/foreignkeys.html, "CREATE, ALTER and DROP TABLE commands").
    """
    if engine.dialect.name != "sqlite":
        with writing(engine) as connection:
            yield connection
        return
    with engine.connect().execution_options(writes=True) as connection:
        driver = connection.connection.driver_connection
        if driver is None:
            raise StoreError("The results store's connection was closed while it was opened.")
        driver.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


@contextmanager
def write_to(engine: Engine, what: str) -> Iterator[Connection]:
    """Give a connection inside one write transaction of `what`; a failure is a StoreError that says so."""
    try:
        with writing(engine) as connection:
            yield connection
    except (SQLAlchemyError, OverflowError, ValueError) as error:
        # The driver's own errors: a number of more than 64 bits, a text that is none.
        raise StoreError(f"Writing the {what} to the results store failed: {first_line(error)}.") from error


@contextmanager
def read_from(engine: Engine) -> Iterator[Connection]:
    """Give a connection to read with; a failure is a StoreError."""
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise StoreError(f"Reading the results store failed: {first_line(error)}.") from error
    except ValueError as error:
        # Of the columns' types: a text that is no instant or no JSON, as an edit by hand or a damaged disk leaves it.
        raise StoreError(
            f"Reading the results store failed, because a value in it is damaged: {first_line(error)}. Correct that "
            "value, or restore the store from a backup."
        ) from error


def newer_schema(found: str) -> StoreError:
    """Return the refusal of a database that a newer version of this package wrote."""
    return StoreError(
        f"The results store was written by a newer version of this package (schema {found}, here {HEAD}): "
        "upgrade airflow-llm-provisioning."
    )


def first_line(error: Exception) -> str:
    """Return what the database said, in one line."""
    return redacted_text(str(getattr(error, "orig", None) or error).strip().split("\n", 1)[0].rstrip("."))


def _engine(parsed: URL) -> Engine:
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        # SQLite gives its journals the rights of the database.
        private_file(Path(parsed.database))
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})

    # The driver would begin transactions by itself, and only at the first write: then two writers that have both
    # read cannot wait for each other and one fails at once.
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


# Alembic configures itself through module globals.
_alembic = threading.Lock()


def _upgrade(connection: Connection) -> None:
    if connection.dialect.has_table(connection, "llmp_schema_version"):
        found = connection.scalar(text("SELECT version_num FROM llmp_schema_version"))
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            raise newer_schema(found)
    from alembic import command
    from alembic.config import Config

    with _alembic:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
