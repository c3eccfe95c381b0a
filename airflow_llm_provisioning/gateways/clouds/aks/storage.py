"""Where the storage account of a bucket is, as Resource Manager says: beside the cluster, or in another region."""

from collections.abc import Mapping
from typing import Any, Final

from airflow_llm_provisioning.gateways.clouds.aks.arm import AzureAccount, azure_errors

_SOURCE: Final = "Microsoft.Storage storageAccounts.list"


def bucket_region(account: AzureAccount, facts: Mapping[str, Any]) -> tuple[bool | None, str, str]:
    """Return whether the account of an `az://` address is in the cluster's region: holds, detail, source.

    `facts`: {weights_source, weights_account, cluster}. Accounts of other subscriptions are not listed: unknown. A
    storage account has one primary location, also where it is replicated to a second region (Azure, "Storage
    redundancy").
    """
    address, name = str(facts.get("weights_source") or ""), str(facts.get("weights_account") or "")
    if not address.lower().startswith("az://"):
        return None, "The trial names no bucket of Azure Blob Storage.", _SOURCE
    if not name:
        return None, f"{address} names a container, and its storage account is not known.", _SOURCE
    with azure_errors(f"Reading where storage account {name} is"):
        listed = account.storage.storage_accounts.list()
        found = next((item for item in listed if str(item.name).lower() == name.lower()), None)
    if found is None:
        return None, f"Subscription {account.subscription_id} has no storage account {name}.", _SOURCE
    cluster = str(facts.get("cluster") or "")
    with azure_errors(f"Reading where AKS cluster {cluster} is"):
        where = account.containers.managed_clusters.get(account.resource_group, cluster).location
    there, here = _region(found.primary_location or found.location), _region(where)
    return there == here, f"Storage account {name} is in {there}, the cluster is in {here}.", _SOURCE


def _region(name: Any) -> str:
    """Return a location as Resource Manager names it: some services say `East US` for `eastus`."""
    return str(name or "").replace(" ", "").lower()
