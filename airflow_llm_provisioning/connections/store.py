"""The results store behind an Airflow connection. Never Airflow's own database."""

import os
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.connections.database_tls import with_settings
from airflow_llm_provisioning.connections.stored import find_connection, searched_places
from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.core.secrets import redacted_text
from airflow_llm_provisioning.exceptions import ConnectionConfigError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

_LOCAL: Final = "LocalExecutor"


def open_store(conn_id: str = DEFAULT_STORE) -> "ResultsStore":
    """Return the results store behind an Airflow connection; the default one is a SQLite file in AIRFLOW_HOME."""
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

    return ResultsStore.open(store_url(conn_id))


def store_url(conn_id: str = DEFAULT_STORE) -> str:
    """Return the SQLAlchemy URL of a results store. It may hold a password: never log it."""
    url = stored_url(conn_id)
    if url is not None:
        return url
    if conn_id != DEFAULT_STORE:
        raise ConnectionConfigError(
            f"The results store's Airflow connection {conn_id!r} is not defined: create it (postgres or "
            f"sqlite) or use {DEFAULT_STORE!r}, which is a file by default.{searched_places(conn_id)}"
        )
    _refuse_file_of_one_machine()
    return f"sqlite:///{default_store_file()}"


def _refuse_file_of_one_machine() -> None:
    """Refuse the default file where tasks may run on several machines: each would have a store of its own."""
    from airflow_llm_provisioning.compat import conf

    executors = str(conf.get("core", "executor", fallback=_LOCAL)).split(",")
    # `LocalExecutor`, `package.module.Class:alias`, and `team=Class` (Airflow's docs, core-concepts/executor).
    named = [one.strip().rpartition("=")[2].partition(":")[0].rpartition(".")[2] for one in executors]
    elsewhere = [name for name in named if name != _LOCAL]
    if elsewhere:
        raise ConnectionConfigError(
            f"The results store is a file in AIRFLOW_HOME by default, which the tasks of {', '.join(elsewhere)} do not "
            f"share: create the Airflow connection {DEFAULT_STORE!r} to a PostgreSQL database (docs/deploy.md)."
        )


def stored_url(conn_id: str) -> str | None:
    """Return the SQLAlchemy URL of the database behind an Airflow connection, None if it is not defined."""
    from airflow_llm_provisioning.compat import AirflowException

    connection = find_connection(conn_id)
    if connection is None:
        return None
    connection = _without_driver(connection)
    _refuse_login(connection, conn_id)
    try:
        url = _sqlalchemy_url(connection.get_hook())
    except (AirflowException, AttributeError, ImportError, NotImplementedError) as error:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} ({connection.conn_type}) is no SQL database that SQLAlchemy knows: "
            f"{redacted_text(str(error))}"
        ) from error
    extra = connection.extra_dejson
    return with_settings(url, extra if isinstance(extra, Mapping) else {}, conn_id)


def _without_driver(connection: Any) -> Any:
    """Return a connection whose type may be that of SQLAlchemy's URL, `postgresql+psycopg2`, with Airflow's type."""
    dialect, plus, _ = str(connection.conn_type).partition("+")
    if not plus:
        return connection
    made = copy(connection)
    made.conn_type = {"postgresql": "postgres", "mariadb": "mysql"}.get(dialect, dialect)
    return made


def default_store_file() -> Path:
    """Return where the results are kept when no connection says otherwise."""
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "llm_provisioning" / "results.db"


def _refuse_login(connection: Any, conn_id: str) -> None:
    """Refuse a SQLite connection with a login: it would become a part of the path, and the results a folder's name."""
    if connection.conn_type == "sqlite" and (connection.login or connection.password):
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} is a SQLite file with a login or password, and SQLite has none. Leave "
            "both empty and give the path of the file as the host."
        )


def _sqlalchemy_url(hook: Any) -> str:
    try:
        url: str = hook.sqlalchemy_url.render_as_string(hide_password=False)
    except NotImplementedError:
        # SqliteHook has only the text (apache-airflow-providers-sqlite 4.3). An empty password, which Airflow's form
        # stores, stands in it before the path.
        url = hook.get_uri().replace("sqlite:///:@", "sqlite:///", 1)
    return url
