"""How objects are prepared in a target's cluster: intents, server-side apply, what had another content is removed, and
the row of what was made.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.names import LABEL_CONTENT, LABEL_MANAGED_BY, LABEL_TARGET, OWNER
from airflow_llm_provisioning.core.operation import KEEP_DAYS
from airflow_llm_provisioning.core.ownership import labels_of
from airflow_llm_provisioning.core.prepared_objects import (
    LABEL_PREPARES,
    PreparedObjects,
    filled,
    image_mark,
    pod_selector,
)
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.exceptions import ConflictError
from airflow_llm_provisioning.gateways.autoscalers import nodes_gone_s
from airflow_llm_provisioning.gateways.prepared_objects import identity
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries
from airflow_llm_provisioning.preparation.operations import save_preparation

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.result import Preparation
    from airflow_llm_provisioning.gateways.kubernetes import Cluster
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

Reference = dict[str, Any]
"""{apiVersion, kind, name, namespace, uid}: an object that was applied."""


async def begin_objects(
    target_data: Mapping[str, Any], wanted: PreparedObjects, timeout_s: float, results_conn_id: str
) -> dict[str, Any]:
    """Write the intents, apply the objects, remove those of an earlier content, and return the arguments of
    `triggers.prepared_objects.ObjectsReadyWait`. Applied again, the same objects are found; their expiry is renewed.
    """
    from airflow_llm_provisioning.connections import open_cluster, open_store

    target = Target.from_dict(target_data)
    async with open_cluster(target.cluster_reference()) as cluster:
        started_at = cluster.clock()
        manifests = wanted.placed(target.name, target.namespace, started_at + timedelta(days=KEEP_DAYS))
        there = [await _ours_or_none(cluster, manifest) for manifest in manifests]
        store = open_store(results_conn_id)
        try:
            earlier = [row for row in store.preparations(target.name) if row.verb == wanted.verb]
            for manifest in manifests:
                _intend(store, target, manifest, started_at + timedelta(days=KEEP_DAYS))
            applied = [await cluster.apply(manifest, force=True) for manifest in manifests]
            left, absent = await _remove_earlier(cluster, earlier, applied)
            _close_entries(store, target, absent)
        finally:
            store.close()
    return {
        "cluster": target.cluster_reference(),
        "namespace": target.namespace,
        "objects": [_reference(item, obj) for item, obj in zip(manifests, applied, strict=True)],
        "ready": dict(wanted.ready),
        "pods": pod_selector(wanted.content, wanted.treatment),
        "reused": all(obj is not None for obj in there),
        "earlier": left,
        "started_at": started_at.isoformat(),
        "timeout_s": timeout_s,
        "nodes_gone_s": nodes_gone_s(target),
    }


def finish_objects(
    target_data: Mapping[str, Any],
    wanted: PreparedObjects,
    event: Mapping[str, Any],
    run_id: str,
    results_conn_id: str,
) -> dict[str, Any]:
    """Keep the preparation's row and return its result: {content, objects, ready, nodes, facts, idle, seconds, reused,
    price_usd, price_basis}.

    `nodes`: [{name, uid, created_at, instance_type, region}] on which its pods run. `idle`: what it costs while no
    trial runs. The price is that of the nodes on which its pods ran, for as long as it took, and of a node that came
    for a Job until it was gone; None where any of them was gone before it could be looked at.
    """
    target = Target.from_dict(target_data)
    if removed := event.get("removed"):
        _record_removed(target, removed, results_conn_id)
    result = {key: event[key] for key in ("objects", "ready", "nodes", "facts", "seconds", "reused")}
    result |= {"content": wanted.content, "idle": _idle(wanted, event["nodes"])}
    if event["reused"]:
        result["facts"] = _told_before(target, wanted, event, results_conn_id) | result["facts"]
    result |= _price(target, event)
    save_preparation(
        cloud={"cloud": target.cloud, "cluster": target.cluster_reference()},
        target=target.name,
        verb=wanted.verb,
        content=wanted.content,
        result=result,
        prepared_at=event["ended_at"],
        run_id=run_id,
        results_conn_id=results_conn_id,
    )
    return result


def _record_removed(target: Target, removed: Sequence[Mapping[str, Any]], results_conn_id: str) -> None:
    from airflow_llm_provisioning.connections import open_store

    store = open_store(results_conn_id)
    try:
        _close_entries(store, target, removed)
    finally:
        store.close()


def with_image_of(
    objects: Sequence[Mapping[str, Any]], image: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """Return the objects with the references of built images for their marks (`image_mark`). `image`: the build's
    result {image, ...}, or several in the order of their marks; None where the objects name none.
    """
    found: list[dict[str, Any]] = [dict(item) for item in objects]
    for number, built in enumerate([image] if isinstance(image, Mapping) else image or ()):
        found = filled(found, image_mark(number), str(built["image"]))
    return found


def start(target: Mapping[str, Any], wanted: PreparedObjects, timeout_s: float, results_conn_id: str) -> dict[str, Any]:
    """Return `begin_objects` from synchronous code."""
    return asyncio.run(begin_objects(target, wanted, timeout_s, results_conn_id))


async def _ours_or_none(cluster: "Cluster", manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the object of an earlier run with this content, None without one; another owner's is refused."""
    found, metadata = await cluster.find(manifest), manifest["metadata"]
    if found is None:
        return None
    labels = labels_of(found)
    mine = (labels.get(LABEL_MANAGED_BY), labels.get(LABEL_PREPARES)) == (OWNER, metadata["labels"][LABEL_PREPARES])
    if not mine or labels.get(LABEL_TARGET) != metadata["labels"][LABEL_TARGET]:
        raise ConflictError(
            f"{manifest['kind']} {metadata.get('namespace', '')}/{metadata['name']} on {cluster.name} exists and was "
            f"not made by this preparation, so it is not changed. Delete it, or give the target another namespace."
        )
    return found if labels.get(LABEL_CONTENT) == metadata["labels"][LABEL_CONTENT] else None


