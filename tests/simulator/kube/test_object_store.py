"""The object store behaves as the API server's registry: versions, generations, ends, owners."""

import asyncio
from typing import Any

import pytest

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.kube.statuses import StatusError
from llm_provisioning_simulator.kube.store import ObjectStore

TEMPLATE = {"spec": {"containers": [{"name": "ray", "image": "ray:1"}]}}


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(SimClock.start(1.0), seed=1)


def ray_service(name: str = "llm", **metadata: Any) -> dict[str, Any]:
    group = {"groupName": "gpu", "minReplicas": 0, "maxReplicas": 1, "template": TEMPLATE}
    cluster = {"headGroupSpec": {"template": TEMPLATE}, "workerGroupSpecs": [group]}
    return {"metadata": {"name": name, **metadata}, "spec": {"rayClusterConfig": cluster}}


def pod(name: str = "head", *, node: str | None = "node-1", **metadata: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "ray", "image": "ray:1"}]}
    return {"metadata": {"name": name, **metadata}, "spec": spec | ({"nodeName": node} if node else {})}


def owned_by(owner: dict[str, Any]) -> list[dict[str, Any]]:
    metadata = owner["metadata"]
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"]}
    return [reference | {"uid": metadata["uid"], "controller": True}]


def test_generation_counts_spec_changes_only(store: ObjectStore) -> None:
    """A status or label change leaves metadata.generation, a spec change and the mark of deletion raise it."""
    store.create("rayservices", ray_service(finalizers=["ray.io/x"]), manager="test")

    def status(item: dict[str, Any]) -> None:
        item["status"] = {"serviceStatus": "Running"}

    def spec(item: dict[str, Any]) -> None:
        item["spec"]["serveConfigV2"] = "x"

    after_status = store.mutate("rayservices", "llm", "default", status, subresource="status", manager="operator")
    after_spec = store.mutate("rayservices", "llm", "default", spec, manager="operator")
    store.delete("rayservices", "llm", "default")
    found = store.get("rayservices", "llm", "default")
    assert after_status is not None
    assert after_spec is not None
    assert found is not None
    assert [item["metadata"]["generation"] for item in (after_status, after_spec, found)] == [1, 2, 3]


def test_a_change_that_changes_nothing_writes_nothing(store: ObjectStore) -> None:
    """A no-op mutate keeps resourceVersion and sends no event."""
    created = store.create("configmaps", {"metadata": {"name": "a"}, "data": {"k": "v"}}, manager="test")
    subscription = store.watch("configmaps")
    same = store.mutate("configmaps", "a", "default", lambda item: item["data"].update(k="v"), manager="other")
    assert same == created
    assert subscription is not None
    assert subscription.idle


def test_handed_out_objects_are_copies(store: ObjectStore) -> None:
    """What a caller does to a returned object does not reach the store."""
    created = store.create("configmaps", {"metadata": {"name": "a"}, "data": {"k": "v"}}, manager="test")
    created["data"]["k"] = "broken"
    listed = store.list("configmaps")[0]
    listed["data"]["k"] = "broken"
    found = store.get("configmaps", "a", "default")
    assert found is not None
    assert found["data"] == {"k": "v"}


def test_finalizers_hold_an_object_until_the_last_is_gone(store: ObjectStore) -> None:
    """Delete marks, removing the last finalizer ends; what it owns goes only then."""
    owner = store.create("rayservices", ray_service(finalizers=["ray.io/x"]), manager="test")
    cluster = {
        "metadata": {"name": "c", "ownerReferences": owned_by(owner)},
        "spec": {"headGroupSpec": {"template": {}}},
    }
    store.create("rayclusters", cluster, manager="operator")
    assert store.delete("rayservices", "llm", "default")
    marked = store.get("rayservices", "llm", "default")
    assert marked is not None
    assert "deletionTimestamp" in marked["metadata"]
    assert store.get("rayclusters", "c", "default") is not None
    store.mutate("rayservices", "llm", "default", lambda item: item["metadata"].pop("finalizers"), manager="operator")
    assert store.get("rayservices", "llm", "default") is None
    assert store.get("rayclusters", "c", "default") is None


def test_a_running_pod_keeps_its_grace_until_its_kubelet_ends_it(store: ObjectStore) -> None:
    """The deletionTimestamp is the end of the grace; `remove` ends the pod; an unscheduled pod goes at once."""
    store.create("pods", pod(), manager="test")
    store.create("pods", pod("pending", node=None), manager="test")
    store.delete("pods", "pending", "default")
    store.delete("pods", "head", "default")
    found = store.get("pods", "head", "default")
    assert store.get("pods", "pending", "default") is None
    assert found is not None
    assert found["metadata"]["deletionGracePeriodSeconds"] == 30
    assert found["metadata"]["deletionTimestamp"] > found["metadata"]["creationTimestamp"]
    store.delete("pods", "head", "default", grace_s=5)
    shortened = store.get("pods", "head", "default")
    assert shortened is not None
    assert shortened["metadata"]["deletionGracePeriodSeconds"] == 5
    assert store.remove("pods", "head", "default")
    assert store.get("pods", "head", "default") is None


def test_dependents_go_with_their_last_owner(store: ObjectStore) -> None:
    """Of two owners the first to go takes only its reference with it."""
    owners = [store.create("configmaps", {"metadata": {"name": name}}, manager="test") for name in ("a", "b")]
    references = [*owned_by(owners[0]), *owned_by(owners[1])]
    store.create("secrets", {"metadata": {"name": "s", "ownerReferences": references}}, manager="test")
    store.delete("configmaps", "a", "default")
    left = store.get("secrets", "s", "default")
    assert left is not None
    assert [owner["name"] for owner in left["metadata"]["ownerReferences"]] == ["b"]
    store.delete("configmaps", "b", "default")
    assert store.get("secrets", "s", "default") is None


