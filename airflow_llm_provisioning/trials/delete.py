"""How a RayService is deleted: find what it leaves behind while it can still be named, then ask for the deletion.

Waiting for what is left is the caller's (`triggers.pods_gone.PodsGoneWait`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.exceptions import ConflictError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

Remember = Callable[[dict[str, str], list[str]], tuple[dict[str, str], list[str]]]
"""Takes the nodes found (name -> uid) and the pods that have none; returns both with what earlier tries found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A deletion that was asked for, and what is waited for: the arguments of `PodsGoneWait`.

    `pods`, `nodes`: name -> uid; `nodes` is None where they are not waited for. `deleted`: whether an object of ours
    was there. `late`: {selector, since, limit_s, pods} of nodes that may still come for pods that had none.
    """

    cluster: dict[str, Any]
    namespace: str
    pods: dict[str, str]
    nodes: dict[str, str] | None
    deleted: bool
    started_at: str
    timeout_s: float
    late: dict[str, Any] | None = None

    def as_arguments(self) -> dict[str, Any]:
        """Return the trigger's arguments, JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


async def delete_ray_service(
    rayservice: Mapping[str, Any],
    *,
    wait_for_nodes: bool,
    timeout_s: float,
    trial_label: str | None = None,
    remember: Remember = lambda *found: found,
    late: Mapping[str, Any] | None = None,
) -> Deletion:
    """Ask for the deletion and return what is waited for.

    `rayservice`: {cluster, name, namespace, uid?}. `trial_label`: only an object that carries this trial's label is
    deleted, and pods are found by it even when the RayCluster is gone already (a repeated teardown). `remember` is
    called before anything is deleted: without pods their nodes cannot be told any more. `late`: {selector, since,
    limit_s} of the nodes that may still come for pods that had none (see `late_nodes`).
    """
    from airflow_llm_provisioning.connections import open_cluster

    reference = cluster_reference(rayservice["cluster"])
    name, namespace = rayservice["name"], rayservice.get("namespace") or "default"
    async with open_cluster(reference) as cluster:
        pods, uid, ours = await _pods_and_owner(cluster, rayservice, name, namespace, trial_label)
        nodes: dict[str, str] = {}
        unplaced: list[str] = []
        if wait_for_nodes:
            nodes, unplaced = remember(await _nodes_of(cluster, pods), _unplaced(pods))
        try:
            deleted = ours and await cluster.delete("rayservices", name, namespace, uid=uid)
        except ConflictError:
            # Another object of that name by now: ours is gone, and the other one must stay.
            deleted = False
        started_at = cluster.clock()
    return Deletion(
        cluster=reference,
        namespace=namespace,
        pods={pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods},
        nodes=nodes if wait_for_nodes else None,
        deleted=deleted,
        started_at=started_at.isoformat(),
        timeout_s=timeout_s,
        late={**late, "pods": unplaced} if late and unplaced else None,
    )


def cluster_reference(cluster: Mapping[str, Any] | str) -> dict[str, Any]:
    """Return a cluster's reference as a dict, given as one or as a connection id."""
    return {"conn_id": cluster} if isinstance(cluster, str) else dict(cluster)


async def _pods_and_owner(
    cluster: "Cluster", rayservice: Mapping[str, Any], name: str, namespace: str, trial_label: str | None
) -> tuple[list[dict[str, Any]], str | None, bool]:
    """Return the pods, the uid that is deleted, and whether the object is ours. The names of pods and nodes can only be
    read while the RayCluster exists.
    """
    pods: list[dict[str, Any]] = []
    uid, ours = rayservice.get("uid"), True
    if trial_label is not None:
        found = await cluster.get("rayservices", name, namespace)
        labels = (found or {}).get("metadata", {}).get("labels") or {}
        ours = labels.get(LABEL_TRIAL) == trial_label
        uid = found["metadata"]["uid"] if found and ours else uid
        pods, _ = await cluster.list("pods", namespace, labels=f"{LABEL_TRIAL}={trial_label}")
    if ours:
        pods = pods or await cluster.pods(name, namespace)
    return pods, uid, ours


async def _nodes_of(cluster: "Cluster", pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    named = sorted({pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")})
    found = [node for name in named if (node := await cluster.get("nodes", name))]
    return {node["metadata"]["name"]: node["metadata"]["uid"] for node in found}


def _unplaced(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the pods without a node: a node autoscaler may still bring the one that it was asked for."""
    return sorted(pod["metadata"]["name"] for pod in pods if not pod["spec"].get("nodeName"))
