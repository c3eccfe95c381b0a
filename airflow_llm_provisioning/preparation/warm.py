"""How a registry's caches are warmed: one short pod pulls the image on one of the target's nodes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.names import LABEL_CONTENT, fingerprint, preparation_tags
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.trial import EXPIRES_AFTER_LIMIT
from airflow_llm_provisioning.preparation.operations import save_preparation


async def begin_warming(
    target_data: Mapping[str, Any], image: Mapping[str, Any], timeout_s: float, results_conn_id: str
) -> dict[str, Any]:
    """Create the warming pod, or find the one an earlier try of this task created; the intent is written before.

    Returns the arguments of `triggers.pod_run.PodRunWait`.
    """
    from airflow_llm_provisioning.connections import open_cluster

    target = Target.from_dict(target_data)
    async with open_cluster(target.cluster_reference()) as cluster:
        started_at = cluster.clock()
        pod = warming_pod(target, image, started_at + EXPIRES_AFTER_LIMIT)
        name = pod["metadata"]["name"]
        entry = _intend(target, pod, started_at + EXPIRES_AFTER_LIMIT, results_conn_id)
        found = await cluster.get("pods", name, target.namespace)
        if found is None:
            found = await cluster.create(pod)
            # A process that took this one for dead may have warmed the image meanwhile and closed the entry.
            entry = _intend(target, pod, started_at + EXPIRES_AFTER_LIMIT, results_conn_id)
    return {
        "cluster": target.cluster_reference(),
        "namespace": target.namespace,
        "name": name,
        "uid": found["metadata"]["uid"],
        "ledger_entry": entry,
        "started_at": started_at.isoformat(),
        "timeout_s": timeout_s,
    }


def _intend(target: Target, pod: Mapping[str, Any], expires_at: datetime, results_conn_id: str) -> str:
    """Write the pod's intent and return its entry, which is the open one if there is one."""
    from airflow_llm_provisioning.connections import open_store

    store = open_store(results_conn_id)
    try:
        metadata = pod["metadata"]
        place = f"cluster:{target.cluster}/{target.namespace}"
        return store.ledger.intend("pod", metadata["name"], place, metadata["labels"], expires_at)
    finally:
        store.close()


def warming_pod(target: Target, image: Mapping[str, Any], expires_at: datetime) -> dict[str, Any]:
    """Return a pod that pulls the image on one of the target's nodes and ends at once."""
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


def finish_warming(
    target_data: Mapping[str, Any],
    image: Mapping[str, Any],
    event: Mapping[str, Any],
    run_id: str,
    results_conn_id: str,
) -> dict[str, Any]:
    """Keep the preparation's row and return its result."""
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
