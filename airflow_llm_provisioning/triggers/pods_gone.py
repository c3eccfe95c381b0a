"""The wait after a delete: until the grace period of the pods ends and the autoscaler removes the nodes."""

from datetime import datetime
from typing import Any

from airflow_llm_provisioning.triggers.base import Wait
from airflow_llm_provisioning.triggers.deadline import Deadline
from airflow_llm_provisioning.triggers.late_nodes import late_nodes


class PodsGoneWait(Wait):
    """Waits until the named pods, and the nodes if any are named, no longer exist.

    :param cluster: the cluster's reference.
    :param pods: name -> uid. :param nodes: name -> uid; None: nodes are not waited for.
    :param started_at: ISO instant in the cluster's clock; `timeout_s` counts from there, also after a restart.
    :param late: nodes that may still appear, in the format of `late_nodes`; None: no such nodes.
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
        late: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            cluster=cluster,
            namespace=namespace,
            pods=pods,
            nodes=nodes,
            deleted=deleted,
            started_at=started_at,
            timeout_s=timeout_s,
            late=late,
        )
        self.cluster = cluster
        self.namespace = namespace
        self.pods = pods
        self.nodes = nodes
        self.deleted = deleted
        self.started_at = datetime.fromisoformat(started_at)
        self.timeout_s = timeout_s
        self.late = late

    async def outcome(self) -> dict[str, Any]:
        """Return {deleted, pods_gone, nodes_gone, waited_s}, and `late` if nodes might still appear."""
        from airflow_llm_provisioning.connections import open_cluster

        async with open_cluster(self.cluster) as cluster:
            deadline = Deadline(cluster, self.started_at, self.timeout_s)
            outcome: dict[str, Any] = {
                "deleted": self.deleted,
                "pods_gone": await deadline.gone("pods", self.pods, self.namespace),
                "nodes_gone": None if self.nodes is None else await deadline.gone("nodes", self.nodes),
            }
            if self.late is not None:
                outcome["late"] = await late_nodes(cluster, self.late, self.nodes or (), deadline)
            return outcome | {"waited_s": round(deadline.waited_s(), 3)}
