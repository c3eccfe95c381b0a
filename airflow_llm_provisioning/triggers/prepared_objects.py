"""The wait for prepared objects: until each of them is ready, or one says that it never will be; and until the nodes
that came for its Jobs are gone, because a trial that met one would not start cold.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.capacity.words import as_no_capacity
from airflow_llm_provisioning.core.fields import dig, text
from airflow_llm_provisioning.core.prepared_objects import facts_of, failed, not_ready
from airflow_llm_provisioning.exceptions import ClusterError, ForbiddenError, NoCapacityError
from airflow_llm_provisioning.triggers.base import Wait
from airflow_llm_provisioning.triggers.deadline import Deadline

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.blockers import SinglePod
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

log = logging.getLogger(__name__)

POLL_S: Final = 5.0
# Of a Job's log, which tells what it made in its last lines.
LOG_BYTES: Final = 1 << 20


class ObjectsReadyWait(Wait):
    """Waits until prepared objects are ready.

    :param objects: [{apiVersion, kind, name, namespace, uid}]. :param ready: kind -> condition, as `PreparedObjects`.
    :param pods: label selector of their pods. :param reused: whether all of them were there before.
    :param earlier: objects of an earlier content whose deletion was requested, like `objects`; they are waited for too.
    :param started_at: ISO instant in the cluster's clock; `timeout_s` counts from there, also after a restart.
    :param nodes_gone_s: how long the new nodes of finished Jobs are waited for, in the cluster's clock.
    """

    def __init__(
        self,
        *,
        cluster: dict[str, Any],
        namespace: str,
        objects: list[dict[str, Any]],
        ready: dict[str, str],
        pods: str,
        reused: bool,
        started_at: str,
        timeout_s: float,
        nodes_gone_s: float = 0.0,
        earlier: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(
            cluster=cluster,
            namespace=namespace,
            objects=objects,
            ready=ready,
            pods=pods,
            reused=reused,
            started_at=started_at,
            timeout_s=timeout_s,
            nodes_gone_s=nodes_gone_s,
            earlier=earlier or [],
        )
        self.cluster = cluster
        self.objects = objects
        self.ready = ready
        self.pods = pods
        self.reused = reused
        self.started_at = datetime.fromisoformat(started_at)
        self.timeout_s = timeout_s
        self.nodes_gone_s = nodes_gone_s
        self.earlier = earlier or []
        self._watched: dict[str, SinglePod] = {}
        self._result: dict[str, Any] = {}

    async def outcome(self) -> dict[str, Any]:
        """Return {objects, ready, nodes, job_nodes, unseen, facts, seconds, reused, removed, ended_at}; an outage of
        the API server is outlasted. `job_nodes`: on which Jobs ran, each with `held_s`, how long it was paid for them.
        `unseen`: what was paid for too and was gone before it could be looked at, in words. `removed`: those of
        `earlier` that were seen to be gone.
        """
        from airflow_llm_provisioning.connections import open_cluster
        from airflow_llm_provisioning.gateways.kubernetes.outage import through_outages

        limit_s = self.timeout_s + self.nodes_gone_s
        return await through_outages(lambda: open_cluster(self.cluster), self._ended, limit_s=limit_s)

    async def _ended(self, cluster: "Cluster") -> dict[str, Any]:
        # Repeated after an outage: what was made is known by then, and its Jobs' nodes may be gone.
        self._result = self._result or await self._ready(cluster)
        await self._nodes_gone(cluster, self._result)
        return {**self._result, "ended_at": cluster.clock().isoformat()}

    async def _nodes_gone(self, cluster: "Cluster", result: Mapping[str, Any]) -> None:
        """Wait until the nodes that came for Jobs are gone, and note how long each of them ran."""
        from airflow_llm_provisioning.core.progress import Standing

        if not self.nodes_gone_s:
            return
        kept, standing = {node["name"] for node in result["nodes"]}, Standing(self.started_at)
        came = {node["name"]: node for node in result["job_nodes"] if self._came(node) and node["name"] not in kept}

        def tell(names: list[str]) -> None:
            if line := standing.due(cluster.clock(), f"waits for node {', '.join(names)} to go"):
                log.info("%s", line)

        leaving = Deadline(cluster, cluster.clock(), self.nodes_gone_s)
        await leaving.gone("nodes", {name: node["uid"] for name, node in came.items()}, told=tell)
        for name, node in came.items():
            until = leaving.gone_at.get(name, cluster.clock())
            node["held_s"] = round((until - datetime.fromisoformat(node["created_at"])).total_seconds(), 3)

    def _came(self, node: Mapping[str, Any]) -> bool:
        """Return whether a node was made after the preparation began."""
        created_at = text(node.get("created_at"))
        return bool(created_at) and datetime.fromisoformat(created_at) >= self.started_at

    async def _ready(self, cluster: "Cluster") -> dict[str, Any]:
        from airflow_llm_provisioning.core.progress import Standing

        deadline, standing = Deadline(cluster, self.started_at, self.timeout_s), Standing(self.started_at)
        made: dict[str, Any] | None = None
        while True:
            waits, pods, left = await self._waits_for(cluster), await self._pods(cluster), await self._left(cluster)
            if not waits:
                made = made or await self._made(cluster, pods, deadline.waited_s())
                if not left or deadline.left_s() <= 0:
                    return made | {"removed": self._removed(left)}
            told = self._told([*waits, *map(_leftover, left)], pods, cluster.clock())
            if ending := self._ending(pods, cluster.clock()):
                raise ClusterError(f"What was prepared on {cluster.name} will not be ready: {ending} {told}")
            if deadline.left_s() <= 0:
                if refused := as_no_capacity(told):
                    raise NoCapacityError(refused)
                raise ClusterError(
                    f"What was prepared on {cluster.name} is not ready after {self.timeout_s:.0f} s: {told}"
                )
            if line := standing.due(cluster.clock(), told.rstrip(". ")):
                log.info("%s", line)
            await asyncio.sleep(max(0.2, cluster.real_seconds(POLL_S)))

    async def _waits_for(self, cluster: "Cluster") -> list[str]:
        """Return what each object that is not ready waits for. Raises ClusterError for one that never will be."""
        from airflow_llm_provisioning.gateways.prepared_objects import identity

        waits = []
        for item in self.objects:
            found, named = await cluster.find(identity(item)), f"{item['kind']} {item['name']}"
            if found is None or dig(found, "metadata", "uid") != item["uid"]:
                raise ClusterError(
                    f"{named} on {cluster.name} was deleted by something else before it was ready. Clear the task "
                    "that prepares it: it applies the object again."
                )
            obj = {"kind": item["kind"], **found}
            if why := failed(obj):
                raise ClusterError(
                    f"{named} on {cluster.name} failed: {why}. {await self._last_words(cluster)}".strip()
                )
            if waiting := not_ready(obj, self.ready):
                waits.append(f"{named}: {waiting}")
        return waits

    async def _left(self, cluster: "Cluster") -> list[dict[str, Any]]:
        """Return which objects of an earlier content are still there, with what keeps them."""
        from airflow_llm_provisioning.gateways.prepared_objects import identity

        left = []
        for item in self.earlier:
            found = await cluster.find(identity(item))
            if found is not None and dig(found, "metadata", "uid") == item["uid"]:
                left.append({**item, "finalizers": dig(found, "metadata", "finalizers") or []})
        return left

    async def _pods(self, cluster: "Cluster") -> list[Mapping[str, Any]]:
        namespaces = dict.fromkeys(item["namespace"] for item in self.objects if item.get("namespace"))
        return [pod for name in namespaces for pod in (await cluster.list("pods", name, labels=self.pods))[0]]

    def _told(self, waits: Sequence[str], pods: Sequence[Mapping[str, Any]], now: datetime) -> str:
        """Return what is waited for, with what blocks each pod, in the cluster's words."""
        from airflow_llm_provisioning.core.blockers import SinglePod

        told = []
        for pod in pods:
            name = text(dig(pod, "metadata", "name"))
            watched = self._watched.setdefault(text(dig(pod, "metadata", "uid")), SinglePod())
            watched.feed(pod, now)
            if blocked := watched.told(now):
                told.append(f"pod {name}: {blocked}")
        return "; ".join((*waits, *dict.fromkeys(told)))

    def _ending(self, pods: Sequence[Mapping[str, Any]], now: datetime) -> str:
        """Return why it is no use to wait any longer, because a node may be paid for meanwhile; empty while it is."""
        from airflow_llm_provisioning.core.secrets import redacted_text

        there = {text(dig(pod, "metadata", "uid")) for pod in pods}
        found = [one for uid, watched in self._watched.items() if uid in there and (one := watched.ending(now))]
        return redacted_text(found[0].told(now)) if found else ""

    def _removed(self, left: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return which objects of an earlier content are gone; those that are not are told."""
        for item in left:
            log.warning("%s. The ledger keeps it until the reaper sees it gone.", _leftover(item))
        there = {item["uid"] for item in left}
        return [item for item in self.earlier if item["uid"] not in there]

    async def _made(self, cluster: "Cluster", pods: Sequence[Mapping[str, Any]], waited_s: float) -> dict[str, Any]:
        from airflow_llm_provisioning.gateways.prepared_objects import nodes_of_pods, unseen_nodes

        of_jobs = [pod for pod in pods if _owner_kind(pod) == "Job"]
        lasting = [pod for pod in pods if _owner_kind(pod) != "Job"]
        logs = [await self._text_of(cluster, pod) for pod in of_jobs if dig(pod, "status", "phase") == "Succeeded"]
        facts: dict[str, Any] = {}
        for found in logs:
            facts |= facts_of(found)
        nodes, job_nodes = await nodes_of_pods(cluster, lasting), await nodes_of_pods(cluster, of_jobs)
        gone = [f"node {name}" for name in unseen_nodes(pods, [*nodes, *job_nodes])]
        return {
            "objects": self.objects,
            "ready": self.ready,
            "nodes": nodes,
            "job_nodes": job_nodes,
            "unseen": [*gone, *await self._lost_pods(cluster, of_jobs)],
            "facts": facts,
            "seconds": round(waited_s, 3),
            "reused": self.reused,
        }

    async def _lost_pods(self, cluster: "Cluster", pods: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return for each Job whose pods are not all there how many are gone: their nodes are not known."""
        from airflow_llm_provisioning.gateways.prepared_objects import identity, lost_pods

        told = []
        for item in (item for item in self.objects if item["kind"] == "Job"):
            job = await cluster.find(identity(item)) or {"metadata": {"uid": item["uid"]}}
            if lost := lost_pods(job, pods):
                told.append(f"{lost} {'pod' if lost == 1 else 'pods'} of Job {item['name']}")
        return told

    async def _last_words(self, cluster: "Cluster") -> str:
        """Return the end of a failed Job's log, without secrets; empty if there is none or it may not be read."""
        from airflow_llm_provisioning.core.secrets import redacted_text

        pods = [pod for pod in await self._pods(cluster) if dig(pod, "status", "phase") == "Failed"]
        lines = [line for pod in pods[:1] for line in (await self._text_of(cluster, pod)).strip().splitlines()[-3:]]
        return f"Its last words: {redacted_text(' / '.join(lines))[:500]}" if lines else ""

    async def _text_of(self, cluster: "Cluster", pod: Mapping[str, Any]) -> str:
        metadata = pod["metadata"]
        try:
            return await cluster.logs(metadata["name"], metadata["namespace"], limit_bytes=LOG_BYTES) or ""
        except ForbiddenError:
            return ""


def _leftover(item: Mapping[str, Any]) -> str:
    held = f" (finalizers {', '.join(item['finalizers'])})" if item["finalizers"] else ""
    return f"{item['kind']} {item['name']} of an earlier preparation: it is being deleted and is still there{held}"


def _owner_kind(pod: Mapping[str, Any]) -> str:
    owners = dig(pod, "metadata", "ownerReferences") or [{}]
    return text(dig(owners[0], "kind"))
