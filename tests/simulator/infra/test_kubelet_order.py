"""The order of node and pod events and status writes, held against the recordings of a real kubelet."""

import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from infra_builders import Build, SmallCluster, a_pod

from llm_provisioning_simulator.kube.stamps import parse_stamp

Object = dict[str, Any]
Step = tuple[str, ...]

NODE_EVENTS = {
    "Starting",
    "NodeHasSufficientMemory",
    "NodeHasNoDiskPressure",
    "NodeHasSufficientPID",
    "NodeAllocatableEnforced",
    "NodeReady",
    "RegisteredNode",
}
POD_EVENTS = {"Scheduled", "Pulling", "Pulled", "Created", "Started"}


def recorded(path: Path) -> list[tuple[str, str, Object]]:
    """Return the watch lines of a recording as (type, resource, object)."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["type"], row["resource"], row["object"]) for row in rows if row.get("type") in ("ADDED", "MODIFIED")]


def simulated(cluster: SmallCluster) -> list[tuple[str, str, Object]]:
    return [(type_, resource, item) for _, type_, resource, item in cluster.history]


def pod_events(rows: Iterable[tuple[str, str, Object]], pod: str) -> list[Step]:
    """Return (reason, container, wording without numbers and names) of a pod's events up to its start."""
    return [
        (item["reason"], item["involvedObject"].get("fieldPath", ""), _wording(item["message"]))
        for type_, resource, item in rows
        if resource == "events"
        and type_ == "ADDED"
        and item["involvedObject"]["name"] == pod
        and item["reason"] in POD_EVENTS
    ]


def pod_statuses(rows: Iterable[tuple[str, str, Object]], pod: str) -> list[Step]:
    """Return every status a kubelet wrote: phase and the conditions that hold or fail, with their reasons."""
    found: list[Step] = []
    for _, resource, item in rows:
        if resource != "pods" or item["metadata"]["name"] != pod or "startTime" not in item["status"]:
            continue
        if "deletionTimestamp" in item["metadata"]:
            break
        conditions = [
            f"{row['type']}={row['status']}/{row.get('reason', '')}/{row.get('message', '')}"
            for row in item["status"]["conditions"]
        ]
        states = [
            f"{row['name']}:{'/'.join(row['state'])}:{row['ready']}:{row['started']}"
            for part in ("initContainerStatuses", "containerStatuses")
            for row in item["status"].get(part) or ()
        ]
        step = (item["status"]["phase"], *conditions, *states)
        if not found or found[-1] != step:
            found.append(step)
    return found


def node_steps(rows: Iterable[tuple[str, str, Object]], node: str) -> list[str]:
    """Return a node's first events and what its object becomes, in order."""
    steps: list[str] = []
    known: set[str] = set()
    for type_, resource, item in rows:
        if resource == "events" and type_ == "ADDED" and item["involvedObject"]["name"] == node:
            if item["reason"] in NODE_EVENTS:
                steps.append(item["reason"])
        elif resource == "nodes" and item["metadata"]["name"] == node:
            for fact in _facts(item):
                if fact not in known:
                    known.add(fact)
                    steps.append(fact)
    return steps


def _facts(node: Object) -> list[str]:
    ready = next(row["status"] for row in node["status"]["conditions"] if row["type"] == "Ready")
    taints = {taint["key"] for taint in node["spec"].get("taints") or ()}
    facts = [f"Ready={ready}"]
    facts.append("tainted" if "node.kubernetes.io/not-ready" in taints else "untainted")
    if "nvidia.com/gpu" in node["status"]["allocatable"]:
        facts.append("gpu allocatable")
    return facts


def _wording(message: str) -> str:
    words = message.split()
    return " ".join(word for word in words if word.isalpha())


async def a_worker_on_a_new_node(small_cluster: Build) -> SmallCluster:
    # Slow enough that the milliseconds between two writes of the kubelet do not blur into each other.
    cluster: SmallCluster = await small_cluster(al2023_register_s=5, al2023_gpu_plugin_s=6, reaction_s=1)
    cluster.apply(a_pod("eks"))
    await cluster.until(lambda: cluster.is_ready("worker"), what="worker ready")
    return cluster


