"""AKS behind an `azure` connection."""

import copy
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.connections.clock import utc_now
from airflow_llm_provisioning.connections.typed import typed_connection
from airflow_llm_provisioning.exceptions import ConnectionConfigError, MissingExtraError
from airflow_llm_provisioning.gateways.ledger import ReadOnlyLedger

if TYPE_CHECKING:
    from airflow.providers.microsoft.azure.hooks.base_azure import AzureBaseHook

    from airflow_llm_provisioning.gateways.clouds.aks import AksCloud
    from airflow_llm_provisioning.gateways.ledger import Ledger


def aks_cloud(
    reference: Mapping[str, Any], *, ledger: "Ledger | None" = None, clock: Callable[[], datetime] | None = None
) -> "AksCloud":
    """Return the gateway of an `azure` connection: docs/aks.md says which fields it reads.

    `reference` (JSON): `conn_id`; `subscription_id` (the extra `subscriptionId`), and `registry`, `resource_group` and
    `registry_resource_group` override the extras. The official hook makes the azure-identity object; its `get_conn`
    cannot build today's clients.
    """
    try:
        from airflow.providers.microsoft.azure.hooks.base_azure import AzureBaseHook

        from airflow_llm_provisioning.gateways.clouds.aks import AksCloud
    except ImportError as error:
        raise MissingExtraError(
            f"AKS needs packages that are not installed ({error.name}): "
            "pip install 'airflow-llm-provisioning[microsoft-azure]'."
        ) from error
    conn_id = str(reference.get("conn_id") or "azure_default")
    connection = _azure_connection(conn_id)
    extra: dict[str, Any] = connection.extra_dejson
    endpoints = {str(name): str(url) for name, url in dict(extra.get("endpoints") or {}).items()}

    def named(name: str) -> str | None:
        return reference.get(name) or extra.get(name) or None

    subscription_id = reference.get("subscription_id") or extra.get("subscriptionId")
    found = {"subscriptionId": subscription_id, "resource_group": named("resource_group")}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} lacks the extra {' and '.join(missing)}: add it (docs/aks.md)."
        )
    return AksCloud(
        _azure_credential(AzureBaseHook, connection, endpoints),
        subscription_id=str(subscription_id),
        resource_group=str(named("resource_group")),
        registry=named("registry"),
        registry_resource_group=named("registry_resource_group"),
        endpoints=endpoints,
        tenant_id=extra.get("tenantId"),
        cloud_environment=extra.get("cloud_environment"),
        ledger=ledger or ReadOnlyLedger(),
        clock=clock or utc_now,
    )


def _azure_connection(conn_id: str) -> Any:
    connection = typed_connection(conn_id, "azure", "docs/aks.md")
    if connection.extra_dejson.get("key_path") or connection.extra_dejson.get("key_json"):
        raise ConnectionConfigError(
            f"Airflow connection {conn_id!r} has a key file, which azure-identity does not read: "
            "give login, password and tenantId, or a managed or workload identity (docs/aks.md)."
        )
    return connection


def _azure_credential(hook: "type[AzureBaseHook]", connection: Any, endpoints: Mapping[str, str]) -> Any:
    """Return the azure-identity object that the official hook makes of a connection.

    A stand-in on plain HTTP gets a made-up token: real credentials never leave for it.
    """
    from airflow_llm_provisioning.gateways.clouds.aks.arm import LocalCredential

    if any(url.startswith("http://") for url in endpoints.values()):
        return LocalCredential()
    # Without this switch the hook makes objects of the old kind: they call Entra when made and give no tokens.
    asking = copy.copy(connection)
    asking.extra = json.dumps({**connection.extra_dejson, "use_azure_identity_object": True})
    return hook(conn_id=str(connection.conn_id)).get_credential(conn=asking)