def _intend(store: "ResultsStore", target: Target, manifest: Mapping[str, Any], until: datetime) -> None:
    metadata = manifest["metadata"]
    place = _place(target, metadata.get("namespace"))
    store.ledger.intend(manifest["kind"].lower(), metadata["name"], place, metadata["labels"], until)


async def _remove_earlier(
    cluster: "Cluster", earlier: Sequence["Preparation"], applied: Sequence[Any]
) -> tuple[list[Reference], list[Reference]]:
    """Ask for the deletion of what earlier preparations of this step made and this one does not want; return what was
    still there, and what is not.
    """
    wanted = {dig(obj, "metadata", "uid") for obj in applied}
    made = {item["uid"]: dict(item) for row in earlier for item in row.result.get("objects") or () if item.get("uid")}
    left, absent = [], []
    for item in (item for uid, item in made.items() if uid not in wanted):
        found = await cluster.find(identity(item))
        if found is not None and dig(found, "metadata", "uid") == item["uid"]:
            await cluster.remove(identity(item), uid=item["uid"])
            left.append(item)
        elif found is None:
            absent.append(item)
    return left, absent


def _close_entries(store: "ResultsStore", target: Target, gone: Sequence[Mapping[str, Any]]) -> None:
    """Record in the ledger that objects were seen to be gone."""
    for item in gone:
        entries = LedgerEntries(store.ledger, _place(target, item.get("namespace")))
        entries.gone(item["kind"].lower(), name=item["name"])


def _place(target: Target, namespace: str | None) -> str:
    return f"cluster:{target.cluster}" + (f"/{namespace}" if namespace else "")


def _reference(manifest: Mapping[str, Any], obj: Mapping[str, Any]) -> Reference:
    metadata = manifest["metadata"]
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "name": metadata["name"],
        "namespace": metadata.get("namespace"),
        "uid": dig(obj, "metadata", "uid"),
    }


def _told_before(
    target: Target, wanted: PreparedObjects, event: Mapping[str, Any], results_conn_id: str
) -> dict[str, Any]:
    """Return what the very Jobs that were found again told when they ended: their pods, and the logs with them, may be
    gone with the nodes.
    """
    from airflow_llm_provisioning.connections import open_store

    jobs = {item["uid"] for item in event["objects"] if item["kind"] == "Job"}
    store = open_store(results_conn_id)
    try:
        earlier = [row.result for row in store.preparations(target.name) if row.verb == wanted.verb]
    finally:
        store.close()
    of_these = [row for row in earlier if jobs and jobs <= {item.get("uid") for item in row.get("objects") or ()}]
    return {key: value for row in of_these for key, value in (row.get("facts") or {}).items()}


def _idle(wanted: PreparedObjects, nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what it costs while no trial runs; a node without a name is each of those that hold its pods. Where none
    of them was seen, there is one of an unknown type.
    """
    found: list[dict[str, Any]] = []
    for item in wanted.idle:
        if item.get("what") in ("node", "spot_node") and not item.get("name"):
            types = [node.get("instance_type") for node in nodes] or [None]
            found += [{**item, "name": name, "amount": 1} for name in types]
        else:
            found.append(dict(item))
    return found


def _price(target: Target, event: Mapping[str, Any]) -> dict[str, Any]:
    from airflow_llm_provisioning.gateways.clouds.registry import cloud_named

    held = [*event["job_nodes"], *event["nodes"]]
    if event["reused"]:
        return {"price_usd": 0.0, "price_basis": "found again"}
    if not event["job_nodes"] and any(item["kind"] == "Job" for item in event["objects"]):
        return {"price_usd": None, "price_basis": "not known: the nodes of its Jobs were gone"}
    if event["unseen"]:
        gone = f"not known: {', '.join(event['unseen'])} {'was' if len(event['unseen']) == 1 else 'were'} gone"
        return {"price_usd": None, "price_basis": f"{gone} before it could be looked at"}
    if not held:
        return {"price_usd": 0.0, "price_basis": "Kubernetes objects only"}
    prices = cloud_named(target.cloud).node_prices
    found = [prices.price(node["region"], node["instance_type"], node.get("held_s", event["seconds"])) for node in held]
    amounts = [amount for amount, _ in found]
    basis = "; ".join(sorted({basis for _, basis in found if basis}))
    known = None if None in amounts else sum(amount for amount in amounts if amount is not None)
    return {"price_usd": known, "price_basis": basis}
