"""The wait after a delete: until the RayService and all that belonged to it is seen to be gone, and then its nodes."""

import asyncio
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.core.late_nodes import AwaitedNodes
from airflow_llm_provisioning.core.remains import Subject, explained, listed, named
from airflow_llm_provisioning.triggers.base import Wait
from airflow_llm_provisioning.triggers.deadline import Deadline
from airflow_llm_provisioning.triggers.late_nodes import late_nodes

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.progress import Standing
    from airflow_llm_provisioning.gateways.kubernetes import Cluster
    from airflow_llm_provisioning.triggers.progress_row import ProgressRow

log = logging.getLogger(__name__)

# Cluster seconds between two looks: a look is a handful of requests.
LOOK_EVERY_S: Final = 2.0


class PodsGoneWait(Wait):
    """Waits until no object of a RayService exists, and until the nodes if any are named no longer exist.

    An outage of the API server is outlasted until the time limit.

    :param cluster: the cluster's reference.
    :param rayservice: {name, uid, clusters, trial} as in `core.remains.Subject`; None: only `pods` are looked for.
    :param pods: name -> uid. :param nodes: name -> uid; None: nodes are not waited for.
    :param started_at: ISO instant in the cluster's clock; `timeout_s` counts from there, also after a restart.
    :param objects_s: time limit of everything but the nodes; None: `timeout_s`.
    :param late: nodes that may still appear (`core.late_nodes.AwaitedNodes` as a dict); None: no such nodes.
    :param trial_id: of the trial that is deleted; with `results_conn_id` readers of the store see how far that is.
    """

    def __init__(
        self,
        *,
        cluster: dict[str, Any],
        namespace: str,
        pods: dict[str, str],
        nodes: dict[str, str] | None,
        deleted: bool,
        started_at: str,
        timeout_s: float,
        rayservice: dict[str, Any] | None = None,
        objects_s: float | None = None,
        late: dict[str, Any] | None = None,
        trial_id: str | None = None,
        results_conn_id: str | None = None,
    ) -> None:
        super().__init__(
            cluster=cluster,
            namespace=namespace,
            pods=pods,
            nodes=nodes,
            deleted=deleted,
            started_at=started_at,
            timeout_s=timeout_s,
            rayservice=rayservice,
            objects_s=objects_s,
            late=late,
            trial_id=trial_id,
            results_conn_id=results_conn_id,
        )
        self.trial_id = trial_id
        self.results_conn_id = results_conn_id
        self.cluster = cluster
        self.subject = Subject(**{"name": "", **(rayservice or {}), "namespace": namespace, "pods": pods})
        self.nodes = nodes
        self.deleted = deleted
        self.started_at = datetime.fromisoformat(started_at)
        self.timeout_s = timeout_s
        self.objects_s = timeout_s if objects_s is None else objects_s
        self.late = AwaitedNodes.from_dict(late) if late is not None else None

    async def outcome(self) -> dict[str, Any]:
        """Return {deleted, gone, left, why, pods_gone, nodes_gone, nodes_gone_at, waited_s}, and `late` if nodes might
        still appear.

        `nodes_gone_at`: node -> when it was seen to be gone, ISO in the cluster's clock. `nodes_why`: which nodes are
        still there and what keeps them, where they are not gone at the limit. `gone`: whether everything but
        the nodes was seen to be gone. `left`: kind and name of what was not; `why`: the same with its reasons, None
        where nothing is left.
        """
        from airflow_llm_provisioning.connections import open_cluster
        from airflow_llm_provisioning.core.progress import Standing
        from airflow_llm_provisioning.gateways.kubernetes.outage import through_outages
        from airflow_llm_provisioning.triggers.progress_row import open_progress_row

        limit_s = max(self.timeout_s, self.objects_s)
        standing = Standing(self.started_at)
        async with open_progress_row(self.results_conn_id, self.trial_id, "delete") as row:
            return await through_outages(
                lambda: open_cluster(self.cluster),
                lambda cluster: self._watched(cluster, _Telling(cluster, standing, row)),
                limit_s=limit_s,
            )

    async def _watched(self, cluster: "Cluster", telling: "_Telling") -> dict[str, Any]:
        from airflow_llm_provisioning.gateways.remains import why_kept

        deadline = Deadline(cluster, self.started_at, self.timeout_s)
        left = await self._left(cluster, telling)
        outcome: dict[str, Any] = {
            "deleted": self.deleted,
            "gone": not left,
            "left": named(left),
            "why": await _reasons(cluster, left) if left else None,
            "pods_gone": not any(obj.get("kind") == "Pod" for obj in left),
            "nodes_gone": None if self.nodes is None else not self.nodes,
        }
        # Nodes stay while pods are on them, so they are waited for only afterwards.
        if not left and self.nodes is not None:
            outcome["nodes_gone"] = await deadline.gone("nodes", self.nodes, told=telling.nodes)
            if not outcome["nodes_gone"]:
                there = {name: uid for name, uid in self.nodes.items() if name not in deadline.gone_at}
                outcome["nodes_why"] = await why_kept(cluster, there)
        if not left and self.late is not None:
            outcome["late"] = (await late_nodes(cluster, self.late, self.nodes or (), deadline, telling.tell)).as_dict()
        gone_at = {name: at.isoformat() for name, at in deadline.gone_at.items()}
        return outcome | {"nodes_gone_at": gone_at, "waited_s": round(deadline.waited_s(), 3)}

    async def _left(self, cluster: "Cluster", telling: "_Telling") -> list[dict[str, Any]]:
        """Look until nothing is left or the limit is reached; the first look comes before the clock."""
        from airflow_llm_provisioning.gateways.remains import remains_of

        objects = Deadline(cluster, self.started_at, self.objects_s)
        while left := await remains_of(cluster, self.subject):
            await telling.objects(left)
            if objects.left_s() <= 0:
                break
            await asyncio.sleep(max(0.05, cluster.real_seconds(min(LOOK_EVERY_S, objects.left_s()))))
        return left


class _Telling:
    """Tells how far a deletion is, in the task's log and to readers of the store."""

    def __init__(self, cluster: "Cluster", standing: "Standing", row: "ProgressRow") -> None:
        self._cluster, self._standing, self._row = cluster, standing, row

    async def objects(self, left: list[dict[str, Any]]) -> None:
        """Tell which objects are left; of those that stay for a minute, why."""
        names = named(left)
        state = f"waits for {len(names)} objects to go: {listed(names)}"
        line = self._standing.due(self._cluster.clock(), state)
        if line is not None:
            # The reasons cost requests, so they are asked for once a minute and only if nothing has changed.
            why = await _reasons(self._cluster, left) if self._standing.repeats else None
            self._tell(f"{line}{f'. Why: {why}' if why else ''}", "deletion", why)

    def nodes(self, left: list[str]) -> None:
        """Tell which nodes are left."""
        self.tell(f"waits for {len(left)} nodes to go: {listed(left)}")

    def tell(self, state: str) -> None:
        """Tell what is waited for, if it is due."""
        line = self._standing.due(self._cluster.clock(), state)
        if line is not None:
            self._tell(line, state, None)

    def _tell(self, line: str, phase: str, blocker: str | None) -> None:
        log.info("%s", line)
        self._row.tell(phase, blocker, self._standing.elapsed_s(self._cluster.clock()))


async def _reasons(cluster: "Cluster", left: list[dict[str, Any]]) -> str:
    from airflow_llm_provisioning.gateways.remains import surroundings_of

    return listed(explained(left, await surroundings_of(cluster, left)))
