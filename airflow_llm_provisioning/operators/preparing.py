"""What the preparation operators do, below Airflow's words: start, apply, warm, and keep the row."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import ClusterError, ConfigurationError, ForbiddenError
from airflow_llm_provisioning.triggers.pod_run import PodRunWait

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.experiment import NodeProfile, Target
    from airflow_llm_provisioning.gateways.kubernetes import Cluster


def start_operation(cloud: Mapping[str, Any], verb: str, request: Mapping[str, Any], results_conn_id: str) -> Operation:
    """Open the cloud and start one operation; its intent is in the ledger when this returns."""
    from airflow_llm_provisioning.connections import cluster_clock, opened_cloud

    clock = asyncio.run(cluster_clock(cloud.get("cluster")))
    with opened_cloud(cloud, results_conn_id=results_conn_id, clock=clock.now) as opened:
        return opened.start(verb, request)


def content_of(operation: Operation) -> str:
    """Return what a preparation is found by: the recipe's content for an image, else the whole request's."""
    from airflow_llm_provisioning.core.names import fingerprint
    from airflow_llm_provisioning.core.workload import ImageRecipe

    if operation.verb == "build_image":
        return ImageRecipe.from_dict(operation.request["recipe"]).content
    return fingerprint(operation.request)


def save_preparation(
    *,
    cloud: Mapping[str, Any],
    target: str,
    verb: str,
    content: str,
    result: Mapping[str, Any],
    prepared_at: str,
    run_id: str,
    results_conn_id: str,
) -> None:
    """Keep one preparation's row; without a cluster to ask, its origin is unknown."""
    from airflow_llm_provisioning.connections import cluster_clock, open_store
    from airflow_llm_provisioning.core.result import Preparation

    reference = cloud.get("cluster")
    origin = asyncio.run(cluster_clock(reference)).origin if reference else "unknown"
    store = open_store(results_conn_id)
    try:
        store.save_preparation(
            Preparation(
                target=target,
                cloud=str(cloud.get("cloud", "generic")),
                verb=verb,
                content=content,
                result=dict(result),
                origin=origin,
                seconds=float(result["seconds"]),
                prepared_at=datetime.fromisoformat(prepared_at),
                reused=bool(result.get("reused")),
                price_usd=result.get("price_usd"),
                price_basis=result.get("price_basis"),
                run_id=run_id,
            )
        )
    finally:
        store.close()


@dataclass(frozen=True, slots=True)
class NodesSetUp:
    """What was applied, and what is left for the cloud: `pools` are requests of its `set_up_node_pool`."""

    result: dict[str, Any]
    ended_at: str
    cloud: dict[str, Any]
    pools: list[dict[str, Any]]


async def set_up_nodes(
    target_data: Mapping[str, Any], prepared: Mapping[str, Any], files_dir: str | None = None
) -> NodesSetUp:
    """Apply what the target's node autoscaler reads, and restart what reads it only at start; with `files_dir`, write
    it there instead, for those who deploy it themselves.
    """
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.core.experiment import Target
    from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS
    from airflow_llm_provisioning.gateways.autoscalers.base import NodeSetup
    from airflow_llm_provisioning.operators.node_files import write_node_files

    target = Target.from_dict(target_data)
    profile = with_prepared(target.nodes, prepared)
    autoscaler = AUTOSCALERS[profile.autoscaler]
    problems = autoscaler.check(profile)
    if problems:
        raise ConfigurationError(
            f"Target {target.name!r} cannot get its nodes from {autoscaler.name}: {' '.join(problems)}"
        )
    setup = autoscaler.setup(profile)
    written = write_node_files(setup, Path(files_dir) / target.name) if files_dir else []
    if files_dir:
        setup = NodeSetup()
    async with open_cluster(target.cluster_reference()) as cluster:
        started_at = cluster.clock()
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


def with_prepared(profile: "NodeProfile", prepared: Mapping[str, Any]) -> "NodeProfile":
    """Return the node profile with what the earlier steps made: the snapshot, and how it is restored."""
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


async def pull_secrets(cluster_reference: Mapping[str, Any]) -> list[str]:
    """Return the names of the imagePullSecrets that every pod of a namespace gets from its service account.

    Kubernetes puts those of the account into a pod that names none (admission plug-in ServiceAccount). Whoever may not
    read the account is not stopped by it: the trial's own pods are looked at again before its result is believed.
    """
    from airflow_llm_provisioning.connections import open_cluster

    async with open_cluster(cluster_reference) as cluster:
        try:
            account = await cluster.get("serviceaccounts", "default", cluster_reference.get("namespace", "default"))
        except ForbiddenError:
            return []
    return [str(entry["name"]) for entry in (account or {}).get("imagePullSecrets") or ()]


