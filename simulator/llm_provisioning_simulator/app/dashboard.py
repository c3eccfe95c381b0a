"""Ray's dashboard on the head's port 8265: as much of Serve's REST API and the state API as outside clients use."""

import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final
from urllib.parse import parse_qs

from llm_provisioning_simulator.app.ray import RayCluster, RayNode, resources_total
from llm_provisioning_simulator.app.serve import ServeController
from llm_provisioning_simulator.app.serve_rest import serve_details
from llm_provisioning_simulator.kube.backend import PodRequest

Answer = tuple[int, dict[str, str], bytes]

SERVE_PATH: Final = "/api/serve/applications/"
# ray 2.60.0's own answer to /api/version.
_API_VERSION: Final = "4"


async def dashboard(cluster: RayCluster, controller: ServeController, request: PodRequest) -> Answer:
    """Answer one request to the dashboard."""
    path = request.path
    asked = {key: values[-1] for key, values in parse_qs(request.query, keep_blank_values=True).items()}
    if path == SERVE_PATH:
        return await _serve(cluster, controller, request.method, request.body)
    if request.method != "GET":
        return _text(405, "405: Method Not Allowed")
    if path == "/api/v0/logs/file":
        return _log_file(cluster, asked)
    document = _document(cluster, path, asked)
    return _text(404, "404: Not Found") if document is None else _json(document)


async def _serve(cluster: RayCluster, controller: ServeController, method: str, body: bytes) -> Answer:
    if method == "PUT":
        try:
            config = json.loads(body)
        except ValueError as error:
            return _text(400, f"The Serve config is no JSON: {error}")
        await controller.put(config)
        return _text(200, "")
    return _json(serve_details(controller, cluster.clock.now()))


def _document(cluster: RayCluster, path: str, asked: Mapping[str, str]) -> dict[str, Any] | None:
    if path == "/api/version":
        head = cluster.head
        packages = head.ctx.image.packages if head else {}
        commit = {"ray_commit": "0" * 40, "session_name": cluster.session}
        return {"version": _API_VERSION, "ray_version": packages.get("ray", "?"), **commit}
    if path == "/api/v0/nodes":
        return _page([_node(node) for node in cluster.nodes.values() if node.joined_at is not None], "")
    if path == "/api/v0/runtime_envs":
        return _page([record for node in _alive(cluster) for record in node.env_records], None)
    if path == "/api/v0/actors":
        return _page([_actor(actor) for node in _alive(cluster) for actor in node.actors], "")
    if path == "/api/v0/logs":
        node = _find(cluster, asked)
        index = dict(node.logs.index(asked.get("glob", "*"))) if node else {}
        return {"result": True, "msg": "", "data": {"result": index}}
    if path == "/api/cluster_status":
        # Only nulls with autoscaler v2 and without one, as recorded.
        data = {"autoscalingStatus": None, "autoscalingError": None, "clusterStatus": None}
        return {"result": True, "msg": "Got cluster status.", "data": data}
    return None


def _log_file(cluster: RayCluster, asked: Mapping[str, str]) -> Answer:
    node = _find(cluster, asked)
    name = asked.get("filename", "")
    try:
        lines = int(asked.get("lines", "1000"))
    except ValueError:
        return _text(400, f"lines={asked['lines']!r} is no number")
    text = node.logs.text(name, lines) if node else None
    if text is None:
        return _text(404, f'[Errno 2] No such file or directory: "/tmp/ray/{cluster.session}/logs/{name}"')
    return _text(200, text)


def _find(cluster: RayCluster, asked: Mapping[str, str]) -> RayNode | None:
    for node in _alive(cluster):
        if asked.get("node_id") == node.node_id or asked.get("node_ip") == node.ip:
            return node
    return None


def _alive(cluster: RayCluster) -> list[RayNode]:
    return [node for node in cluster.nodes.values() if node.running]


def _node(node: RayNode) -> dict[str, Any]:
    joined = node.joined_at.astimezone(UTC).timestamp() if node.joined_at else 0.0
    return {
        "node_id": node.node_id,
        "node_ip": node.ip,
        "is_head_node": node.head,
        "state": "ALIVE" if node.running else "DEAD",
        "state_message": None,
        "node_name": node.ip,
        "resources_total": resources_total(node),
        "labels": {"ray.io/node-group": node.group, "ray.io/node-id": node.node_id},
        "start_time_ms": round(joined * 1000),
        "end_time_ms": 0,
    }


def _actor(actor: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "state": "ALIVE",
        "job_id": "01000000",
        "ray_namespace": "serve",
        "serialized_runtime_env": "{}",
        "death_cause": None,
        "is_detached": True,
        "placement_group_id": None,
        "repr_name": "",
        "num_restarts": "0",
        "num_restarts_due_to_lineage_reconstruction": "0",
        "num_restarts_due_to_node_preemption": "0",
        "call_site": None,
        "label_selector": {},
        "fallback_strategy": None,
        **actor,
    }


def _page(rows: list[dict[str, Any]], partial: str | None) -> dict[str, Any]:
    counts = {"total": len(rows), "num_after_truncation": len(rows), "num_filtered": len(rows)}
    result = {**counts, "result": rows, "partial_failure_warning": partial, "warnings": None}
    return {"result": True, "msg": "", "data": {"result": result}}


def _json(document: Mapping[str, Any]) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()


def _text(status: int, text: str) -> Answer:
    return status, {"Content-Type": "text/plain; charset=utf-8"}, text.encode()
