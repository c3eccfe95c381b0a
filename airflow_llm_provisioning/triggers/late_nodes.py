"""Nodes that appear after their pods were deleted, because a node autoscaler does not cancel its request.

No pod was ever on such a node. The autoscaler's label identifies it, and its age shows that it was created during the
trial. Nothing is deleted here: the autoscaler removes its empty nodes.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.triggers.deadline import Deadline

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

LOOK_EVERY_S = 5.0


async def late_nodes(
    cluster: "Cluster", late: Mapping[str, Any], known: Collection[str], deadline: Deadline
) -> dict[str, Any]:
    """Wait for the nodes that may still appear, and for the end of those that appeared.

    `late`: {selector: of the autoscaler's nodes, or None if no label identifies them; since: ISO instant before which
    no node was requested; pods: names of the pods without a node; limit_s: how long after the delete a node may still
    appear}. `known`: nodes that another wait covers.

    Returns {pods, limit_s, nodes: {name: seconds from the delete to its creation, negative before it}, gone}; `gone`:
    whether all of them were gone at the end of `deadline`. Without a selector `nodes` and `gone` are None at once,
    because they are unknown.
    """
    if late["selector"] is None:
        return {"pods": list(late["pods"]), "limit_s": 0.0, "nodes": None, "gone": None}
    coming = Deadline(cluster, deadline.started_at, min(float(late["limit_s"]), deadline.limit_s))
    since = datetime.fromisoformat(late["since"]).replace(microsecond=0)
    came: dict[str, dict[str, Any]] = {}
    while True:
        listed, _ = await cluster.list("nodes", labels=late["selector"])
        came |= {
            node["metadata"]["name"]: node["metadata"]
            for node in listed
            if node["metadata"]["name"] not in known and _made_at(node["metadata"]) >= since
        }
        # At most one node per pod, so none is missing then.
        if len(came) >= len(late["pods"]) or coming.left_s() <= 0:
            break
        await asyncio.sleep(max(0.05, cluster.real_seconds(min(LOOK_EVERY_S, coming.left_s()))))
    gone = await deadline.gone("nodes", {name: metadata["uid"] for name, metadata in came.items()})
    return {
        "pods": list(late["pods"]),
        "limit_s": coming.limit_s,
        "nodes": {
            name: round((_made_at(metadata) - deadline.started_at).total_seconds(), 3)
            for name, metadata in came.items()
        },
        "gone": gone,
    }


def _made_at(metadata: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(metadata["creationTimestamp"])
