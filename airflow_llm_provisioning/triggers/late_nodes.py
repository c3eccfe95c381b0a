"""Nodes that come after their pods were deleted: a node autoscaler was asked and does not take the request back.

No pod was ever on such a node, so only the autoscaler's own mark tells that it is one of its nodes, and its age that it
was made during the trial. Nothing is deleted here: whoever made a node takes it away when it stays empty.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.triggers.gone import Patience

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes import Cluster

LOOK_EVERY_S = 5.0


async def late_nodes(
    cluster: "Cluster", late: Mapping[str, Any], known: Collection[str], patience: Patience
) -> dict[str, Any]:
    """Wait for the nodes that may still come, and for those that came to go again.

    `late`: {selector: of the autoscaler's nodes, or None where no label tells them; since: ISO instant before which
    none was asked for; pods: names of the pods that had no node; limit_s: how long after the delete a node may still
    come}. `known`: nodes that are waited for anyway.

    Returns {pods, limit_s, nodes: {name: seconds after the delete when it was made, negative before}, gone}; `gone`:
    whether all of them were gone when `patience` ended. Without a selector nobody can tell: both are None, at once.
    """
    if late["selector"] is None:
        return {"pods": list(late["pods"]), "limit_s": 0.0, "nodes": None, "gone": None}
    coming = Patience(cluster, patience.started_at, min(float(late["limit_s"]), patience.limit_s))
    since = datetime.fromisoformat(late["since"]).replace(microsecond=0)
    came: dict[str, dict[str, Any]] = {}
    while True:
        listed, _ = await cluster.list("nodes", labels=late["selector"])
        came |= {
            node["metadata"]["name"]: node["metadata"]
            for node in listed
            if node["metadata"]["name"] not in known and _made_at(node["metadata"]) >= since
        }
        # One for each pod at most: then none is missing.
        if len(came) >= len(late["pods"]) or coming.left_s() <= 0:
            break
        await asyncio.sleep(max(0.05, cluster.real_seconds(min(LOOK_EVERY_S, coming.left_s()))))
    gone = await patience.gone("nodes", {name: metadata["uid"] for name, metadata in came.items()})
    return {
        "pods": list(late["pods"]),
        "limit_s": coming.limit_s,
        "nodes": {
            name: round((_made_at(metadata) - patience.started_at).total_seconds(), 3)
            for name, metadata in came.items()
        },
        "gone": gone,
    }


def _made_at(metadata: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(metadata["creationTimestamp"])
