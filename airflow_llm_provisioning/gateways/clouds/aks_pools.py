"""Agent pools: how one is described to AKS, created, switched to streaming, deleted; and the verb `set_up_node_pool`.

Why beside the others: streaming needs pools too, and both must follow the same rule: switching streaming on reimages
the pool's nodes (AKS docs, node-disruption-policy), so it is done to a new pool or to one without nodes only. The pool
is created without nodes: nothing is billed before a trial asks for one.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from azure.core import MatchConditions
from azure.core.rest import HttpRequest
from azure.mgmt.containerservice.models import (
    AgentPool,
    AgentPoolArtifactStreamingProfile,
    ManagedClusterAgentPoolProfileProperties,
)

from airflow_llm_provisioning.core.manifest import GPU_TOLERATION
from airflow_llm_provisioning.core.names import LABEL_CONTENT, fingerprint, preparation_tags
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.aks_arm import AzureAccount, asking, is_absent
from airflow_llm_provisioning.gateways.clouds.aks_steps import (
    azure_tags,
    began_at,
    is_ours,
    raise_problems,
    require_time_left,
    within,
    word,
)

KIND: Final = "agent_pool"
# An empty pool is there in a few minutes; with nodes AKS itself waits up to 15 (max-node-provision-time).
POOL_LIMIT_S: Final = 1800
UNDO_LIMIT_S: Final = 1800

# Artifact Streaming: Ubuntu 20.04 and later; Azure Linux was broken in 2025 (Azure/AKS#4948,
# karpenter-provider-azure#1600), so it is refused until somebody has measured it. Not Windows, Flatcar, ARM64.
STREAMING_OS: Final = ("Ubuntu", "Ubuntu2204", "Ubuntu2404")
# Sizes with a `p` among the letters after the digits have ARM processors (Azure VM naming conventions).
_ARM_SIZE: Final = re.compile(r"^Standard_[A-Z]+\d+(-\d+)?[a-z]*p[a-z]*(_|$)")
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

    def cluster(self, cluster: str) -> Any:
        """Return a cluster as AKS describes it."""
        group = self._account.resource_group
        try:
            with asking(f"Reading AKS cluster {cluster} in resource group {group}"):
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
            with asking(f"Reading agent pool {name} of cluster {cluster}"):
                return self._account.containers.agent_pools.get(self._account.resource_group, cluster, name)
        except CloudError as error:
            if is_absent(error):
                return None
            raise

    def list(self, cluster: str) -> list[Any]:
        """Return all pools of a cluster."""
        with asking(f"Listing the agent pools of cluster {cluster}"):
            return list(self._account.containers.agent_pools.list(self._account.resource_group, cluster))

    def put(self, cluster: str, name: str, pool: Any) -> str | None:
        """Create or update a pool; return the name of the operation that Azure began, None where it named none.

        A pool that was read is written only if nobody (an autoscaler, say) changed it since.
        """
        etag = pool.properties.e_tag
        unchanged = {"etag": etag, "match_condition": MatchConditions.IfNotModified} if etag else {}
        seen: list[str] = []

        def remember(response: Any) -> None:
            seen.append(response.http_response.headers.get("Azure-AsyncOperation") or "")

        with asking(f"Writing agent pool {name} of cluster {cluster}"):
            self._account.containers.agent_pools.begin_create_or_update(
                self._account.resource_group,
                cluster,
                name,
                pool,
                polling=False,  # the SDK's poller is a sleeping thread, and dies with the process
                raw_response_hook=remember,
                **unchanged,
            )
        # The address may carry a signature; only the operation's name is kept, its address is made again.
        return next((url.partition("?")[0].rsplit("/", 1)[-1] for url in seen if url), None)

    def delete(self, cluster: str, name: str) -> None:
        """Ask AKS to delete a pool; gone already, or on its way, is no error."""
        pool = self.get(cluster, name)
        if pool is None or word(pool.properties.provisioning_state) == "Deleting":
            return
        with asking(f"Deleting agent pool {name} of cluster {cluster}"):
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
        path = (
            f"/subscriptions/{self._account.subscription_id}/providers/Microsoft.ContainerService/locations/{location}"
            f"/operations/{operation_id}?api-version=2017-08-31"
        )
        with asking("Reading the operation's error"):
            response = self._account.containers.send_request(HttpRequest("GET", "{endpoint}" + path))
        if response.status_code != 200:
            return None
        error = response.json().get("error") or {}
        return f"{error.get('code', '?')}: {error.get('message', '')}" if error else None


class SetUpNodePool:
    """The verb `set_up_node_pool`. Steps: look -> create -> wait for Succeeded -> read it back."""

    def __init__(self, account: AzureAccount) -> None:
        self._account = account
        self._pools = Pools(account)

    def problems(self, request: Mapping[str, Any]) -> Sequence[str]:
        """Return what is wrong with the request itself."""
        pool = request.get("pool") or {}
        missing = [key for key in ("name", "machine_type") if not pool.get(key)]
        problems = [f"`pool.{key}` is missing" for key in missing]
        if not request.get("cluster"):
            problems.append("`cluster` is missing")
        if missing:
            return problems
        most = int(pool.get("max_nodes") or 0)
        if not 0 <= int(pool.get("min_nodes") or 0) <= most or not 1 <= most <= 1000:
            problems.append(f"its limits {pool.get('min_nodes')} to {pool.get('max_nodes')} nodes are none")
        problems += _untolerated(pool)
        if pool.get("streaming"):
            problems += streaming_problems(_describe(pool, {}).properties, pool["name"])
        return problems

    def check(self, operation: Operation) -> Operation:
        """Look for cluster and pool, refuse what is not ours or differs, write the intent."""
        cluster, wanted = operation.request["cluster"], dict(operation.request["pool"])
        name = pool_name(wanted["name"])
        location = str(self._pools.cluster(cluster).location)
        content = fingerprint({"cluster": cluster, "pool": wanted})
        expires_at = began_at(operation) + timedelta(days=float(operation.request.get("keep_days", 30)))
        tags = preparation_tags(content, expires_at, operation.request.get("target"))
        found = self._pools.get(cluster, name)
        reused = found is not None
        if found is not None:
            raise_problems(f"Pool {name!r} of cluster {cluster!r}", _mismatch(found, content), CloudError)
            reused = word(found.properties.provisioning_state) == "Succeeded"
        entry_id = self._account.ledger.intend(KIND, f"{cluster}/{name}", self._account.place, tags, expires_at)
        return within(
            operation,
            self._account.clock(),
            "checked",
            POOL_LIMIT_S,
            pool=name,
            tags=tags,
            content=content,
            location=location,
            entry_id=entry_id,
            reused=reused,
        )

    def step(self, operation: Operation) -> Operation:
        """Create the pool if it is not there, else look how far it is."""
        progress, cluster = operation.progress, operation.request["cluster"]
        name = progress["pool"]
        require_time_left(operation, self._account.clock(), f"Setting up agent pool {name!r} of cluster {cluster!r}")
        found = self._pools.get(cluster, name)
        if found is None:
            pool = _describe(operation.request["pool"], azure_tags(progress["tags"]))
            operation_id = self._pools.put(cluster, name, pool)
            return operation.at("pool asked for", operation_id=operation_id, reused=False)
        state = word(found.properties.provisioning_state)
        if state in ("Failed", "Canceled"):
            raise CloudError(
                self._pools.failure(cluster, name, state, progress.get("operation_id"), progress["location"])
            )
        if state != "Succeeded":
            return operation.at(f"pool: {state.lower()}")
        return self._done(operation, found)

    def undo(self, operation: Operation) -> bool:
        """Delete the pool this operation created, and wait until it is gone."""
        progress, cluster = operation.progress, operation.request["cluster"]
        if "pool" not in progress or progress.get("reused"):
            return True
        found = self._pools.get(cluster, progress["pool"])
        if found is None:
            self._account.ledger.gone(progress["entry_id"])
            return True
        if _mismatch(found, progress["content"]):
            return True  # somebody else's by now
        self._pools.delete(cluster, progress["pool"])
        return False

    def _done(self, operation: Operation, found: Any) -> Operation:
        progress, wanted = operation.progress, operation.request["pool"]
        if bool(wanted.get("streaming")) != streams(found.properties):
            raise CloudError(
                f"Agent pool {progress['pool']!r} was written, but AKS says streaming is "
                f"{'on' if streams(found.properties) else 'off'}: check that the subscription's API offers it."
            )
        self._account.ledger.created(progress["entry_id"], f"{operation.request['cluster']}/{progress['pool']}")
        reused = bool(progress.get("reused"))
        seconds = 0.0 if reused else (self._account.clock() - began_at(operation)).total_seconds()
        empty = not int(found.properties.min_count or 0)
        return operation.succeeded(
            pool=progress["pool"],
            cluster=operation.request["cluster"],
            streaming=streams(found.properties),
            reused=reused,
            seconds=round(seconds, 3),
            price_usd=0.0 if empty else None,
            price_basis="a pool without nodes costs nothing" if empty else "its standing nodes are billed by the hour",
            phases={} if reused else {"pool": round(seconds, 3)},
        )


def _describe(pool: Mapping[str, Any], tags: Mapping[str, str]) -> Any:
    """Return the pool as AKS is told it. GPU drivers: AKS's default (installed); the device plugin is the cluster's."""
    fewest = int(pool.get("min_nodes") or 0)
    properties = ManagedClusterAgentPoolProfileProperties(
        vm_size=pool["machine_type"],
        count=fewest,
        min_count=fewest,
        max_count=int(pool["max_nodes"]),
        enable_auto_scaling=True,
        mode="User",  # a system pool cannot be empty
        os_type="Linux",
        os_sku=pool.get("os_sku") or "Ubuntu2204",
        type="VirtualMachineScaleSets",
        tags=dict(tags),
        node_labels=dict(pool.get("labels") or {}),
        node_taints=[_taint(taint) for taint in pool.get("taints") or ()],
    )
    if pool.get("disk_gib"):
        properties.os_disk_size_gb = int(pool["disk_gib"])
    if pool.get("streaming"):
        properties.artifact_streaming_profile = AgentPoolArtifactStreamingProfile(enabled=True)
    return AgentPool(properties=properties)


def _taint(taint: Mapping[str, str] | str) -> str:
    if isinstance(taint, str):
        return taint
    return f"{taint['key']}={taint.get('value') or ''}:{taint['effect']}"


def _untolerated(pool: Mapping[str, Any]) -> list[str]:
    """Return the taints that the worker would not tolerate: it would wait for ever beside a node it cannot use.

    AKS's own example taints GPU pools with sku=gpu; the origin's manifests tolerate nvidia.com/gpu.
    """
    tolerated = {GPU_TOLERATION["key"], *(item.get("key", "") for item in pool.get("tolerations") or ())}
    taints = [_taint(taint) for taint in pool.get("taints") or ()]
    return [
        f"its taint {taint!r} is not tolerated by the worker, which tolerates {', '.join(sorted(tolerated))}"
        for taint in taints
        if taint.partition("=")[0].partition(":")[0] not in tolerated and not taint.endswith(":PreferNoSchedule")
    ]


def _mismatch(found: Any, content: str) -> list[str]:
    tags = found.properties.tags or {}
    if not is_ours(tags):
        return ["it exists and is not ours; choose another name"]
    if tags.get(next(iter(azure_tags({LABEL_CONTENT: ""})))) != content:
        return ["it exists with other settings; delete it first (its nodes would be reimaged), or choose another name"]
    return []
