"""How a RayService is deleted: find what it leaves behind while it can still be named, then ask for the deletion.

Waiting for what is left is the caller's (`triggers.pods_gone.PodsGoneWait`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.core.late_nodes import AwaitedNodes
from airflow_llm_provisioning.core.names import LABEL_TRIAL
from airflow_llm_provisioning.core.remains import Subject
from airflow_llm_provisioning.exceptions import ConflictError, NotDeletedError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

Known = dict[str, Any]
"""What an earlier look found of a RayService, JSON: `uid`, and name -> uid of its `clusters`, `pods` and `nodes`;
`unplaced`: name -> uid of the pods that had no node.
"""

Remember = Callable[[Known], Known]
"""Takes what was found; returns it with what earlier tries found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A deletion that was asked for, and what is waited for: the arguments of `PodsGoneWait`.

    `rayservice`: {name, uid, clusters, trial}. `pods`, `nodes`: name -> uid; `nodes` is None where they are not waited
    for. `deleted`: whether an object of ours was there. `objects_s`: time limit of everything but the nodes. `late`:
    nodes that may still come for pods that had none.
    """

    cluster: dict[str, Any]
    namespace: str
    rayservice: dict[str, Any]
    pods: dict[str, str]
    nodes: dict[str, str] | None
    deleted: bool
    started_at: str
    timeout_s: float
    objects_s: float
    late: AwaitedNodes | None = None

    @property
    def limit_s(self) -> float:
        """How long the wait takes at most, in the cluster's clock."""
        return max(self.timeout_s, self.objects_s)

    def as_arguments(self) -> dict[str, Any]:
        """Return the trigger's arguments, JSON."""
        late = self.late.as_dict() if self.late else None
        return {name: getattr(self, name) for name in self.__slots__} | {"late": late}


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitLimits:
    """How long is waited, in the cluster's clock: `objects_s` for the RayService and all that belongs to it, `nodes_s`
    for its nodes, None: not at all. `late`: nodes that may still come for pods that had none.
    """

    objects_s: float
    nodes_s: float | None = None
    late: AwaitedNodes | None = None


async def delete_ray_service(
    rayservice: Mapping[str, Any],
    *,
    limits: WaitLimits,
    trial_label: str | None = None,
    remember: Remember = lambda found: found,
) -> Deletion:
    """Ask for the deletion and return what is waited for. An outage of the API server is outlasted.

    `rayservice`: {cluster, name, namespace, uid?}. `trial_label`: only an object that carries this trial's label is
    deleted, and objects are found by it even when the RayService is gone already (a repeated teardown). `remember` is
    called before anything is deleted: afterwards pods, RayClusters and nodes cannot be told any more.
    """
    from airflow_llm_provisioning.connections import open_cluster
    from airflow_llm_provisioning.gateways.kubernetes.outage import through_outages

    reference = cluster_reference(rayservice["cluster"])
    request = _Request(dict(rayservice), limits, trial_label, remember, reference)
    return await through_outages(lambda: open_cluster(reference), request.send, limit_s=limits.objects_s)


@dataclass(frozen=True, slots=True)
class _Request:
    rayservice: Mapping[str, Any]
    limits: WaitLimits
    trial_label: str | None
    remember: Remember
    reference: dict[str, Any]

    async def send(self, cluster: "Cluster") -> Deletion:
        """Look, remember, delete."""
        from airflow_llm_provisioning.gateways.remains import remains_of

        name, namespace = self.rayservice["name"], self.rayservice.get("namespace") or "default"
        uid, ours = await self._owner(cluster, name, namespace)
        known = self.remember({"uid": uid, "clusters": {}, "pods": {}, "nodes": {}, "unplaced": {}})
        subject = Subject(
            name=name,
            namespace=namespace,
            uid=known["uid"],
            clusters=known["clusters"],
            pods=known["pods"],
            trial=self.trial_label,
        )
        left = await remains_of(cluster, subject)
        known = self.remember(await self._found(cluster, left, known["uid"]))
        try:
            deleted = ours and await cluster.delete("rayservices", name, namespace, uid=uid)
        except ConflictError:
            # Another object of that name by now: ours is gone, and the other one must stay.
            deleted = False
        return self._deletion(cluster, known, namespace, deleted)

    async def _owner(self, cluster: "Cluster", name: str, namespace: str) -> tuple[str | None, bool]:
        """Return the uid that is deleted, and whether an object of ours is there."""
        uid = self.rayservice.get("uid")
        found = await cluster.get("rayservices", name, namespace)
        if found is None:
            return uid, False
        metadata = found["metadata"]
        if self.trial_label is not None:
            ours = (metadata.get("labels") or {}).get(LABEL_TRIAL) == self.trial_label
        else:
            ours = uid in (None, metadata["uid"])
        return (metadata["uid"], True) if ours else (uid, False)

    async def _found(self, cluster: "Cluster", left: Sequence[Mapping[str, Any]], uid: str | None) -> Known:
        pods = [obj for obj in left if obj["kind"] == "Pod"]
        wanted = self.limits.nodes_s is not None
        return {
            "uid": uid,
            "clusters": _uids(obj for obj in left if obj["kind"] == "RayCluster"),
            "pods": _uids(pods),
            "nodes": await _nodes_of(cluster, pods) if wanted else {},
            # A node autoscaler may still bring the node that such a pod asked for.
            "unplaced": _uids(pod for pod in pods if not pod["spec"].get("nodeName")) if wanted else {},
        }

    def _deletion(self, cluster: "Cluster", known: Known, namespace: str, deleted: bool) -> Deletion:
        nodes_s, objects_s, late = self.limits.nodes_s, self.limits.objects_s, self.limits.late
        subject = {"name": self.rayservice["name"], "uid": known["uid"], "clusters": known["clusters"]}
        return Deletion(
            cluster=self.reference,
            namespace=namespace,
            rayservice={**subject, "trial": self.trial_label},
            pods=known["pods"],
            nodes=None if nodes_s is None else known["nodes"],
            deleted=deleted,
            started_at=cluster.clock().isoformat(),
            timeout_s=objects_s if nodes_s is None else nodes_s,
            objects_s=objects_s,
            late=late.of(known["unplaced"]) if late else None,
        )


def check_gone(event: Mapping[str, Any], rayservice: Mapping[str, Any]) -> None:
    """Raise NotDeletedError unless the wait saw everything of a RayService to be gone.

    `event`: the outcome of `PodsGoneWait`. `rayservice`: {name, namespace}.
    """
    # A triggerer of an earlier version looked for pods only.
    if event.get("gone", event.get("pods_gone")):
        return
    name = f"{rayservice.get('namespace') or 'default'}/{rayservice['name']}"
    raise NotDeletedError(
        f"RayService {name} was not deleted within {event['waited_s']:.0f} s, and what is left may cost money: "
        f"{event.get('why') or 'its pods'}. Repair what it waits for, then clear this task: it goes on until all of it "
        "is gone."
    )


def cluster_reference(cluster: Mapping[str, Any] | str) -> dict[str, Any]:
    """Return a cluster's reference as a dict, given as one or as a connection id."""
    return {"conn_id": cluster} if isinstance(cluster, str) else dict(cluster)


async def _nodes_of(cluster: "Cluster", pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    named = sorted({pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")})
    found = [node for name in named if (node := await cluster.get("nodes", name))]
    return {node["metadata"]["name"]: node["metadata"]["uid"] for node in found}


def _uids(objects: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {obj["metadata"]["name"]: obj["metadata"]["uid"] for obj in objects}
