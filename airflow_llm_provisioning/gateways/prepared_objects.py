"""Looks at prepared objects in a cluster: whether they are there, and which nodes host their pods."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.core.fields import dig, text
from airflow_llm_provisioning.core.ownership import labels_of
from airflow_llm_provisioning.core.prepared_objects import VERB, as_it_is, pod_selector
from airflow_llm_provisioning.gateways.kubernetes import Cluster

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.result import Preparation


async def prepared_now(cluster: Cluster, made: Sequence["Preparation"]) -> dict[str, dict[str, Any]]:
    """Return what is there now of prepared objects: verb -> `core.prepared_objects.as_it_is`. `made`: preparations of
    one target, oldest first; the newest of each verb counts.
    """
    newest = {row.verb: row for row in made if row.verb.startswith(VERB) and row.result.get("objects")}
    return {verb: await _now(cluster, row.verb.removeprefix(VERB), row.result) for verb, row in newest.items()}


async def _now(cluster: Cluster, treatment: str, result: Mapping[str, Any]) -> dict[str, Any]:
    found = [await cluster.find(identity(item)) for item in result["objects"]]
    namespaces = dict.fromkeys(item.get("namespace") for item in result["objects"] if item.get("namespace"))
    selector = pod_selector(text(result.get("content")), treatment)
    pods = [pod for namespace in namespaces for pod in (await cluster.list("pods", namespace, labels=selector))[0]]
    return as_it_is(result, found, await nodes_of_pods(cluster, pods))


async def nodes_of_pods(cluster: Cluster, pods: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the nodes that host pods: [{name, uid, created_at, instance_type, region}]."""
    named = sorted({text(dig(pod, "spec", "nodeName")) for pod in pods} - {""})
    found = [node for name in named if (node := await cluster.get("nodes", name)) is not None]
    return [
        {
            "name": text(dig(node, "metadata", "name")),
            "uid": dig(node, "metadata", "uid"),
            "created_at": dig(node, "metadata", "creationTimestamp"),
            "instance_type": labels_of(node).get("node.kubernetes.io/instance-type"),
            "region": labels_of(node).get("topology.kubernetes.io/region"),
        }
        for node in found
    ]


def identity(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reference ({apiVersion, kind, name, namespace}) as the head of a manifest."""
    namespace = {"namespace": item["namespace"]} if item.get("namespace") else {}
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": {"name": item["name"], **namespace}}
