"""Connections outside a task: also those that are stored in Airflow's own database.

Airflow's SDK searches environment variables and the configured secrets backend only, unless a process says that it is
one of Airflow's server processes (`ensure_secrets_backend_loaded` in airflow.sdk.execution_time.supervisor, Airflow
3.3). Airflow's own commands say so (airflow.cli.commands.connection_command), and so does a command or a script that
opens a gateway of this package. A task never does: there the SDK asks Airflow's API.
"""

import os
import sys
from pathlib import Path
from typing import Any, Final

from airflow_llm_provisioning.core.secrets import redacted_text

_CONTEXT: Final = "_AIRFLOW_PROCESS_CONTEXT"
_TASK_RUNNER: Final = "airflow.sdk.execution_time.task_runner"


def see_stored_connections() -> None:
    """Let this process find connections that are stored in Airflow's database.

    Changes nothing in a task, a triggerer or another process of Airflow, or where Airflow has no database. No database
    is created.
    """
    if os.environ.get(_CONTEXT) or _in_task():
        return
    if _database() is not None:
        os.environ[_CONTEXT] = "server"


def find_connection(conn_id: str) -> Any | None:
    """Return an Airflow connection, or None if it is not defined in any place that was searched."""
    from airflow.sdk import BaseHook

    from airflow_llm_provisioning.compat import AirflowNotFoundException, AirflowRuntimeError

    see_stored_connections()
    try:
        return BaseHook.get_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError):
        return None


def searched_places(conn_id: str) -> str:
    """Return a sentence that says where a connection was searched, or an empty text in a task.

    A database that could not be read is named with what it said: there the connection is unknown, not absent.
    """
    name = f"AIRFLOW_CONN_{conn_id.upper()}"
    if os.environ.get(name):
        # Airflow only logs why, and goes on to the next place. The value is not shown: it holds the password.
        return f" The environment variable {name} is set, and Airflow cannot read it: write a connection's JSON or URI."
    if _in_task():
        return ""
    variable = f"the environment variable {name}"
    shown = _database()
    if shown is None:
        return f" Searched: {variable}. Airflow's database was not searched, because it does not exist (AIRFLOW_HOME)."
    failure = _failure(conn_id)
    if failure is not None:
        return f" Searched: {variable}. Airflow's database {shown} could not be searched: {failure}."
    return f" Searched: {variable} and Airflow's database {shown}."


def _in_task() -> bool:
    return getattr(sys.modules.get(_TASK_RUNNER), "SUPERVISOR_COMMS", None) is not None


def _database() -> str | None:
    """Return the address of Airflow's database without its password, None where there is none to read."""
    from airflow.configuration import conf
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(conf.get("database", "sql_alchemy_conn"))
    except ArgumentError:
        # A process that must not read it has a text in its place.
        return None
    if url.drivername == "airflow-db-not-allowed":
        return None
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return None
    return redacted_text(url.render_as_string(hide_password=True))


def _failure(conn_id: str) -> str | None:
    """Return why Airflow's database cannot be asked for a connection. The SDK logs it as debugging only."""
    from airflow.secrets.metastore import MetastoreBackend
    from sqlalchemy.exc import SQLAlchemyError

    try:
        MetastoreBackend().get_connection(conn_id)
    except (SQLAlchemyError, RuntimeError, OSError) as error:
        return str(getattr(error, "orig", None) or error).strip().split("\n", 1)[0].rstrip(".")
    return None
