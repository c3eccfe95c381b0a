"""A connection of a given type, or one clear sentence, and the official hooks. Knows no cloud's fields."""

import json
from copy import copy
from importlib import import_module
from typing import Any

from airflow_llm_provisioning.connections.extra import from_json, given_fields
from airflow_llm_provisioning.connections.stored import find_connection, searched_places
from airflow_llm_provisioning.exceptions import ConnectionConfigError


class AirflowConnections:
    """Airflow's connections, as the clouds' openers ask for them (`gateways.clouds.descriptor.ConnectionReader`)."""

    def typed(self, conn_id: str, conn_type: str, page: str) -> Any:
        """Return an Airflow connection of `conn_type`; `page` is where its fields are described (docs/eks.md).

        The cloud's own hook is not asked: it may only warn of a missing connection, and then use the credentials that
        the machine has (AwsBaseHook, apache-airflow-providers-amazon 9.39).
        """
        connection = find_connection(conn_id)
        if connection is None:
            raise ConnectionConfigError(
                f"Airflow connection {conn_id!r} is not defined: create it (type {conn_type}, {page}) or name another."
                f"{searched_places(conn_id)}"
            )
        if connection.conn_type != conn_type:
            raise ConnectionConfigError(
                f"Airflow connection {conn_id!r} has the type {connection.conn_type!r}, not {conn_type}."
            )
        return _plain(connection)

    def hook_class(self, path: str) -> Any:
        """Return the hook class `package.module:Class` of a provider. Raises ImportError where it is not installed."""
        module, _, name = path.partition(":")
        return getattr(import_module(module), name)


def _plain(connection: Any) -> Any:
    """Return a connection whose extra has its fields as every way of making it means them (`connections.extra`)."""
    extra = connection.extra_dejson
    if not isinstance(extra, dict):
        return connection
    plain = {name: from_json(value) for name, value in given_fields(extra, str(connection.conn_type)).items()}
    if plain == extra:
        return connection
    made = copy(connection)
    made.extra = json.dumps(plain)
    return made
