"""Cloud operations of a preparation: start one, and keep the row of what it made."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.capacity.words import as_no_capacity
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import (
    CloudError,
    ConfigurationError,
    ForbiddenError,
    NoCapacityError,
    StoreError,
)

_CONTENT: Final = "content"


def start_operation(cloud: Mapping[str, Any], verb: str, request: Mapping[str, Any], results_conn_id: str) -> Operation:
    """Open the cloud and start one operation; its intent is in the ledger when this returns."""
    from airflow_llm_provisioning.connections import cluster_clock, opened_cloud

    clock = asyncio.run(cluster_clock(cloud.get("cluster")))
    with opened_cloud(cloud, results_conn_id=results_conn_id, clock=clock.now) as opened:
        return opened.start(verb, request)


def usual_duration(target: str, verb: str, results_conn_id: str) -> str:
    """Return what a target's earlier operations of this kind took, in words; empty if there were none or the store does
    not answer.
    """
    from statistics import median

    from airflow_llm_provisioning.connections import open_store
    from airflow_llm_provisioning.core.progress import clock

    try:
        store = open_store(results_conn_id)
        try:
            took = [one.seconds for one in store.preparations(target, verb) if not one.reused]
        finally:
            store.close()
    except StoreError:
        return ""
    return f"median of {len(took)} earlier ones: {clock(median(took))}" if took else ""


def content_of(operation: Operation) -> str:
    """Return what a preparation is found by: the recipe's content for an image, else the whole request's."""
    from airflow_llm_provisioning.core.names import fingerprint
    from airflow_llm_provisioning.core.workload import ImageRecipe

    if set(operation.request) == {_CONTENT}:
        return str(operation.request[_CONTENT])
    if operation.verb == "build_image" and "recipe" in operation.request:
        return ImageRecipe.from_dict(operation.request["recipe"]).content
    return fingerprint(operation.request)


def without_request(operation: Operation) -> Operation:
    """Return an operation as a trigger's event may carry it: Airflow stores and logs events in clear.

    Of the request only what a preparation is found by is left, because the variables of an image may be secrets.
    """
    return replace(operation, request={_CONTENT: content_of(operation)})


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


def succeeded(event: Mapping[str, Any]) -> list[Operation]:
    """Return the operations of a wait's event, or raise what went wrong with the first that failed."""
    operations = [Operation.from_dict(operation) for operation in event["operations"]]
    for operation in operations:
        if operation.state != "succeeded" or operation.result is None:
            why = operation.error or f"{operation.verb} ended without a result."
            refused = as_no_capacity(why)
            raise NoCapacityError(refused) if refused else CloudError(why)
    return operations


def keep_operation(
    cloud: Mapping[str, Any], target: str, event: Mapping[str, Any], run_id: str, results_conn_id: str
) -> dict[str, Any]:
    """Keep the row of the one operation of a wait's event, and return its result."""
    (operation,) = succeeded(event)
    result = dict(operation.result or {})
    save_preparation(
        cloud=cloud,
        target=target,
        verb=operation.verb,
        content=content_of(operation),
        result=result,
        prepared_at=event["ended_at"],
        run_id=run_id,
        results_conn_id=results_conn_id,
    )
    return result


async def pull_secrets(cluster_reference: Mapping[str, Any]) -> list[str]:
    """Return the names of the imagePullSecrets that every pod of a namespace gets from its service account.

    Kubernetes puts those of the account into a pod that names none (admission plug-in ServiceAccount). An account that
    may not be read stops nothing: the trial's own pods are looked at again before its result is believed.
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


def close_entry(entry: str, results_conn_id: str) -> None:
    """Record that what an intent was written for is gone."""
    from airflow_llm_provisioning.connections import open_store

    store = open_store(results_conn_id)
    try:
        store.ledger.gone(entry)
    finally:
        store.close()
