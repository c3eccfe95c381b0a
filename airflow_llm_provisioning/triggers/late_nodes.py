"""Nodes that appear after their pods were deleted, because a node autoscaler does not cancel its request.

No pod was ever on such a node. The autoscaler's label identifies it, and its age shows that it was created during the
trial. Nothing is deleted here: the autoscaler removes its empty nodes.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.core.late_nodes import AwaitedNodes, LateNodes
from airflow_llm_provisioning.triggers.deadline import Deadline

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

LOOK_EVERY_S = 5.0


async def late_nodes(
    cluster: "Cluster",
    awaited: AwaitedNodes,
    known: Collection[str],
    deadline: Deadline,
    told: Callable[[str], None] = lambda _: None,
) -> LateNodes:
    """Wait for the nodes that may still appear, and for the end of those that appeared.

    `known`: nodes that another wait covers. Without a selector nothing is known, and that is said at once. `told` is
    called with what is waited for, in a sentence, every few seconds.
    """
    if awaited.selector is None:
        return LateNodes(awaited.pods, 0.0, None, None)
    coming = Deadline(cluster, deadline.started_at, min(awaited.limit_s, deadline.limit_s))
    since = awaited.since.replace(microsecond=0)
    came: dict[str, dict[str, Any]] = {}
    while True:
        listed, _ = await cluster.list("nodes", labels=awaited.selector)
        came |= {
            node["metadata"]["name"]: node["metadata"]
            for node in listed
            if node["metadata"]["name"] not in known and _made_at(node["metadata"]) >= since
        }
        # At most one node per pod, so none is missing then.
        if len(came) >= len(awaited.pods) or coming.left_s() <= 0:
            break
        told(f"waits for nodes that may still come for {len(awaited.pods)} pods without one; {len(came)} came")
        await asyncio.sleep(max(0.05, cluster.real_seconds(min(LOOK_EVERY_S, coming.left_s()))))
    uids: dict[str, str | None] = {name: metadata["uid"] for name, metadata in came.items()}
    gone = await deadline.gone("nodes", uids, told=lambda left: told(f"waits for late nodes to go: {', '.join(left)}"))
    made = {
        name: round((_made_at(metadata) - deadline.started_at).total_seconds(), 3) for name, metadata in came.items()
    }
    return LateNodes(awaited.pods, coming.limit_s, made, gone)


def _made_at(metadata: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(metadata["creationTimestamp"])
