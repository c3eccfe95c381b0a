"""The verb `set_up_node_pool`: one agent pool, created without nodes, exactly as a target's node profile wants it.

Nothing is billed before a trial asks for a node. A pool that exists is reused when it is ours and the same, refused
when it is another owner's or different: rewriting a pool can reimage its nodes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from azure.mgmt.containerservice.models import (
    AgentPool,
    AgentPoolArtifactStreamingProfile,
    ManagedClusterAgentPoolProfileProperties,
)

from airflow_llm_provisioning.core.names import LABEL_CONTENT, fingerprint
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
from airflow_llm_provisioning.gateways.clouds.aks.tags import AZURE_TAGS, word
from airflow_llm_provisioning.gateways.clouds.aks.taints import as_aks_writes, untolerated
from airflow_llm_provisioning.gateways.clouds.tags import preparation_tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import (
    Look,
    Outcome,
    Step,
    Verb,
    done,
    keep_until,
    not_yet,
    raise_problems,
)


class SetUpNodePool(Verb):
    """The verb `set_up_node_pool`. Steps: look -> create -> wait for Succeeded -> read it back."""

    name = "set_up_node_pool"

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

    def begin(self, operation: Operation) -> Look:
        """Look for cluster and pool, refuse what is not ours or differs, write the intent."""
        cluster, wanted = operation.request["cluster"], dict(operation.request["pool"])
        name = pool_name(wanted["name"])
        location = str(self._pools.cluster(cluster).location)
        content = fingerprint({"cluster": cluster, "pool": wanted})
        tags = preparation_tags_of(operation, content)
        found = self._pools.get(cluster, name)
        reused = found is not None
        if found is not None:
            raise_problems(f"Pool {name!r} of cluster {cluster!r}", _mismatch(found, content), CloudError)
            reused = word(found.properties.provisioning_state) == "Succeeded"
        entry_id = self._account.entries.intend(KIND, f"{cluster}/{name}", tags, keep_until(operation))
        return done(
            "checked",
            pool=name,
            tags=tags,
            content=content,
            location=location,
            entry_id=entry_id,
            reused=reused,
            found=found is not None,
        )

    def steps(self, operation: Operation) -> Sequence[Step]:
        """Create the pool if it is not there, and wait for it."""
        what = f"Setting up agent pool {operation.progress['pool']!r} of cluster {operation.request['cluster']!r}"
        return (Step("pool", self._create, POOL_LIMIT_S, what, timed=False),)

    def clean_up(self, operation: Operation) -> Sequence[str]:
        """Delete the pool this operation created, and wait until it is gone."""
        progress, cluster = operation.progress, operation.request["cluster"]
        if progress.get("reused"):
            return []
        found = self._pools.get(cluster, progress["pool"])
        if found is None:
            self._account.entries.gone(KIND, name=f"{cluster}/{progress['pool']}")
            return []
        if _mismatch(found, progress["content"]):
            return []  # another owner's by now
        self._pools.delete(cluster, progress["pool"])
        return [f"agent pool {cluster}/{progress['pool']}"]

    def outcome(self, operation: Operation, seconds: float) -> Outcome:
        """Return the pool as AKS says it is; without nodes it costs nothing."""
        progress, reused = operation.progress, bool(operation.progress.get("reused"))
        made = {
            "pool": progress["pool"],
            "cluster": operation.request["cluster"],
            "streaming": progress["streaming"],
        }
        empty = progress["min_count"] == 0
        basis = "a pool without nodes costs nothing" if empty else "its standing nodes are billed by the hour"
        phases = {} if reused else {"pool": round(seconds, 3)}
        return Outcome(made, reused, 0.0 if empty else None, basis, 0.0 if reused else seconds, phases)

    def _create(self, operation: Operation) -> Look:
        progress, cluster = operation.progress, operation.request["cluster"]
        name = progress["pool"]
        found = self._pools.get(cluster, name)
        if found is None:
            pool = _describe(operation.request["pool"], AZURE_TAGS.spell(progress["tags"]))
            operation_id = self._pools.put(cluster, name, pool)
            return not_yet("pool asked for", operation_id=operation_id, asked=True, reused=False)
        state = word(found.properties.provisioning_state)
        if state in ("Failed", "Canceled") and progress.get("found") and not progress.get("asked"):
            # The trouble of an earlier day: the same write again mends the pool, or says why not.
            operation_id = self._pools.put(cluster, name, found)
            return not_yet("pool asked for again", operation_id=operation_id, asked=True)
        if state in ("Failed", "Canceled"):
            raise CloudError(
                self._pools.failure(cluster, name, state, progress.get("operation_id"), progress["location"])
            )
        if state != "Succeeded":
            return not_yet(f"pool: {state.lower()}")
        return self._created(operation, found)

    def _created(self, operation: Operation, found: Any) -> Look:
        progress, wanted = operation.progress, operation.request["pool"]
        if bool(wanted.get("streaming")) != streams(found.properties):
            raise CloudError(
                f"Agent pool {progress['pool']!r} was written, but AKS says streaming is "
                f"{'on' if streams(found.properties) else 'off'}: check that the subscription's API offers it."
            )
        self._account.entries.created(progress["entry_id"], f"{operation.request['cluster']}/{progress['pool']}")
        return done(streaming=streams(found.properties), min_count=int(found.properties.min_count or 0))


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
    if pool.get("zones"):
        # A node's zone label is `REGION-NUMBER`; the API takes the number (AKS: "Use availability zones").
        properties.availability_zones = [str(zone).rpartition("-")[2] for zone in pool["zones"]]
    if pool.get("streaming"):
        properties.artifact_streaming_profile = AgentPoolArtifactStreamingProfile(enabled=True)
    return AgentPool(properties=properties)


def _tolerations(pool: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [dict(item) for item in pool.get("tolerations") or ()]


def _mismatch(found: Any, content: str) -> list[str]:
    tags = found.properties.tags or {}
    if not AZURE_TAGS.is_ours(tags):
        return ["it exists and is not ours; choose another name"]
    if tags.get(AZURE_TAGS.key(LABEL_CONTENT)) != content:
        return ["it exists with other settings; delete it first (its nodes would be reimaged), or choose another name"]
    return []