def recorded_worker(rows: Iterable[tuple[str, str, Object]]) -> str:
    return next(
        item["metadata"]["name"]
        for _, resource, item in rows
        if resource == "pods" and "worker" in item["metadata"]["name"]
    )


@pytest.mark.parametrize("recording", ["node-late", "static"])
async def test_a_workers_events_come_as_recorded(small_cluster: Build, recordings_folder: Path, recording: str) -> None:
    """Same reasons, same containers, same wording: the pull belongs to the init container."""
    rows = recorded(recordings_folder / f"{recording}.jsonl.gz")
    cluster = await a_worker_on_a_new_node(small_cluster)
    assert pod_events(simulated(cluster), "worker") == pod_events(rows, recorded_worker(rows))


@pytest.mark.parametrize("recording", ["node-late", "static"])
async def test_a_workers_statuses_come_as_recorded(
    small_cluster: Build, recordings_folder: Path, recording: str
) -> None:
    """Same phases, conditions, reasons and container states, in the same order."""
    rows = recorded(recordings_folder / f"{recording}.jsonl.gz")
    cluster = await a_worker_on_a_new_node(small_cluster)
    assert pod_statuses(simulated(cluster), "worker") == pod_statuses(rows, recorded_worker(rows))


async def test_a_node_joins_as_recorded(small_cluster: Build, recordings_folder: Path) -> None:
    """Events before the object, not ready, ready with the taint, without it, noticed, then the GPU at a status sync."""
    rows = recorded(recordings_folder / "node-late.jsonl.gz")
    cluster = await a_worker_on_a_new_node(small_cluster)
    node = cluster.pod("worker")["spec"]["nodeName"]
    assert node_steps(simulated(cluster), node) == node_steps(rows, "gpu-node-2")


async def test_the_scheduler_says_why_as_recorded(small_cluster: Build, recordings_folder: Path) -> None:
    """Not ready, then without GPU: each change of reasons is an event of its own, in the recorded words."""
    rows = recorded(recordings_folder / "node-late.jsonl.gz")
    told = [
        item["message"]
        for type_, resource, item in rows
        if resource == "events" and type_ == "ADDED" and item["reason"] == "FailedScheduling"
    ]
    cluster = await a_worker_on_a_new_node(small_cluster)
    said = [message for reason, message in cluster.events("worker") if reason == "FailedScheduling"]
    # The recorded other node lacks a label where the simulated system node has a taint.
    assert len(said) == len(told) == 3
    assert said[0] == told[0].replace("didn't match Pod's node affinity/selector", "had untolerated taint(s)")
    assert said[2] == told[2].replace("didn't match Pod's node affinity/selector", "had untolerated taint(s)")


async def test_an_object_has_the_fields_the_recording_has(small_cluster: Build, recordings_folder: Path) -> None:
    """Nothing that a client reads from a ready worker or a ready node is missing."""
    rows = recorded(recordings_folder / "node-late.jsonl.gz")
    cluster = await a_worker_on_a_new_node(small_cluster)
    name = recorded_worker(rows)
    real = [item for _, resource, item in rows if resource == "pods" and item["metadata"]["name"] == name]
    ready = next(item for item in real if item["status"].get("containerStatuses", [{}])[0].get("ready"))
    ours = cluster.pod("worker")
    assert ready["status"].keys() == ours["status"].keys()
    for part in ("initContainerStatuses", "containerStatuses"):
        assert ready["status"][part][0].keys() == ours["status"][part][0].keys()
    for theirs, mine in zip(ready["status"]["conditions"], ours["status"]["conditions"], strict=True):
        assert theirs.keys() == mine.keys()
    nodes = [item for _, resource, item in rows if resource == "nodes" and item["metadata"]["name"] == "gpu-node-2"]
    node = cluster.store.get("nodes", ours["spec"]["nodeName"])
    assert nodes[-1]["status"].keys() - {"images"} <= node["status"].keys()
    assert nodes[-1]["status"]["conditions"][0].keys() == node["status"]["conditions"][0].keys()


