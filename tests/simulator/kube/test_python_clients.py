"""Both official Python clients work against the simulated API."""

import asyncio
from typing import Any

import kubernetes
import kubernetes_asyncio
import pytest

from llm_provisioning_simulator.kube.server import KubeServer

RAY = ("ray.io", "v1", "default", "rayservices")


def ray_service() -> dict[str, Any]:
    cluster = {"headGroupSpec": {"template": {}}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "llm"},
        "spec": {"rayClusterConfig": cluster},
    }


async def test_the_asynchronous_client(kube_server: KubeServer) -> None:
    """Create, apply, patch, list, watch and delete custom objects; typed pods and events; a 404 is an ApiException."""
    configuration = kubernetes_asyncio.client.Configuration(host=kube_server.url)
    async with kubernetes_asyncio.client.ApiClient(configuration) as client:
        custom = kubernetes_asyncio.client.CustomObjectsApi(client)
        core = kubernetes_asyncio.client.CoreV1Api(client)
        created = await custom.create_namespaced_custom_object(*RAY, ray_service())
        body = {"spec": {"serveConfigV2": "x"}}
        patched = await custom.patch_namespaced_custom_object(
            *RAY, "llm", body, _content_type="application/merge-patch+json"
        )
        assert patched["metadata"]["generation"] == 2
        applied = await custom.patch_namespaced_custom_object(
            *RAY, "llm", ray_service(), field_manager="me", force=True, _content_type="application/apply-patch+yaml"
        )
        assert "serveConfigV2" in applied["spec"]
        listed = await custom.list_namespaced_custom_object(*RAY)
        assert [item["metadata"]["name"] for item in listed["items"]] == ["llm"]
        seen = []
        stream = kubernetes_asyncio.watch.Watch().stream(
            custom.list_namespaced_custom_object,
            *RAY,
            resource_version=created["metadata"]["resourceVersion"],
            timeout_seconds=1,
        )
        async for event in stream:
            seen.append((event["type"], event["object"]["metadata"]["generation"]))  # noqa: PERF401 - a watch
        assert seen == [("MODIFIED", 2), ("MODIFIED", 2)]
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
        made = kube_server.store.create("pods", pod, manager="test")
        kube_server.store.record_event(
            made, "Scheduled", "x", component="scheduler", style="controller", action="Binding"
        )
        kube_server.store.record_event(made, "Pulled", "x", component="kubelet", style="kubelet", host="n")
        pods = await core.list_pod_for_all_namespaces()
        assert pods.items[0].spec.containers[0].image == "i:1"
        events = await core.list_event_for_all_namespaces()
        assert sorted(item.reason for item in events.items) == ["Pulled", "Scheduled"]
        with pytest.raises(kubernetes_asyncio.client.ApiException, match="not found"):
            await core.read_namespaced_config_map("none", "default")
        gone = await custom.delete_namespaced_custom_object(*RAY, "llm")
        assert gone["status"] == "Success"


async def test_the_synchronous_client(kube_server: KubeServer) -> None:
    """The same calls from a thread with the other client."""

    def work() -> list[tuple[str, str]]:
        with kubernetes.client.ApiClient(kubernetes.client.Configuration(host=kube_server.url)) as client:
            custom = kubernetes.client.CustomObjectsApi(client)
            core = kubernetes.client.CoreV1Api(client)
            custom.create_namespaced_custom_object(*RAY, ray_service())
            custom.patch_namespaced_custom_object(*RAY, "llm", {"spec": {"serveConfigV2": "x"}})
            body = kubernetes.client.V1ConfigMap(metadata=kubernetes.client.V1ObjectMeta(name="c"), data={"k": "v"})
            core.create_namespaced_config_map("default", body)
            core.patch_namespaced_config_map("c", "default", {"data": {"k": "w"}})
            assert core.read_namespaced_config_map("c", "default").data == {"k": "w"}
            watch = kubernetes.watch.Watch()
            items = watch.stream(custom.list_namespaced_custom_object, *RAY, timeout_seconds=1)
            found = [(item["type"], item["object"]["spec"]["serveConfigV2"]) for item in items]
            custom.delete_namespaced_custom_object(*RAY, "llm")
            return found

    assert await asyncio.to_thread(work) == [("ADDED", "x")]
