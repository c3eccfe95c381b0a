"""A changed RayService: a second cluster beside the one that serves, the switch, and the end of the old one.

Order, reasons and texts are those of the recording `llm-twice` (KubeRay 1.7.0).
"""

import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from test_any_workload import a_deployment, a_group, a_service, an_application, rig
from trial_rig import Seen, TrialRig, in_virtual_time

Object = dict[str, Any]
RECORDING = Path(__file__).parents[2] / "recordings" / "2026-11-29" / "llm-twice.jsonl.gz"


def the_manifest(**env: str) -> Object:
    """One worker that serves; `env`: variables of the worker's container."""
    group = a_group("gpu", gpus=1, name="w")
    group["template"]["spec"]["containers"][0]["env"] = [{"name": key, "value": text} for key, text in env.items()]
    application = an_application(deployments=a_deployment(num_cpus=0.1, num_gpus=1))
    return a_service(application, group, head=a_group("cpu", **{"num-cpus": "0"}))


def change(cluster: TrialRig, manifest: Object) -> None:
    """Put another spec over the RayService's, as a client does."""

    def put(item: Object) -> None:
        item["spec"] = copy.deepcopy(manifest["spec"])

    cluster.store.mutate("rayservices", "wild", "serving", put, manager="kubectl")


def active(cluster: TrialRig) -> str:
    return str(cluster.service()["status"]["activeServiceStatus"].get("rayClusterName", ""))


def pending(cluster: TrialRig) -> str:
    return str(cluster.service()["status"]["pendingServiceStatus"].get("rayClusterName", ""))


def story(services: Iterator[Object]) -> list[tuple[Any, ...]]:
    """Return what the statuses say, in order: which clusters, which conditions, whether apps are shown."""
    told: list[tuple[Any, ...]] = []
    for service in services:
        status = service.get("status") or {}
        if not status:
            continue
        rows = {row["type"]: (row["status"], row["reason"]) for row in status["conditions"]}
        parts = [status["activeServiceStatus"], status["pendingServiceStatus"]]
        current = (
            service["metadata"]["generation"] - status["observedGeneration"],
            rows["Ready"],
            rows["UpgradeInProgress"],
            *(bool(part.get("rayClusterName")) for part in parts),
            *(bool(part.get("applicationStatuses")) for part in parts),
        )
        if not told or told[-1] != current:
            told.append(current)
    return told


def recorded(resource: str) -> Iterator[Object]:
    with gzip.open(RECORDING, "rt") as lines:
        for line in map(json.loads, lines):
            if line["resource"] == resource and not line["object"]["metadata"].get("deletionTimestamp"):
                yield line["object"]


def seen(cluster: TrialRig, resource: str) -> Iterator[Object]:
    return (item.object for item in cluster.trace if item.resource == resource)


async def upgraded(cluster: TrialRig) -> None:
    """Apply, wait for Ready, apply the same again, change the worker, and wait for the switch."""
    cluster.join("gpu-node-2", "gpu", gpus=1)
    cluster.apply(the_manifest(A="1"))
    await cluster.until(cluster.ready)
    change(cluster, the_manifest(A="1"))
    await cluster.clock.sleep(3.0)
    change(cluster, the_manifest(A="2"))
    await cluster.clock.sleep(1.0)
    await cluster.until(lambda: not pending(cluster))


@in_virtual_time
async def test_an_upgrade_goes_through_the_recorded_statuses() -> None:
    """Ready stays True all the time: only observedGeneration, UpgradeInProgress and the active cluster tell of it."""
    async with rig() as cluster:
        await upgraded(cluster)
        assert story(seen(cluster, "rayservices")) == story(recorded("rayservices"))


@in_virtual_time
async def test_an_upgrade_switches_the_services_and_deletes_the_old_cluster_after_its_delay() -> None:
    """The serve Service keeps its address and leads to the new cluster; the old one lives for its delay (60 s)."""
    async with rig() as cluster:
        cluster.join("gpu-node-2", "gpu", gpus=1)
        cluster.apply(the_manifest(A="1"))
        await cluster.until(cluster.ready)
        old, before = active(cluster), cluster.store.get("services", "wild-serve-svc", "serving")
        change(cluster, the_manifest(A="2"))
        await cluster.until(lambda: bool(pending(cluster)))
        await cluster.until(lambda: not pending(cluster))
        after = cluster.store.get("services", "wild-serve-svc", "serving")
        assert before is not None
        assert after is not None
        assert before["spec"]["selector"]["ray.io/cluster"] == old
        assert after["spec"]["selector"]["ray.io/cluster"] == active(cluster) != old
        assert after["spec"]["clusterIP"] == before["spec"]["clusterIP"]
        await cluster.clock.sleep(50.0)
        assert cluster.store.peek("rayclusters", old, "serving") is not None
        await cluster.until(lambda: cluster.store.peek("rayclusters", old, "serving") is None, 20.0)
        reasons = [item["reason"] for item in seen(cluster, "events") if item["involvedObject"]["kind"] == "RayService"]
        assert [reason for reason in reasons if reason in ("UpdatedService", "DeletedRayCluster")][
            -1
        ] == "DeletedRayCluster"
        assert "UpdatedService" in reasons


