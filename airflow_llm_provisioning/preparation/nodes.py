"""How a target's nodes are set up: what its node autoscaler reads is applied, what is the cloud's is started."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.names import LABEL_MANAGED_BY, OWNER, fingerprint
from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.core.target import NodeProfile, Target
from airflow_llm_provisioning.exceptions import ClusterError, ConfigurationError
from airflow_llm_provisioning.gateways.private_files import child_of
from airflow_llm_provisioning.preparation.node_files import write_node_files
from airflow_llm_provisioning.preparation.operations import save_preparation, succeeded

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

ROLL_OUT_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class NodesSetUp:
    """What was applied, and what is left for the cloud: `pools` are requests of its `set_up_node_pool`."""

    result: dict[str, Any]
    ended_at: str
    cloud: dict[str, Any]
    pools: list[dict[str, Any]]


async def set_up_nodes(
    target_data: Mapping[str, Any],
    prepared: Mapping[str, Any],
    files_dir: str | None = None,
    results_conn_id: str | None = None,
) -> NodesSetUp:
    """Apply what the target's node autoscaler reads, and restart what reads it only at start; with `files_dir`, write
    it there instead, for those who deploy it themselves. What it creates is written into the ledger of the results
    store before.
    """
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
    from airflow_llm_provisioning.gateways.autoscalers.base import NodeSetup

    target = Target.from_dict(target_data)
    profile = with_prepared(target.nodes, prepared)
    autoscaler = AUTOSCALERS[profile.autoscaler]
    problems = autoscaler.check(profile)
    if problems:
        raise ConfigurationError(
            f"Target {target.name!r} cannot get its nodes from {autoscaler.name}: {' '.join(problems)}"
        )
    setup = autoscaler.setup(profile)
    written = write_node_files(setup, child_of(Path(files_dir), target.name, "Target")) if files_dir else []
    if files_dir:
        setup = NodeSetup()
    async with open_cluster(target.cluster_reference()) as cluster:
        started_at = cluster.clock()
        if results_conn_id is not None:
            intend_nodes(target, setup.manifests, started_at, results_conn_id)
        for manifest in setup.manifests:
            await cluster.apply(manifest, force=True)
        for namespace, deployment in setup.restarts:
            await restart(cluster, namespace, deployment)
        for namespace, deployment in setup.restarts:
            await rolled_out(cluster, namespace, deployment)
        ended_at = cluster.clock()
    result = {
        "applied": [f"{item['kind']}/{item['metadata']['name']}" for item in setup.manifests],
        "restarted": ["/".join(item) for item in setup.restarts],
        "written": written,
        "snapshot_id": profile.snapshot_id,
        "seconds": round((ended_at - started_at).total_seconds(), 3),
        "price_usd": 0.0,
        "price_basis": "files only" if files_dir else "Kubernetes objects only",
    }
    cloud = target.cloud_reference() or {"cloud": target.cloud, "cluster": target.cluster_reference()}
    named = target.cluster_name or target.cluster
    pools = [{"cluster": named, "pool": dict(pool), "target": target.name} for pool in setup.cloud_pools]
    return NodesSetUp(result, ended_at.isoformat(), cloud, pools)


def intend_nodes(target: Target, manifests: Sequence[Mapping[str, Any]], at: datetime, results_conn_id: str) -> None:
    """Write the intents of what carries our label: pools and classes, not the configuration of another's controller."""
    from airflow_llm_provisioning.connections import open_store

    ours = [item for item in manifests if (item["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) == OWNER]
    if not ours:
        return
    store = open_store(results_conn_id)
    try:
        for item in ours:
            metadata, until = item["metadata"], at + timedelta(days=KEEP_DAYS)
            place = f"cluster:{target.cluster}"
            store.ledger.intend(item["kind"].lower(), metadata["name"], place, metadata["labels"], until)
    finally:
        store.close()


def with_prepared(profile: NodeProfile, prepared: Mapping[str, Any]) -> NodeProfile:
    """Return the node profile with what the earlier steps made: the snapshot, and how it is restored; on GKE the disk
    image of its pools.
    """
    if prepared.get("disk_image"):
        profile = profile.with_options(disk_image=str(prepared["disk_image"]))
    if not prepared.get("snapshot_id"):
        return profile
    rate = profile.volume_initialization_rate_mib_s or prepared.get("volume_initialization_rate_mib_s")
    size = {"snapshot_volume_gib": prepared["volume_gib"]} if prepared.get("volume_gib") else {}
    return replace(
        profile,
        snapshot_id=str(prepared["snapshot_id"]),
        volume_initialization_rate_mib_s=rate,
        options={**profile.options, **size},
    )


async def restart(cluster: "Cluster", namespace: str, deployment: str) -> None:
    """Restart a deployment that must exist."""
    if await cluster.get("deployments", deployment, namespace) is None:
        raise ConfigurationError(
            f"Deployment {namespace}/{deployment} does not exist on {cluster.name}: install the node autoscaler first."
        )
    await cluster.restart_deployment(namespace, deployment)


async def rolled_out(cluster: "Cluster", namespace: str, deployment: str) -> None:
    """Wait until a restarted deployment runs anew: until then nodes are made as its old configuration says."""
    began_at = cluster.clock()
    while not _is_rolled_out(await cluster.get("deployments", deployment, namespace) or {}):
        if (cluster.clock() - began_at).total_seconds() > ROLL_OUT_S:
            raise ClusterError(
                f"Deployment {namespace}/{deployment} on {cluster.name} was restarted and did not run anew within "
                f"{ROLL_OUT_S:.0f} s, so its new configuration is not in force: look at its pods."
            )
        await asyncio.sleep(max(0.1, cluster.real_seconds(2)))


def _is_rolled_out(deployment: Mapping[str, Any]) -> bool:
    """Judge as `kubectl rollout status` does (kubectl 1.34, polymorphichelpers/rollout_status.go)."""
    wanted = deployment.get("spec", {}).get("replicas", 1)
    status = deployment.get("status") or {}
    counts = [status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
    seen = status.get("observedGeneration", 0) >= deployment.get("metadata", {}).get("generation", 0)
    return seen and counts == [wanted] * 3


def pools_result(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the cloud set up, of a wait's event: {pools, reused, seconds, price_usd, price_basis}."""
    results = [dict(operation.result or {}) for operation in succeeded(event)]
    prices = [result.get("price_usd") for result in results]
    return {
        "pools": [result.get("pool") for result in results],
        "reused": all(result.get("reused") for result in results),
        "seconds": max(float(result["seconds"]) for result in results),
        "price_usd": None if None in prices else sum(prices),
        "price_basis": "; ".join(sorted({str(result.get("price_basis")) for result in results})),
    }


def keep_nodes(
    target_data: Mapping[str, Any],
    prepared: Mapping[str, Any],
    result: dict[str, Any],
    ended_at: str,
    run_id: str,
    results_conn_id: str,
) -> dict[str, Any]:
    """Keep the preparation's row and return its result."""
    target = Target.from_dict(target_data)
    save_preparation(
        cloud={"cloud": target.cloud, "cluster": target.cluster_reference()},
        target=target.name,
        verb="set_up_nodes",
        content=fingerprint({"target": dict(target_data), "prepared": dict(prepared)}),
        result=result,
        prepared_at=ended_at,
        run_id=run_id,
        results_conn_id=results_conn_id,
    )
    return result