async def test_readiness_waits_for_the_probes_delay(small_cluster: Build) -> None:
    """Ready no sooner than the initial delay of 10 s after the container's start, though it is healthy all along."""
    cluster = await a_worker_on_a_new_node(small_cluster)
    status = cluster.pod("worker")["status"]
    started_at = parse_stamp(status["containerStatuses"][0]["state"]["running"]["startedAt"])
    ready_at = parse_stamp(next(row["lastTransitionTime"] for row in status["conditions"] if row["type"] == "Ready"))
    assert started_at is not None
    assert ready_at is not None
    assert 10 <= (ready_at - started_at).total_seconds() < 60


async def test_an_unready_worker_complains_in_one_event(small_cluster: Build) -> None:
    """`Unhealthy` is repeated by counting, with the text of Ray's half-successful probe."""
    cluster = await small_cluster()
    cluster.runtime.healthy = False
    cluster.apply(a_pod("eks"))
    await cluster.until(lambda: any(reason == "Unhealthy" for reason, _ in cluster.events("worker")))
    await cluster.clock.sleep(12)
    events = [item for item in cluster.store.list("events", "default") if item["reason"] == "Unhealthy"]
    assert [(item["message"], item["type"]) for item in events] == [("Readiness probe failed: success\n", "Warning")]
    assert events[0]["count"] >= 2
    assert not cluster.is_ready("worker")


async def test_a_deleted_pod_keeps_its_grace_and_ends_failed(small_cluster: Build) -> None:
    """Killing at once, exit code 137 after the grace, phase Failed, then gone: as recorded with bash as PID 1."""
    cluster = await small_cluster()
    cluster.apply(a_pod("eks", "head", gpu=False))
    await cluster.until(lambda: cluster.is_running("head"))
    cluster.store.delete("pods", "head", "default")
    deleted_at = cluster.clock.now()
    await cluster.until(lambda: cluster.store.peek("pods", "head", "default") is None)
    assert 4.5 < (cluster.clock.now() - deleted_at).total_seconds() < 60
    assert ("Killing", "Stopping container ray-head") in cluster.events("head")
    last = [item for _, type_, resource, item in cluster.history if resource == "pods" and type_ == "DELETED"][-1]
    assert last["status"]["phase"] == "Failed"
    assert last["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    ready = next(row for row in last["status"]["conditions"] if row["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodFailed")
    assert "head" in cluster.runtime.stopped


async def test_a_pod_deleted_while_it_pulls_goes_at_once(small_cluster: Build) -> None:
    """Nothing runs yet, so nothing has to be waited for, and the pull ends."""
    cluster = await small_cluster(registry_bytes_s=1e6)
    cluster.apply(a_pod("eks"))
    await cluster.until(lambda: any(reason == "Pulling" for reason, _ in cluster.events("worker")))
    cluster.store.delete("pods", "worker", "default")
    deleted_at = cluster.clock.now()
    await cluster.until(lambda: cluster.store.peek("pods", "worker", "default") is None)
    # The pull alone would take a quarter of an hour.
    assert (cluster.clock.now() - deleted_at).total_seconds() < 200
    assert not any(reason == "Pulled" for reason, _ in cluster.events("worker"))


async def test_two_pulls_on_one_node_wait_for_each_other(small_cluster: Build) -> None:
    """The kubelet serialises pulls: the second pod's image comes while it waits, and needs no download of its own."""
    cluster = await small_cluster()
    for name in ("one", "two"):
        small = a_pod("eks", name, gpu=False)
        for part in ("requests", "limits"):
            small["spec"]["containers"][0]["resources"][part] = {"cpu": "500m", "memory": "1Gi"}
        # Both want the one node that the first of them gets.
        small["spec"]["nodeSelector"] = {"node.elotl.co/created-by": "luna"}
        cluster.apply(small)
    await cluster.until(lambda: cluster.is_running("one") and cluster.is_running("two"))
    nodes = {cluster.pod(name)["spec"]["nodeName"] for name in ("one", "two")}
    assert len(nodes) == 1
    texts = [message for name in ("one", "two") for reason, message in cluster.events(name) if reason == "Pulled"]
    own = [re.search(r" in (\S+) \((\S+) including waiting\)", text) for text in texts]
    pairs = sorted((found.group(1) == found.group(2) for found in own if found), reverse=True)
    assert pairs == [True, False]