def test_orphans_stay_and_foreground_waits(store: ObjectStore) -> None:
    """Orphan cuts the reference; Foreground keeps the owner until its dependents are gone."""
    first = store.create("rayservices", ray_service(), manager="test")
    second = store.create("rayservices", ray_service("second"), manager="test")
    store.create("pods", pod("kept", ownerReferences=owned_by(first)), manager="test")
    store.create("pods", pod("slow", ownerReferences=owned_by(second)), manager="test")
    store.delete("rayservices", "llm", "default", propagation="Orphan")
    kept = store.get("pods", "kept", "default")
    assert kept is not None
    assert "ownerReferences" not in kept["metadata"]
    store.delete("rayservices", "second", "default", propagation="Foreground")
    waiting = store.get("rayservices", "second", "default")
    assert waiting is not None
    assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
    store.remove("pods", "slow", "default")
    assert store.get("rayservices", "second", "default") is None


async def test_an_object_of_a_gone_owner_is_collected(store: ObjectStore) -> None:
    """A child that a controller creates too late goes again by itself."""
    owner = store.create("configmaps", {"metadata": {"name": "a"}}, manager="test")
    store.delete("configmaps", "a", "default")
    store.create("secrets", {"metadata": {"name": "late", "ownerReferences": owned_by(owner)}}, manager="test")
    await asyncio.sleep(0)
    assert store.get("secrets", "late", "default") is None


def test_a_namespace_ends_after_its_contents(store: ObjectStore) -> None:
    """Terminating until its last pod is gone; nothing new may be created in it."""
    store.create("namespaces", {"metadata": {"name": "serving"}}, manager="test")
    store.create("configmaps", {"metadata": {"name": "a"}}, namespace="serving", manager="test")
    store.create("pods", pod(), namespace="serving", manager="test")
    store.delete("namespaces", "serving")
    found = store.get("namespaces", "serving")
    assert found is not None
    assert found["status"] == {"phase": "Terminating"}
    assert store.list("configmaps", "serving") == []
    with pytest.raises(StatusError, match="because it is being terminated"):
        store.create("configmaps", {"metadata": {"name": "b"}}, namespace="serving", manager="test")
    store.remove("pods", "head", "serving")
    assert store.get("namespaces", "serving") is None
    with pytest.raises(StatusError, match='namespaces "serving" not found'):
        store.create("configmaps", {"metadata": {"name": "b"}}, namespace="serving", manager="test")


async def test_subscribe_begins_with_what_exists(store: ObjectStore) -> None:
    """ADDED of the existing objects, then every change in order, of the resources asked for only."""
    store.create("configmaps", {"metadata": {"name": "old"}}, manager="test")
    seen: list[tuple[str, str, str]] = []

    async def listen() -> None:
        async for type_, resource, item in store.subscribe("configmaps", "secrets"):
            seen.append((type_, resource, item["metadata"]["name"]))
            if len(seen) == 4:
                return

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    store.create("secrets", {"metadata": {"name": "s"}}, manager="test")
    store.create("pods", pod(), manager="test")
    store.mutate("configmaps", "old", "default", lambda item: item.update(data={"k": "v"}), manager="test")
    store.delete("configmaps", "old", "default")
    async with asyncio.timeout(60):
        await task
    assert seen == [
        ("ADDED", "configmaps", "old"),
        ("ADDED", "secrets", "s"),
        ("MODIFIED", "configmaps", "old"),
        ("DELETED", "configmaps", "old"),
    ]


def test_a_definition_brings_a_kind_and_takes_it_away(store: ObjectStore) -> None:
    """A CustomResourceDefinition makes its kind storable, with the schema's checks; deleting it ends its objects."""
    schema = {"type": "object", "properties": {"spec": {"type": "object", "required": ["size"]}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "widgets", "kind": "Widget"}
    definition = {
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]},
    }
    store.create("customresourcedefinitions", definition, manager="test")
    store.create("widgets", {"metadata": {"name": "w"}, "spec": {"size": 1}}, manager="test")
    with pytest.raises(StatusError, match=r'Widget.example.com "x" is invalid: spec.size: Required value'):
        store.create("widgets", {"metadata": {"name": "x"}, "spec": {}}, manager="test")
    store.delete("customresourcedefinitions", "widgets.example.com")
    assert "widgets" not in store.resources


def test_a_cluster_without_a_group_does_not_serve_it() -> None:
    """A Luna cluster has no Karpenter kinds, nor their definitions."""
    store = ObjectStore(SimClock.start(1.0), without_groups={"karpenter.sh"})
    names = [item["metadata"]["name"] for item in store.list("customresourcedefinitions")]
    assert "nodepools" not in store.resources
    assert "nodepools.karpenter.sh" not in names
    assert "rayservices.ray.io" in names


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (ray_service("l" * 254), "a lowercase RFC 1123 subdomain"),
        (ray_service("Upper"), "a lowercase RFC 1123 subdomain"),
        ({"metadata": {"name": "a"}, "spec": {}}, "spec.rayClusterConfig: Required value"),
        (ray_service(labels={"a": "not valid"}), "a valid label must be"),
        ({"metadata": {}, "spec": {}}, "name or generateName is required"),
    ],
)
def test_what_the_server_would_refuse_is_refused(store: ObjectStore, item: dict[str, Any], message: str) -> None:
    """422 with the API server's words."""
    with pytest.raises(StatusError, match=message) as caught:
        store.create("rayservices", item, manager="test")
    assert caught.value.code == 422
