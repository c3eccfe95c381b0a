"""When a changed RayService makes a new RayCluster, changes the one it has, or neither (KubeRay 1.7.0). Pure.

controllers/ray/rayservice_controller.go, shouldPrepareNewCluster and shouldUpdateCluster: what counts is the hash of
the cluster's spec, in which the replicas of a group have no part. A change of the Serve configuration alone is sent to
the running cluster.
"""

from typing import Any, Final, Literal

from llm_provisioning_simulator.app.clusters import HASH, NUM_GROUPS, spec_hash

Object = dict[str, Any]
Change = Literal["none", "new cluster", "update"]

DELETION_DELAY_FIELD: Final = "rayClusterDeletionDelaySeconds"


def change_of(service: Object, cluster: Object) -> Change:
    """Return what a RayService asks of the cluster that it compares itself with: the pending one, else the active."""
    wanted = service["spec"]["rayClusterConfig"]
    annotations = cluster["metadata"].get("annotations") or {}
    held = annotations.get(HASH)
    if held == spec_hash(wanted):
        return "none"
    count = int(annotations.get(NUM_GROUPS, 0))
    groups = wanted.get("workerGroupSpecs") or []
    if len(groups) >= count and held == spec_hash({**wanted, "workerGroupSpecs": groups[:count]}):
        # Groups that were added at the end do not need another cluster.
        return "update"
    strategy = (service["spec"].get("upgradeStrategy") or {}).get("type")
    return "none" if strategy == "None" else "new cluster"
