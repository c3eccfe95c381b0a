"""Why something of a deleted RayService is still there, in the cluster's own words."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning.core.remains import Surroundings, explained, listed, operator_problem


def operator(*, replicas: int | None = 1, ready: int | None = None) -> dict[str, Any]:
    metadata = {"name": "kuberay-operator", "namespace": "kuberay-system"}
    status = {} if ready is None else {"readyReplicas": ready}
    return {"metadata": metadata, "spec": {"replicas": replicas}, "status": status}


def recorded(folder: Path, until: str) -> dict[str, dict[str, Any]]:
    """Return the last version of every object in a recording before an instant, by kind."""
    last: dict[str, dict[str, Any]] = {}
    kinds = {"rayservices": "RayService", "rayclusters": "RayCluster", "pods": "Pod", "services": "Service"}
    packed = (folder / "2026-11-29" / "llm-ownerdel.jsonl.gz").read_bytes()
    for text in gzip.decompress(packed).splitlines():
        line = json.loads(text)
        if line["received_at"] < until and line["resource"] in (*kinds, "nodes"):
            obj = {"kind": kinds.get(line["resource"], "Node"), **line["object"]}
            last[obj["metadata"]["uid"]] = obj
            if line["type"] == "DELETED":
                del last[obj["metadata"]["uid"]]
    return last


def test_a_recorded_deletion_without_an_operator_is_explained(recordings_folder: Path) -> None:
    """KubeRay 1.7 was down for 165 s: its finalizer keeps the RayService, and nothing has asked the GPU pod to stop."""
    objects = list(recorded(recordings_folder, "2026-11-29T15:22:00").values())
    left = [obj for obj in objects if obj["kind"] != "Node"]
    nodes = {obj["metadata"]["name"]: obj for obj in objects if obj["kind"] == "Node"}
    clauses = explained(left, Surroundings(nodes=nodes, operators=[operator(replicas=0)]))
    service, cluster = "RayService serving/llm-ownerdel", "RayCluster serving/llm-ownerdel-sm2cd"
    pending = "deleted at 2026-11-29T15:20:15Z; finalizer ray.io/rayservice-finalizer is pending"
    why = "the KubeRay operator removes it, and deployment kuberay-system/kuberay-operator is scaled to 0 replicas"
    worker, head = "llm-ownerdel-sm2cd-gpu-group-worker-klcb4", "llm-ownerdel-sm2cd-head-n57ck"
    assert clauses == [
        f"{service} ({pending}: {why})",
        f"{cluster} (it goes when {service} is gone)",
        f"Pod serving/{worker} (it runs on node gpu-node-1 and holds nvidia.com/gpu: 1 until {cluster} is gone)",
        f"Pod serving/{head} (it runs on node cpu-node-1 until {cluster} is gone)",
        f"Service serving/llm-ownerdel-sm2cd-head-svc (it goes when {cluster} is gone)",
    ]


def test_a_recorded_pod_in_its_grace_period_is_explained(recordings_folder: Path) -> None:
    """The operator is back: the RayService is gone, and the pods end when their grace period does."""
    objects = list(recorded(recordings_folder, "2026-11-29T15:23:00.6").values())
    left = [obj for obj in objects if obj["kind"] != "Node"]
    nodes = {obj["metadata"]["name"]: obj for obj in objects if obj["kind"] == "Node"}
    worker, head = "llm-ownerdel-sm2cd-gpu-group-worker-klcb4", "llm-ownerdel-sm2cd-head-n57ck"
    until = "grace until 2026-11-29T15:23:05Z"
    assert explained(left, Surroundings(nodes=nodes, operators=[operator(ready=1)])) == [
        f"Pod serving/{worker} (Terminating on node gpu-node-1 and holds nvidia.com/gpu: 1, {until})",
        f"Pod serving/{head} (Terminating on node cpu-node-1, {until})",
    ]


def pod(**metadata: Any) -> dict[str, Any]:
    stamped = {"name": "p", "namespace": "d", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:30Z", **metadata}
    return {"kind": "Pod", "metadata": stamped, "spec": {"nodeName": "n1", "containers": []}}


NOT_READY = {
    "type": "Ready",
    "status": "Unknown",
    "reason": "NodeStatusUnknown",
    "message": "Kubelet stopped posting node status.",
}


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (
            {"n1": {"status": {"conditions": [{"type": "MemoryPressure", "status": "True"}, NOT_READY]}}},
            "; that node is not reachable (Ready is Unknown, NodeStatusUnknown: Kubelet stopped posting node status.)",
        ),
        ({"n1": {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}}, ""),
        ({"n1": {"status": {}}}, "; that node is not reachable (Ready is not set)"),
        ({"n1": None}, "; that node no longer exists"),
        ({}, ""),
    ],
)
def test_a_terminating_pod_names_its_node(nodes: dict[str, Any], words: str) -> None:
    """A kubelet that does not answer confirms no end; a node that could not be read is not judged."""
    (clause,) = explained([pod()], Surroundings(nodes=nodes, operators=None))
    assert clause == f"Pod d/p (Terminating on node n1, grace until 2026-01-01T00:00:30Z{words})"


@pytest.mark.parametrize(
    ("operators", "words"),
    [
        (None, "and whether that runs could not be read"),
        ([], "and no deployment kuberay-operator was found"),
        ([operator(replicas=0)], "kuberay-system/kuberay-operator is scaled to 0 replicas"),
        ([operator(replicas=2)], "kuberay-system/kuberay-operator has 0 of 2 replicas ready"),
        ([operator(replicas=None)], "kuberay-system/kuberay-operator has 0 of 1 replicas ready"),
        ([operator(ready=1)], "the KubeRay operator is ready, and has not removed it; its log says why"),
    ],
)
def test_a_pending_finalizer_says_what_its_operator_does(operators: Any, words: str) -> None:
    """Down, absent, scaled to nothing, unreadable and alive are five different things to repair."""
    service = {
        "kind": "RayService",
        "metadata": {
            "name": "s",
            "namespace": "d",
            "uid": "u",
            "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["ray.io/rayservice-finalizer"],
        },
    }
    (clause,) = explained([service], Surroundings(nodes={}, operators=operators))
    assert "finalizer ray.io/rayservice-finalizer is pending" in clause
    assert words in clause


def test_another_controllers_finalizer_is_not_laid_on_kuberay() -> None:
    """A finalizer of a user's own controller keeps a pod."""
    held = pod(finalizers=["example.com/keep"])
    (clause,) = explained([held], Surroundings(nodes={}, operators=[]))
    assert clause.endswith("finalizer example.com/keep is pending: the controller that set it has not removed it)")