def cluster_fact(name: str, cluster_reference: Mapping[str, Any]) -> Any:
    """Return a fact of the cluster that a cloud's verb asks for by name (`CloudDescriptor.cluster_facts`)."""
    if name not in _CLUSTER_FACTS:
        raise ConfigurationError(f"A cloud asks for {name!r} of the cluster: known are {', '.join(_CLUSTER_FACTS)}.")
    return asyncio.run(_CLUSTER_FACTS[name](cluster_reference))


_CLUSTER_FACTS: Final[Mapping[str, Callable[[Mapping[str, Any]], Coroutine[Any, Any, Any]]]] = {
    "image_pull_secrets": pull_secrets
}


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


ROLL_OUT_S: Final = 300.0


async def begin_warming(
    target_data: Mapping[str, Any], image: Mapping[str, Any], timeout_s: float, results_conn_id: str
) -> PodRunWait:
    """Create the warming pod, or find the one an earlier life of this task created; the intent is written before."""
    from airflow_llm_provisioning.connections import open_cluster, open_store
    from airflow_llm_provisioning.core.experiment import Target
    from airflow_llm_provisioning.core.trial import EXPIRES_AFTER_LIMIT

    target = Target.from_dict(target_data)
    async with open_cluster(target.cluster_reference()) as cluster:
        started_at = cluster.clock()
        pod = warming_pod(target, image, started_at + EXPIRES_AFTER_LIMIT)
        name = pod["metadata"]["name"]
        store = open_store(results_conn_id)
        try:
            entry = store.ledger.intend(
                "pod",
                name,
                f"cluster:{target.cluster}/{target.namespace}",
                pod["metadata"]["labels"],
                started_at + EXPIRES_AFTER_LIMIT,
            )
        finally:
            store.close()
        found = await cluster.get("pods", name, target.namespace) or await cluster.create(pod)
    return PodRunWait(
        cluster=target.cluster_reference(),
        namespace=target.namespace,
        name=name,
        uid=found["metadata"]["uid"],
        ledger_entry=entry,
        started_at=started_at.isoformat(),
        timeout_s=timeout_s,
    )


def warming_pod(target: "Target", image: Mapping[str, Any], expires_at: datetime) -> dict[str, Any]:
    """Return a pod that pulls the image on one of the target's nodes and ends at once."""
    from airflow_llm_provisioning.core.names import LABEL_CONTENT, fingerprint, preparation_tags
    from airflow_llm_provisioning.gateways.autoscalers import AUTOSCALERS

    marks = AUTOSCALERS[target.nodes.autoscaler].placement(target.nodes, "head")
    content = fingerprint({"warm": image["image"], "target": target.name})
    labels = {**preparation_tags(content, expires_at, target.name), **marks.labels}
    amounts = {"cpu": "2", "memory": "8Gi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"llm-warm-{labels[LABEL_CONTENT]}",
            "namespace": target.namespace,
            "labels": labels,
            "annotations": dict(marks.annotations),
        },
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": dict(marks.node_selector),
            "tolerations": [dict(item) for item in marks.tolerations],
            "containers": [
                {
                    "name": "pull",
                    "image": image["image"],
                    "command": ["true"],
                    "imagePullPolicy": "IfNotPresent",
                    "resources": {"requests": amounts, "limits": amounts},
                }
            ],
        },
    }


def close_entry(entry: str, results_conn_id: str) -> None:
    """Record that what an intent was written for is gone."""
    from airflow_llm_provisioning.connections import open_store

    store = open_store(results_conn_id)
    try:
        store.ledger.gone(entry)
    finally:
        store.close()


def finish_warming(
    target_data: Mapping[str, Any],
    image: Mapping[str, Any],
    event: Mapping[str, Any],
    run_id: str,
    results_conn_id: str,
) -> dict[str, Any]:
    """Keep the preparation's row and return its result."""
    from airflow_llm_provisioning.core.experiment import Target
    from airflow_llm_provisioning.core.names import fingerprint
    from airflow_llm_provisioning.gateways.clouds.registry import cloud_named

    target = Target.from_dict(target_data)
    result = {key: event[key] for key in ("pod", "node", "instance_type", "pulled_s", "seconds", "node_s")}
    prices = cloud_named(target.cloud).node_prices
    price, basis = prices.price(event["region"], event["instance_type"], event["node_s"])
    result |= {"price_usd": price, "price_basis": basis}
    save_preparation(
        cloud={"cloud": target.cloud, "cluster": target.cluster_reference()},
        target=target.name,
        verb="warm_image",
        content=fingerprint({"image": image["image"]}),
        result=result,
        prepared_at=event["ended_at"],
        run_id=run_id,
        results_conn_id=results_conn_id,
    )
    return result
