"""Which log files are read at the end: of Serve on every node, of worker processes where the engine may run."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from kube_fake_api import FakeApi, fake_api

from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording.ray_api import collect
from airflow_llm_provisioning.gateways.recording.scope import Scope

PREFIX = "/api/v1/namespaces/ml/services/llm-head-svc:dashboard/proxy"
NODES = {
    "rank": {"CPU": 8.0, "GPU": 1.0, "node:10.0.0.3": 1.0},
    "driver": {"CPU": 8.0, "GPU": 1.0, "accelerator_type:L4": 1.0},
    "idle": {"CPU": 8.0, "memory": 1e9, "object_store_memory": 1e8, "node:10.0.0.4": 1.0},
    "head": {"node:__internal_head__": 1.0, "memory": 1e9},
}


def ray(api: FakeApi) -> None:
    """Let a head answer for four nodes; the replica is on `driver`."""

    def answer(path: str, body: Any) -> None:
        async def given(_: web.Request) -> web.Response:
            return web.json_response(body)

        api.handlers[f"{PREFIX}{path}"] = given

    def node(name: str, resources: Mapping[str, float]) -> dict[str, Any]:
        told = {"node_id": name, "node_ip": name, "state": "ALIVE", "resources_total": resources}
        return {**told, "is_head_node": name == "head"}

    answer("/api/version", {})
    answer("/api/v0/runtime_envs", {})
    answer("/api/v0/nodes", {"data": {"result": {"result": [node(*each) for each in NODES.items()]}}})
    replicas = [{"node_id": "driver"}]
    answer("/api/serve/applications/", {"applications": {"llm": {"deployments": {"d": {"replicas": replicas}}}}})

    async def names(request: web.Request) -> web.Response:
        serve = request.query["glob"].startswith("serve/")
        name = "serve/controller_1.log" if serve else f"worker-{request.query['node_id']}-01000000-7.out"
        return web.json_response({"data": {"result": {"all": [name]}}})

    async def text(request: web.Request) -> web.Response:
        return web.Response(text=request.query["filename"])

    api.handlers[f"{PREFIX}/api/v0/logs/file"] = text
    api.handlers[f"{PREFIX}/api/v0/logs"] = names


async def test_the_output_of_every_rank_is_read() -> None:
    """A pipeline runs on more nodes than its replica: on those with an accelerator. The head's logs come first."""
    lines: list[Any] = []
    scope = Scope({"namespace": "ml", "name": "llm", "uid": "u"})
    scope.head_service = "llm-head-svc"
    async with fake_api() as api:
        ray(api)
        async with Cluster.from_access(api.access(), name="test") as cluster:
            await collect(cluster, "ml", scope, lines.append)
    files = [(line["node_ip"], line["filename"]) for line in lines if line["resource"] == "ray-log-file"]
    assert files[0] == ("head", "serve/controller_1.log")
    assert sorted(node for node, name in files if name.startswith("worker-")) == ["driver", "rank"]
