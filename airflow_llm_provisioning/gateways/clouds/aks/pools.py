"""Clusters and agent pools as short calls to AKS, and which pools can stream.

Why it exists: setting pools up and switching streaming on write the same objects, and must agree on what may stream. It
knows no operation, ledger or request; nothing here waits.
"""

import re
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core import MatchConditions
from azure.core.rest import HttpRequest

from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.aks.arm import AzureAccount, azure_errors, is_absent
from airflow_llm_provisioning.gateways.clouds.aks.tags import word

KIND: Final = "agent_pool"
# An empty pool is there in 72 s (azure-cli, recorded 2023-06-29). One that its owner upgrades meanwhile is waited for:
# the longest of 135 recorded pool operations, a reimage, took 6295 s. Waiting for an empty pool costs nothing.
POOL_LIMIT_S: Final = 7200

# Artifact Streaming: Ubuntu 20.04 and later; Azure Linux was broken in 2025 (Azure/AKS#4948,
# karpenter-provider-azure#1600), so it is refused until it has been measured. Not Windows, Flatcar, ARM64.
STREAMING_OS: Final = ("Ubuntu", "Ubuntu2204", "Ubuntu2404")
# Sizes with a `p` among the letters after the digits have ARM processors (Azure VM naming conventions).
_ARM_SIZE: Final = re.compile(r"^Standard_[A-Z]+\d+(-\d+)?[a-z]*p[a-z]*(_|$)")
# Of an operation's address, where this process was not told it.
_OPERATION_API: Final = "2025-03-01"
_NAME: Final = re.compile(r"[a-z][a-z0-9]{0,11}")


def pool_name(wanted: str) -> str:
    """Return a name AKS accepts for a Linux pool: 1 to 12 lower-case letters and digits, a letter first."""
    if _NAME.fullmatch(wanted):
        return wanted
    letters = re.sub(r"[^a-z0-9]", "", wanted.lower()).lstrip("0123456789") or "pool"
    return letters[:7] + fingerprint({"name": wanted}, 5)


def streaming_problems(properties: Any, name: str) -> list[str]:
    """Return why a pool, as AKS describes it, cannot stream."""
    problems = []
    sku = word(properties.os_sku, "Ubuntu")
    if word(properties.os_type, "Linux") != "Linux" or sku not in STREAMING_OS:
        problems.append(f"pool {name!r} runs {sku}, and streaming needs one of {', '.join(STREAMING_OS)}")
    if properties.vm_size and _ARM_SIZE.match(str(properties.vm_size)):
        problems.append(f"pool {name!r} has ARM machines ({properties.vm_size}), and streaming needs amd64")
    return problems


def streams(properties: Any) -> bool:
    """Return whether a pool is switched to streaming."""
    profile = properties.artifact_streaming_profile
    return bool(profile is not None and profile.enabled)


class Pools:
    """The agent pools of the account's clusters: short calls, none waits."""

    def __init__(self, account: AzureAccount) -> None:
        self._account = account
        self._signed: dict[str, str] = {}

    def cluster(self, cluster: str) -> Any:
        """Return a cluster as AKS describes it."""
        group = self._account.resource_group
        try:
            with azure_errors(f"Reading AKS cluster {cluster} in resource group {group}"):
                return self._account.containers.managed_clusters.get(group, cluster)
        except CloudError as error:
            if is_absent(error):
                raise CloudError(
                    f"There is no AKS cluster {cluster!r} in resource group {group!r}: "
                    "create it, or name the right one in the target and the extra `resource_group`."
                ) from error
            raise

    def get(self, cluster: str, name: str) -> Any | None:
        """Return a pool, or None."""
        try:
            with azure_errors(f"Reading agent pool {name} of cluster {cluster}"):
                return self._account.containers.agent_pools.get(self._account.resource_group, cluster, name)
        except CloudError as error:
            if is_absent(error):
                return None
            raise

    def list(self, cluster: str) -> list[Any]:
        """Return all pools of a cluster."""
        with azure_errors(f"Listing the agent pools of cluster {cluster}"):
            return list(self._account.containers.agent_pools.list(self._account.resource_group, cluster))

    def put(self, cluster: str, name: str, pool: Any) -> str | None:
        """Create or update a pool; return the name of the operation that Azure began, None where it named none.

        A pool that was read is written only if it was not changed since (by an autoscaler, for example).
        """
        etag = pool.properties.e_tag
        unchanged = {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}
        seen: list[str] = []

        def remember(response: Any) -> None:
            seen.append(response.http_response.headers.get("Azure-AsyncOperation") or "")

        with azure_errors(f"Writing agent pool {name} of cluster {cluster}"):
            self._account.containers.agent_pools.begin_create_or_update(
                self._account.resource_group,
                cluster,
                name,
                pool,
                polling=False,  # the SDK's poller is a sleeping thread, and dies with the process
                raw_response_hook=remember,
                **unchanged,
            )
        for url in filter(None, seen):
            # The address carries a signature (t, c, s, h; since 2025), which is stored nowhere: this process knows it.
            operation_id = url.partition("?")[0].rsplit("/", 1)[-1]
            self._signed[operation_id] = urlsplit(url)._replace(scheme="", netloc="").geturl()
            return operation_id
        return None

    def delete(self, cluster: str, name: str) -> None:
        """Ask AKS to delete a pool; gone already, or on its way, is no error."""
        pool = self.get(cluster, name)
        if pool is None or word(pool.properties.provisioning_state) == "Deleting":
            return
        with azure_errors(f"Deleting agent pool {name} of cluster {cluster}"):
            self._account.containers.agent_pools.begin_delete(
                self._account.resource_group, cluster, name, polling=False
            )

    def failure(self, cluster: str, name: str, state: str, operation_id: str | None, location: str | None) -> str:
        """Return why writing a pool ended badly: AKS's own words where they can be had."""
        detail = self._operation_error(operation_id, location)
        if detail is None:
            pool = self.get(cluster, name)
            status = pool.properties.status if pool is not None else None
            error = status.provisioning_error if status is not None else None
            detail = f"{error.code}: {error.message}" if error is not None else "AKS gives no reason"
        return f"Writing agent pool {name!r} of cluster {cluster!r} ended {state}: {detail.rstrip('.')}."

    def _operation_error(self, operation_id: str | None, location: str | None) -> str | None:
        if operation_id is None or location is None:
            return None
        unsigned = (
            f"/subscriptions/{self._account.subscription_id}/providers/Microsoft.ContainerService/locations/{location}"
            f"/operations/{operation_id}?api-version={_OPERATION_API}"
        )
        path = self._signed.get(operation_id, unsigned)
        with azure_errors("Reading the operation's error"):
            response = self._account.containers.send_request(HttpRequest("GET", "{endpoint}" + path))
        if response.status_code != 200:
            return None
        found = response.json()
        # While it goes on, and even when it has Succeeded, `error` may hold a trouble that passed.
        error = found.get("error") if found.get("status") in ("Failed", "Canceled") else None
        return f"{error.get('code', '?')}: {error.get('message', '')}" if error else None
