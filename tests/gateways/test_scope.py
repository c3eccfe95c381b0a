"""Owners decide what a recording contains, under any name and in any order of the watches."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_llm_provisioning.gateways.kubernetes.follow import ObservedVersion
from airflow_llm_provisioning.gateways.recording.scope import Scope

AT = datetime(2026, 5, 4, 12, 0, 5, tzinfo=UTC)
NAME = "rayservice-no-ray-serve-replica"
CLUSTER = f"{NAME}-raycluster-lw2j9"


def an_object(uid: str, name: str, owner: str = "", kind: str = "", **fields: Any) -> dict[str, Any]:
    owners = [{"uid": owner, **({"kind": kind} if kind else {})}] if owner else []
    return {"metadata": {"uid": uid, "name": name, "ownerReferences": owners}, **fields}


def an_event(about: str, kind: str = "Pod", created: datetime = AT) -> dict[str, Any]:
    stamp = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    involved = {"kind": kind, "name": "n", "uid": about}
    return {"metadata": {"uid": f"e-{about}", "creationTimestamp": stamp}, "involvedObject": involved}


def begun() -> Scope:
    scope = Scope({"namespace": "n", "name": NAME, "uid": "rs"})
    service = an_object("rs", NAME)
    service["metadata"]["creationTimestamp"] = "2026-05-04T12:00:00Z"
    assert taken(scope, "rayservices", service) == ["rayservices"]
    return scope


def taken(scope: Scope, resource: str, obj: dict[str, Any]) -> list[str]:
    return [found for found, _ in scope.admit(resource, ObservedVersion("ADDED", obj, AT))]


@pytest.mark.parametrize("pod", [f"{CLUSTER}-worker-f5nz2", "ve-replica-raycluster-lw2j9-worker-gpu-group-f5nz2"])
@pytest.mark.parametrize("kind", ["RayCluster", ""])
def test_a_pod_that_overtakes_its_cluster_is_held(pod: str, kind: str) -> None:
    """Pod and event are recorded when their RayCluster arrives, also with a name that KubeRay shortened."""
    scope = begun()
    assert taken(scope, "events", an_event("p")) == []
    assert taken(scope, "pods", an_object("p", pod, "rc", kind)) == []
    assert taken(scope, "rayclusters", an_object("rc", CLUSTER, "rs", "RayService")) == [
        "rayclusters",
        "pods",
        "events",
    ]


def test_what_belongs_to_others_is_not_recorded() -> None:
    """Neither another service's objects, whose names may begin alike, nor pods of no RayCluster, nor old events."""
    scope = begun()
    assert taken(scope, "rayclusters", an_object("rc2", f"{NAME}-b-raycluster-x", "rs2", "RayService")) == []
    assert taken(scope, "pods", an_object("p2", f"{NAME}-b-raycluster-x-head", "rc2", "RayCluster")) == []
    assert taken(scope, "events", an_event("p2")) == []
    assert taken(scope, "pods", an_object("p3", f"{NAME}-web", "rs3", "ReplicaSet")) == []
    assert taken(scope, "pods", an_object("p4", f"{NAME}-alone")) == []
    assert taken(scope, "events", an_event("d", "Deployment")) == []
    assert taken(scope, "events", an_event("old", created=AT - timedelta(hours=1))) == []
    assert not scope._held, "nothing of it is waited for"
    assert taken(scope, "rayclusters", an_object("rc", CLUSTER, "rs", "RayService")) == ["rayclusters"]


def test_the_events_of_a_pods_claim_are_recorded() -> None:
    """The scheduler only says that a claim is not bound; why stands in the events of the claim that the pod names."""
    scope = begun()
    taken(scope, "rayclusters", an_object("rc", CLUSTER, "rs", "RayService"))
    told = an_event("claim", "PersistentVolumeClaim")
    assert taken(scope, "events", told) == []
    volumes = [{"name": "models", "persistentVolumeClaim": {"claimName": "n"}}]
    assert taken(scope, "pods", an_object("p", "any", "rc", "RayCluster", spec={"volumes": volumes})) == ["pods"]
    assert taken(scope, "events", told) == ["events"]


def test_shortened_services_are_found_by_their_owners() -> None:
    """Serve's interface is asked and the endpoint is followed under the names that the Services have."""
    scope = begun()
    taken(scope, "rayclusters", an_object("rc", CLUSTER, "rs", "RayService"))
    assert scope.head_service == f"{CLUSTER}-head-svc"
    head = an_object("s1", "ce-no-ray-serve-replica-raycluster-lw2j9-head-svc", "rc", "RayCluster")
    head["metadata"]["labels"] = {"ray.io/node-type": "head"}
    serve = an_object("s2", "cut-serve-svc", "rs", "RayService", spec={"selector": {"ray.io/serve": "true"}})
    assert taken(scope, "services", head) == ["services"]
    assert taken(scope, "services", serve) == ["services"]
    assert scope.head_service == "ce-no-ray-serve-replica-raycluster-lw2j9-head-svc"
    assert scope.serve_service == "cut-serve-svc"
    told = an_object("rc", CLUSTER, "rs", "RayService", status={"head": {"serviceName": "told-head-svc"}})
    taken(scope, "rayclusters", told)
    assert scope.head_service == "told-head-svc"
