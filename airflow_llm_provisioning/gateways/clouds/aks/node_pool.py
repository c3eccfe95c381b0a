"""The verb `set_up_node_pool`: one agent pool, created without nodes, exactly as a target's node profile wants it.

Nothing is billed before a trial asks for a node. A pool that exists is reused when it is ours and the same, refused
when it is somebody else's or different: rewriting a pool can reimage its nodes.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from azure.mgmt.containerservice.models import (
    AgentPool,
    AgentPoolArtifactStreamingProfile,
    ManagedClusterAgentPoolProfileProperties,
)

from airflow_llm_provisioning.core.names import LABEL_CONTENT, fingerprint, preparation_tags
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.aks.arm import AzureAccount
from airflow_llm_provisioning.gateways.clouds.aks.pools import (
    KIND,
    POOL_LIMIT_S,
    Pools,
    pool_name,
    streaming_problems,
    streams,
)
from airflow_llm_provisioning.gateways.clouds.aks.steps import (
    azure_tags,
    began_at,
    is_ours,
    raise_problems,
    require_time_left,
    within,
    word,
)
from airflow_llm_provisioning.gateways.clouds.aks.taints import as_aks_writes, untolerated


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
        problems += untolerated(map(as_aks_writes, pool.get("taints") or ()), pool["machine_type"], _tolerations(pool))
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
        node_taints=[as_aks_writes(taint) for taint in pool.get("taints") or ()],
    )
    if pool.get("disk_gib"):
        properties.os_disk_size_gb = int(pool["disk_gib"])
    if pool.get("streaming"):
        properties.artifact_streaming_profile = AgentPoolArtifactStreamingProfile(enabled=True)
    return AgentPool(properties=properties)


def _tolerations(pool: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [dict(item) for item in pool.get("tolerations") or ()]


def _mismatch(found: Any, content: str) -> list[str]:
    tags = found.properties.tags or {}
    if not is_ours(tags):
        return ["it exists and is not ours; choose another name"]
    if tags.get(next(iter(azure_tags({LABEL_CONTENT: ""})))) != content:
        return ["it exists with other settings; delete it first (its nodes would be reimaged), or choose another name"]
    return []
