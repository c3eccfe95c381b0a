"""Looks at prepared objects in a cluster: whether they are there, and which nodes host their pods."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.fields import dig, number, objects, text
from airflow_llm_provisioning.core.ownership import labels_of
from airflow_llm_provisioning.core.prepared_objects import MARKS_NODE, VERB, as_it_is, pod_selector
from airflow_llm_provisioning.core.prepared_pulls import pulls_on, with_earlier_pulls
from airflow_llm_provisioning.exceptions import ForbiddenError
from airflow_llm_provisioning.gateways.kubernetes import Cluster

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.result import Preparation


# Events of nodes, which are in no namespace.
_OF_NODES: Final = "default"


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
    nodes = with_earlier_pulls(await nodes_of_pods(cluster, pods), result.get("nodes") or ())
    return as_it_is(result, found, nodes)


async def nodes_of_pods(cluster: Cluster, pods: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the nodes that pods hold: [{name, uid, created_at, instance_type, region, pulls}]. `pulls`: how the pods'
    images came onto it (`core.prepared_pulls.pulls_on`), as far as the cluster still has the events. A DaemonSet's pods
    hold none: they are on the nodes that are there for others. A ready one with the label MARKS_NODE marks its node.
    """
    named = _held(pods)
    events = await _events(cluster, pods) if named else []
    found = [node for name in named if (node := await cluster.get("nodes", name)) is not None]
    return [
        {
            "name": text(dig(node, "metadata", "name")),
            "uid": dig(node, "metadata", "uid"),
            "created_at": dig(node, "metadata", "creationTimestamp"),
            "instance_type": labels_of(node).get("node.kubernetes.io/instance-type"),
            "region": labels_of(node).get("topology.kubernetes.io/region"),
            "pulls": pulls_on(text(dig(node, "metadata", "name")), pods, events),
        }
        for node in found
    ]


def unseen_nodes(pods: Sequence[Mapping[str, Any]], seen: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of nodes that pods held and that were not `seen` (`nodes_of_pods`): they are gone."""
    return sorted(set(_held(pods)) - {text(node["name"]) for node in seen})


def lost_pods(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> int:
    """Return how many pods of a Job are gone, with what they said and their nodes: those that its status counts, or the
    one that it needed at least.
    """
    own = [pod for pod in pods if any(one.get("uid") == dig(job, "metadata", "uid") for one in _owners(pod))]
    counted = [number(dig(job, "status", key)) or 0.0 for key in ("succeeded", "failed")]
    return max(0, max(1, int(sum(counted))) - len(own))


def _held(pods: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the nodes that pods hold."""
    held = [pod for pod in pods if _marks(pod) or not any(one.get("kind") == "DaemonSet" for one in _owners(pod))]
    return sorted({text(dig(pod, "spec", "nodeName")) for pod in held} - {""})


async def _events(cluster: Cluster, pods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the events of the pods' namespaces and of nodes; none where they may not be read."""
    namespaces = dict.fromkeys([*(text(dig(pod, "metadata", "namespace")) for pod in pods), _OF_NODES])
    try:
        return [event for name in namespaces for event in (await cluster.list("events", name))[0]]
    except ForbiddenError:
        return []


def _marks(pod: Mapping[str, Any]) -> bool:
    conditions = objects(pod, "status", "conditions")
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    return ready and labels_of(pod).get(MARKS_NODE) == "true"


def _owners(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return objects(pod, "metadata", "ownerReferences")


def identity(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reference ({apiVersion, kind, name, namespace}) as the head of a manifest."""
    namespace = {"namespace": item["namespace"]} if item.get("namespace") else {}
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": {"name": item["name"], **namespace}}
