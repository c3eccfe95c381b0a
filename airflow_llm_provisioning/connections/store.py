"""The results store behind an Airflow connection. Never Airflow's own database."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.exceptions import ConnectionConfigError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store import ResultsStore

DEFAULT_STORE: Final = "llm_provisioning_results"


def open_store(conn_id: str = DEFAULT_STORE) -> "ResultsStore":
    """Return the results store behind an Airflow connection; the default one is a SQLite file in AIRFLOW_HOME."""
    from airflow_llm_provisioning.gateways.store import ResultsStore

    return ResultsStore.open(store_url(conn_id))


def store_url(conn_id: str = DEFAULT_STORE) -> str:
    """Return the SQLAlchemy URL of a results store. It may hold a password: never log it."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException, AirflowRuntimeError

    try:
        connection = BaseHook.get_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        if conn_id != DEFAULT_STORE:
            raise ConnectionConfigError(
                f"The results store's Airflow connection {conn_id!r} is not defined: create it (sqlite, postgres, "
                f"mysql, ...) or use {DEFAULT_STORE!r}, which is a file by default."
            ) from error
        return f"sqlite:///{default_store_file()}"
    try:
        url = _sqlalchemy_url(connection.get_hook())  # type: ignore[no-untyped-call]
    except (AirflowException, AttributeError, ImportError, NotImplementedError) as error:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} ({connection.conn_type}) is no SQL database that SQLAlchemy knows: {error}"
        ) from error
    return url


def default_store_file() -> Path:
    """Return where the results are kept when no connection says otherwise."""
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "llm_provisioning" / "results.db"


def _sqlalchemy_url(hook: Any) -> str:
    try:
        url: str = hook.sqlalchemy_url.render_as_string(hide_password=False)
    except NotImplementedError:
        # SqliteHook has only the text (apache-airflow-providers-sqlite 4.3).
        url = hook.get_uri()
    return url