@in_virtual_time
async def test_a_changed_replica_count_or_serve_configuration_makes_no_new_cluster() -> None:
    """Replicas have no part in the hash; another Serve configuration goes to the cluster that serves."""
    async with rig() as cluster:
        cluster.apply(the_manifest())
        await cluster.until(cluster.ready)
        first = active(cluster)
        manifest = the_manifest()
        manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplicas"] = 7
        manifest["spec"]["serveConfigV2"] = manifest["spec"]["serveConfigV2"].replace("num_cpus: 0.1", "num_cpus: 0.2")
        change(cluster, manifest)
        await cluster.clock.sleep(30.0)
        assert (active(cluster), pending(cluster)) == (first, "")
        sent = [item for item in cluster.trace if _reason(item) == "UpdatedServeApplications"]
        assert len(sent) == 2


@in_virtual_time
async def test_an_upgrade_without_room_waits_beside_the_service_that_goes_on() -> None:
    """With one GPU node the new worker stays Pending, and the old cluster serves: Ready, never switched."""
    async with rig() as cluster:
        cluster.apply(the_manifest(A="1"))
        await cluster.until(cluster.ready)
        old = active(cluster)
        change(cluster, the_manifest(A="2"))
        await cluster.clock.sleep(300.0)
        assert active(cluster) == old
        assert pending(cluster)
        assert cluster.ready()
        assert cluster.condition("UpgradeInProgress")["status"] == "True"


@in_virtual_time
async def test_the_strategy_none_makes_no_new_cluster() -> None:
    """UpgradeStrategy None: a changed spec is seen (observedGeneration) and does nothing."""
    async with rig() as cluster:
        cluster.apply(the_manifest(A="1"))
        await cluster.until(cluster.ready)
        first = active(cluster)
        manifest = the_manifest(A="2")
        manifest["spec"]["upgradeStrategy"] = {"type": "None"}
        change(cluster, manifest)
        await cluster.clock.sleep(60.0)
        service = cluster.service()
        assert (active(cluster), pending(cluster)) == (first, "")
        assert service["status"]["observedGeneration"] == service["metadata"]["generation"]


@in_virtual_time
async def test_a_group_added_at_the_end_changes_the_cluster_in_place() -> None:
    """KubeRay updates the RayCluster where groups were only added."""
    async with rig() as cluster:
        cluster.join("gpu-node-2", "gpu", gpus=1)
        cluster.apply(the_manifest())
        await cluster.until(cluster.ready)
        first = active(cluster)
        manifest = the_manifest()
        manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"].append(a_group("gpu", gpus=1, name="more"))
        change(cluster, manifest)
        await cluster.until(lambda: len(cluster.store.list("pods", "serving", labels={"ray.io/group": "more"})) == 1)
        assert (active(cluster), pending(cluster)) == (first, "")


@in_virtual_time
async def test_a_spec_that_changes_again_during_an_upgrade_gets_another_cluster() -> None:
    """The pending cluster is what a changed spec is compared with; the one that is left goes after its delay."""
    async with rig() as cluster:
        for number in (2, 3):
            cluster.join(f"gpu-node-{number}", "gpu", gpus=1)
        cluster.apply(the_manifest(A="1"))
        await cluster.until(cluster.ready)
        old = active(cluster)
        change(cluster, the_manifest(A="2"))
        await cluster.until(lambda: bool(pending(cluster)))
        left = pending(cluster)
        await cluster.clock.sleep(5.0)
        change(cluster, the_manifest(A="3"))
        await cluster.until(lambda: pending(cluster) not in ("", left))
        assert active(cluster) == old
        await cluster.until(lambda: cluster.store.peek("rayclusters", left, "serving") is None)
        await cluster.until(lambda: active(cluster) not in (old, left))


def _reason(item: Seen) -> str:
    return str(item.object.get("reason", "")) if item.resource == "events" else ""
