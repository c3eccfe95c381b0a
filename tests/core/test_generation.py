"""Ready is said of the generation that was applied: not of the deployment that served before it."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning.core.generation import ServedGeneration, ready_endpoints
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.readiness import Readiness
from airflow_llm_provisioning.gateways.recording.progress import Progress

RECORDINGS = Path(__file__).parents[1] / "recordings" / "2026-11-29"
T0 = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
FAILED = {"rayClusterName": "a-new", "applicationStatuses": {"llm": {"status": "DEPLOY_FAILED", "message": "boom"}}}
OLD_POD, NEW_POD = "a-old-worker-1", "a-new-worker-1"


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


def line(second: float, resource: str, obj: Any, kind: str = "MODIFIED") -> dict[str, Any]:
    received = at(second).isoformat().replace("+00:00", "Z")
    return {"received_at": received, "type": kind, "resource": resource, "object": obj}


def rayservice(
    second: float,
    observed: int | None,
    *,
    active: str = "a-old",
    app: str = "RUNNING",
    pending: dict[str, Any] | None = None,
    changing: str = "",
    generation: int = 2,
) -> dict[str, Any]:
    """Return a version of a RayService; `changing`: the condition that is true."""
    status = {
        "conditions": [{"type": "Ready", "status": "True"}, {"type": changing or "UpgradeInProgress",
                        "status": "True" if changing else "False"}],
        "activeServiceStatus": {"rayClusterName": active, "applicationStatuses": {"llm": {"status": app}}},
        "pendingServiceStatus": pending or {},
    }  # fmt: skip
    if observed is not None:
        status["observedGeneration"] = observed
    created = "2026-05-04T09:00:00Z"
    metadata = {"name": "a", "namespace": "n", "uid": "rs", "generation": generation, "creationTimestamp": created}
    return line(second, "rayservices", {"metadata": metadata, "spec": {}, "status": status})


def service(second: float, cluster: str) -> dict[str, Any]:
    metadata = {"uid": "svc", "name": "a-serve-svc", "ownerReferences": [{"uid": "rs"}]}
    return line(second, "services", {"metadata": metadata, "spec": {"selector": {"ray.io/cluster": cluster}}})


def pod(second: float, name: str, cluster: str) -> dict[str, Any]:
    metadata = {"uid": f"uid-{name}", "name": name, "labels": {"ray.io/cluster": cluster}}
    return line(second, "pods", {"metadata": metadata})


def endpoints(second: float, *pods: str) -> dict[str, Any]:
    metadata = {
        "uid": "x", "name": "a-serve-svc-1", "namespace": "n", "creationTimestamp": "2026-05-04T09:20:00Z",
        "labels": {"kubernetes.io/service-name": "a-serve-svc"}, "ownerReferences": [{"uid": "svc"}],
    }  # fmt: skip
    found = [
        {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": name, "uid": f"uid-{name}"}} for name in pods
    ]
    return line(second, "endpointslices", {"metadata": metadata, "endpoints": found})


def progress(*lines: dict[str, Any], generation: int | None = 2, until: float = 0) -> Progress:
    found = Progress("n", "a", "rs", generation)
    for item in lines:
        received_at = parse_instant(item["received_at"])
        assert received_at is not None
        found.take(item, received_at)
    found.tick(at(until))
    return found


@pytest.mark.parametrize(
    "state",
    [
        rayservice(1, 1),
        rayservice(1, None),
        rayservice(1, 2, changing="UpgradeInProgress"),
        rayservice(1, 2, changing="RollbackInProgress"),
        rayservice(1, 2, pending={"rayClusterName": "a-new"}),
        rayservice(1, 2, app="DEPLOYING"),
    ],
    ids=["not observed", "never observed", "upgrading", "rolling back", "pending cluster", "new serve config"],
)
def test_the_endpoint_of_the_deployment_before_is_not_ready(state: dict[str, Any]) -> None:
    """The old RayCluster serves on and Ready stays true, while the applied generation is not served yet."""
    found = progress(pod(0, OLD_POD, "a-old"), service(0, "a-old"), state, endpoints(2, OLD_POD), until=3600)
    assert (found.ready_at, found.failure) == (None, None)


def test_an_endpoint_counts_from_when_the_new_cluster_has_taken_over() -> None:
    """The Service selects the new pods before the old endpoints leave its slice: only a pod of the new RayCluster
    counts.
    """
    upgrading = rayservice(1, 2, changing="UpgradeInProgress", pending={"rayClusterName": "a-new"})
    lines = [
        pod(0, OLD_POD, "a-old"), pod(0, NEW_POD, "a-new"), service(0, "a-old"), endpoints(0, OLD_POD), upgrading,
        service(30, "a-new"), rayservice(31, 2, active="a-new"),
    ]  # fmt: skip
    assert progress(*lines).ready_at is None
    assert progress(*lines, endpoints(32, NEW_POD)).ready_at == at(32)


def test_without_pods_the_selector_of_the_service_tells_the_cluster() -> None:
    """Pods may not be readable; the owner of the slice selects one RayCluster by label."""
    done = rayservice(31, 2, active="a-new", pending=None)
    before = rayservice(1, 2, pending={"rayClusterName": "a-new"})
    assert progress(before, service(30, "a-new"), done, endpoints(32, NEW_POD)).ready_at == at(32)
    assert progress(before, service(30, "a-old"), done, endpoints(32, OLD_POD)).ready_at is None


def test_a_service_that_lags_behind_the_status_is_named() -> None:
    """The operator names the new RayCluster while the Service still selects the old one (ray-project/kuberay #5148)."""
    lines = pod(0, OLD_POD, "a-old"), service(0, "a-old"), rayservice(31, 2, active="a-new"), endpoints(32, OLD_POD)
    found = progress(*lines)
    assert found.ready_at is None
    assert "Service a-serve-svc still selects RayCluster a-old" in found.status
    taken = progress(*lines, pod(33, NEW_POD, "a-new"), endpoints(34, NEW_POD))
    assert taken.ready_at == at(34)
    assert "still selects" not in taken.status


def test_the_failure_of_a_pending_cluster_is_the_failure() -> None:
    """The running application of the old RayCluster does not hide it, however often the status is repeated."""
    repeated = [rayservice(second, 2, pending=FAILED, changing="UpgradeInProgress") for second in range(0, 40, 5)]
    found = progress(service(0, "a-old"), *repeated, endpoints(2, OLD_POD), until=40)
    assert found.ready_at is None
    assert "boom" in str(found.failure)


def test_the_failure_of_the_cluster_that_is_replaced_is_none() -> None:
    """A change often repairs what failed before; what the old RayCluster says of itself does not end the wait."""
    repairing = rayservice(1, 2, app="DEPLOY_FAILED", pending={"rayClusterName": "a-new"}, changing="UpgradeInProgress")
    assert progress(repairing, until=3600).failure is None
    assert progress(rayservice(1, 1, app="DEPLOY_FAILED"), until=3600).failure is None
    assert progress(rayservice(1, 2, app="DEPLOY_FAILED"), until=3600).failure is not None


def test_a_first_deployment_waits_for_nothing_more() -> None:
    """Its endpoint is published before the status calls its only RayCluster active (recorded: 43 ms)."""
    state = rayservice(1, 2, active="", pending={"rayClusterName": "a-new"})
    lines = [state, pod(2, NEW_POD, "a-new"), service(3, "a-new"), endpoints(4, NEW_POD)]
    assert progress(*lines, generation=1).ready_at == at(4)


def test_what_is_waited_for_is_said() -> None:
    """In words, for the progress line and the sentence at the limit."""
    served = ServedGeneration(3)
    served.take_rayservice(rayservice(1, 2)["object"])
    assert served.waiting_for == "the operator has not seen generation 3 yet (observed: 2)"
    served.take_rayservice(rayservice(1, 3, pending={"rayClusterName": "a-new"})["object"])
    assert served.waiting_for == "RayCluster a-new has not taken over from a-old yet"
    assert not served.serves(ready_endpoints(endpoints(1, OLD_POD)["object"]))


@pytest.mark.parametrize(
    ("applied", "since", "ready"),
    [
        (1, "2026-11-29T15:06:21", "2026-11-29T15:07:03.023"),
        (3, "2026-11-29T15:07:07.1", "2026-11-29T15:07:07.147"),
        (4, "2026-11-29T15:07:08.4", "2026-11-29T15:07:50.2"),
    ],
    ids=["created", "the same again", "changed"],
)
def test_a_recorded_service_that_was_applied_three_times(applied: int, since: str, ready: str) -> None:
    """KubeRay 1.7: created, the same manifest again, then another one. Ready is the first endpoint of each."""
    known: dict[tuple[str, str], dict[str, Any]] = {}
    judge: Readiness | None = None
    for item in map(json.loads, gzip.decompress((RECORDINGS / "llm-twice.jsonl.gz").read_bytes()).splitlines()):
        if judge is None and item["received_at"] >= since:
            uid = (
                next(one["object"]["metadata"]["uid"] for one in [*known.values(), item] if is_service(one))
                if known
                else None
            )
            judge = Readiness("llm-twice", "serving", uid=uid, generation=applied)
            for one in known.values():
                judge.feed(one | {"received_at": item["received_at"], "type": "LISTED"})
        if judge is None:
            metadata = item["object"].get("metadata") or {}
            known[item["resource"], metadata.get("uid", "")] = item
        elif judge.feed(item) != "pending":
            break
    assert judge is not None
    assert (judge.state, item["received_at"][: len(ready)]) == ("endpoint_ready", ready)


def is_service(item: dict[str, Any]) -> bool:
    return item["resource"] == "rayservices" and item["object"]["metadata"]["name"] == "llm-twice"


def pods_of(image: str, cpu: str = "8", **more: Any) -> dict[str, Any]:
    """Return a RayCluster's specification of a head and one worker group."""
    container = {"name": "ray", "image": image, "resources": {"limits": {"cpu": cpu}}, "env": [], **more}
    template = {"spec": {"containers": [container]}}
    groups = [{"groupName": "gpu", "replicas": 1, "rayStartParams": {}, "template": template}]
    return {"headGroupSpec": {"rayStartParams": {}, "template": template}, "workerGroupSpecs": groups}


@pytest.mark.parametrize(
    ("strategy", "running", "ready"),
    [
        ("None", pods_of("vllm:1"), False),
        ("None", pods_of("vllm:2", args=["--old"]), False),
        ("None", pods_of("vllm:2", cpu="4"), False),
        ("None", pods_of("vllm:2", args=["--new"]), True),
        ("None", pods_of("vllm:2", cpu="8000m", args=["--new"], imagePullPolicy="Always"), True),
        ("NewCluster", pods_of("vllm:1"), True),
        ("", pods_of("vllm:1"), False),
        ("", pods_of("vllm:2", args=["--new"]), True),
    ],
)
def test_an_operator_that_starts_no_raycluster_changes_no_pod(
    strategy: str, running: dict[str, Any], ready: bool
) -> None:
    """KubeRay sees the generation, starts no RayCluster for it, and the old pods serve on; without a strategy its own
    environment decides. What admission plug-ins and Go's writing change is no difference.
    """
    service_line = rayservice(1, 2)
    service_line["object"]["spec"] = {"rayClusterConfig": pods_of("vllm:2", args=["--new"])}
    service_line["object"]["spec"] |= {"upgradeStrategy": {"type": strategy}} if strategy else {}
    cluster = line(0, "rayclusters", {"metadata": {"name": "a-old", "uid": "rc"}, "spec": running})
    found = progress(pod(0, OLD_POD, "a-old"), service(0, "a-old"), cluster, service_line, endpoints(2, OLD_POD))
    assert (found.ready_at is not None) is ready
    assert ("keeps the pods of an older generation" in found.status) is not ready
