"""AKS behind an `azure` connection: which fields are read, docs/aks.md describes them."""

import copy
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.exceptions import ConnectionConfigError
from airflow_llm_provisioning.gateways.clouds.aks.arm import LocalCredential
from airflow_llm_provisioning.gateways.clouds.aks.cloud import AksCloud
from airflow_llm_provisioning.gateways.clouds.descriptor import ConnectionReader, endpoints_of
from airflow_llm_provisioning.gateways.store.ledger import Ledger

DOCS: Final = "docs/aks.md"


def open_aks(
    reference: Mapping[str, Any], *, connections: ConnectionReader, ledger: Ledger, clock: Callable[[], datetime]
) -> AksCloud:
    """Return the gateway of an `azure` connection.

    `reference` (JSON): `conn_id`; `subscription_id` (the extra `subscriptionId`), and `registry`, `resource_group` and
    `registry_resource_group` override the extras. The official hook makes the azure-identity object; its `get_conn`
    cannot build today's clients.
    """
    hook = connections.hook_class("airflow.providers.microsoft.azure.hooks.base_azure:AzureBaseHook")
    conn_id = str(reference.get("conn_id") or "azure_default")
    connection = _azure_connection(connections, conn_id)
    extra: dict[str, Any] = connection.extra_dejson
    endpoints = {str(name): str(url) for name, url in endpoints_of(extra, conn_id, DOCS).items()}

    def named(name: str) -> str | None:
        return reference.get(name) or extra.get(name) or None

    subscription_id = reference.get("subscription_id") or extra.get("subscriptionId")
    found = {"subscriptionId": subscription_id, "resource_group": named("resource_group")}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} lacks the extra {' and '.join(missing)}: add it ({DOCS})."
        )
    return AksCloud(
        _azure_credential(hook, connection, endpoints),
        subscription_id=str(subscription_id),
        resource_group=str(named("resource_group")),
        registry=named("registry"),
        registry_resource_group=named("registry_resource_group"),
        endpoints=endpoints,
        tenant_id=extra.get("tenantId"),
        cloud_environment=extra.get("cloud_environment"),
        ledger=ledger,
        clock=clock,
    )


def _azure_connection(connections: ConnectionReader, conn_id: str) -> Any:
    connection = connections.typed(conn_id, "azure", DOCS)
    if connection.extra_dejson.get("key_path") or connection.extra_dejson.get("key_json"):
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} has a key file, which azure-identity does not read: "
            f"give login, password and tenantId, or a managed or workload identity ({DOCS})."
        )
    return connection


def _azure_credential(hook: Any, connection: Any, endpoints: Mapping[str, str]) -> Any:
    """Return the azure-identity object that the official hook makes of a connection.

    A stand-in on plain HTTP gets a made-up token: real credentials never leave for it.
    """
    if any(url.startswith("http://") for url in endpoints.values()):
        return LocalCredential()
    # Without this switch the hook makes objects of the old kind: they call Entra when made and give no tokens.
    switched = copy.copy(connection)
    switched.extra = json.dumps({**connection.extra_dejson, "use_azure_identity_object": True})
    return hook(conn_id=str(connection.conn_id)).get_credential(conn=switched)
