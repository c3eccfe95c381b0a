"""The wait after a delete: objects vanish at once, pods when their grace has ended, nodes when their autoscaler lets
go.
"""

import asyncio
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.triggers.base import Wait


class PodsGoneWait(Wait):
    """Waits until the named pods, and the nodes if any are named, no longer exist.

    :param cluster: the cluster's reference.
    :param pods: name -> uid. :param nodes: name -> uid; None: nodes are not waited for.
    :param started_at: ISO instant in the cluster's clock; `timeout_s` counts from there, also after a restart.
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
        carry: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            cluster=cluster,
            namespace=namespace,
            pods=pods,
            nodes=nodes,
            deleted=deleted,
            started_at=started_at,
            timeout_s=timeout_s,
            carry=carry,
        )
        self.cluster = cluster
        self.namespace = namespace
        self.pods = pods
        self.nodes = nodes
        self.deleted = deleted
        self.started_at = datetime.fromisoformat(started_at)
        self.timeout_s = timeout_s
        self.carry = carry

    async def outcome(self) -> dict[str, Any]:
        """Return {deleted, pods_gone, nodes_gone, waited_s}, and `carry` where one was given."""
        from airflow_llm_provisioning.connections import open_cluster

        async with open_cluster(self.cluster) as cluster:

            def left_s() -> float:
                return max(0.0, self.timeout_s - (cluster.clock() - self.started_at).total_seconds())

            async def gone(resource: str, named: dict[str, str], namespace: str | None) -> bool:
                waits = (
                    cluster.wait_gone(resource, name, namespace, uid=uid, timeout_s=left_s())
                    for name, uid in named.items()
                )
                return all(await asyncio.gather(*waits))

            pods_gone = await gone("pods", self.pods, self.namespace)
            nodes_gone = None if self.nodes is None else await gone("nodes", self.nodes, None)
            waited_s = (cluster.clock() - self.started_at).total_seconds()
        outcome: dict[str, Any] = {
            "deleted": self.deleted,
            "pods_gone": pods_gone,
            "nodes_gone": nodes_gone,
            "waited_s": round(waited_s, 3),
        }
        return outcome if self.carry is None else outcome | {"carry": self.carry}