@pytest.mark.parametrize(
    ("finalizer", "ready", "words"),
    [
        ("foregroundDeletion", 0, "it goes after all that it owns"),
        ("service.kubernetes.io/load-balancer-cleanup", 0, "deletes its load balancer first"),
        ("kueue.x-k8s.io/managed", 0, "Kueue removes it"),
        ("ray.io/gcs-ft-redis-cleanup-finalizer", 1, "kept in Redis; look at its pod"),
        ("ray.io/gcs-ft-redis-cleanup-finalizer", 0, "has 0 of 1 replicas ready"),
    ],
)
def test_what_a_known_finalizer_waits_for_is_said(finalizer: str, ready: int, words: str) -> None:
    """Each has a controller of its own, and another place to look at."""
    held = pod(finalizers=[finalizer])
    (clause,) = explained([held], Surroundings(nodes={}, operators=[operator(ready=ready)]))
    assert f"finalizer {finalizer} is pending: " in clause
    assert words in clause


def test_what_was_never_deleted_says_so() -> None:
    """A RayService that another client made again, and a RayCluster whose owner is gone."""
    service = {"kind": "RayService", "metadata": {"name": "s", "uid": "1"}}
    orphan = {"kind": "RayCluster", "metadata": {"name": "c", "uid": "2", "ownerReferences": [{"uid": "3"}]}}
    assert explained([orphan, service], Surroundings(nodes={}, operators=[])) == [
        "RayService s (nothing has deleted it)",
        "RayCluster c (its owner is gone, and the garbage collector has not deleted it yet)",
    ]


def test_many_are_told_in_part() -> None:
    """A sentence stays readable, and says how many it leaves out."""
    assert listed([str(number) for number in range(9)]) == "0; 1; 2; 3; 4; 5; and 3 more"
    assert listed(["a"]) == "a"


def test_one_ready_operator_is_enough() -> None:
    """Several releases of KubeRay watch namespaces of their own."""
    assert operator_problem([operator(replicas=0), operator(ready=1)]) is None
