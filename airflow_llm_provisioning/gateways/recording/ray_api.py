"""State of Ray and Serve, read by the API server's service proxy at the end of a recording.

Every request may fail (the head is not running, or does not know the path). The data are then missing and the trace
contains the reason. A failure here never ends a recording.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlencode

from airflow_llm_provisioning.core.fields import dig, items, mapping, objects, text
from airflow_llm_provisioning.core.trace import Line, line, mark_line
from airflow_llm_provisioning.core.trace.placement import has_accelerator
from airflow_llm_provisioning.exceptions import ClusterError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording.scope import Scope

Emit = Callable[[Line], object]

SERVE_PATH: Final = "/api/serve/applications/"
CALL_TIMEOUT_S: Final = 10.0
LOG_LINES: Final = 2000
MAX_LOG_BYTES: Final = 256 * 1024
MAX_LOGS: Final = 16
# A node has two log files for each idle worker process too.
MORE_LOGS: Final = 48
# In the name of the log of a worker process that Ray started and no job has used.
_NO_JOB: Final = "-ffffffff-"
# Changes at every poll and contains nothing about a start (Ray 2.60, serve/_private/controller_health_metrics_tracker).
VOLATILE: Final = "controller_health_metrics"
_STATE: Final = {
    "ray-version": "/api/version",
    "ray-nodes": "/api/v0/nodes?detail=1",
    "ray-runtime-envs": "/api/v0/runtime_envs?detail=1",
}


async def collect(cluster: Cluster, namespace: str, scope: Scope, emit: Emit) -> None:
    """Read once what only a running Ray provides: its nodes and environments, and the logs of Serve and engine."""
    reader = _Reader(cluster, namespace, scope.head_service or "", emit)
    if not reader.service:
        reader.missing("ray", "no RayCluster existed yet")
        return
    found = {resource: await reader.read(resource, path) for resource, path in _STATE.items()}
    serve = await reader.read("serve-rest", SERVE_PATH)
    nodes = [one for one in objects(found["ray-nodes"], "data", "result", "result") if one.get("state") == "ALIVE"]
    nodes = [one for one in nodes if text(one.get("node_id"))]
    serving = {text(replica.get("node_id")) for replica in _replicas(serve)}
    for node in sorted(nodes, key=lambda one: one.get("is_head_node") is not True):
        # A pipeline or a tensor-parallel engine runs on more nodes than its replica.
        ranks = has_accelerator(node.get("resources_total"))
        await reader.logs(node, with_workers=ranks or text(node.get("node_id")) in serving)
    if not any(text(node.get("node_id")) in serving for node in nodes):
        # After three failures Serve lists no replica any more (Ray 2.60), and only the output of a worker process on
        # some node has the engine's error. The head hosts the fewest engines, so it is read last.
        reader.allow_more_logs()
        for node in sorted(nodes, key=lambda one: one.get("is_head_node") is True):
            await reader.worker_logs(node)


class _Reader:
    """Reads from one head; after the first missing reply it marks that and sends no further requests."""

    def __init__(self, cluster: Cluster, namespace: str, service: str, emit: Emit) -> None:
        self.service = service
        self._cluster = cluster
        self._namespace = namespace
        self._emit = emit
        self._logs_left = MAX_LOGS
        self._silent = False

    async def read(self, resource: str, path: str, **extra: Any) -> Any:
        """Read one path and emit its answer; None without an answer."""
        if self._silent:
            return None
        answer = await _ask(self._cluster, self.service, self._namespace, path, CALL_TIMEOUT_S)
        if answer is None:
            self._silent = True
            self.missing(resource, f"{self.service} did not answer {path}")
            return None
        status, body = answer
        if isinstance(body, str):
            body = body[-MAX_LOG_BYTES:]
        self._emit(answer_line(self._cluster, resource, status, body, service=self.service, path=path, **extra))
        return body if status == 200 else None

    def allow_more_logs(self) -> None:
        """Allow further log files, for a search over all nodes."""
        self._logs_left += MORE_LOGS

    async def logs(self, node: Mapping[str, Any], *, with_workers: bool) -> None:
        """Read Serve's logs of one Ray node, and the output of the workers that run replicas (the engine's lines)."""
        serve = await self._names(node, "serve/*")
        await self._files(node, [name for name in serve if name.startswith(("serve/controller", "serve/replica"))])
        if with_workers:
            await self.worker_logs(node)

    async def worker_logs(self, node: Mapping[str, Any]) -> None:
        """Read the output of the worker processes of one Ray node; of those that no job has used, last."""
        found = [name for name in await self._names(node, "worker-*") if name.startswith("worker-")]
        await self._files(node, sorted(found, key=lambda name: _NO_JOB in name))

    async def _files(self, node: Mapping[str, Any], wanted: list[str]) -> None:
        node_id, node_ip = text(node.get("node_id")), text(node.get("node_ip"))
        for name in wanted:
            if self._logs_left <= 0:
                self.missing("ray-log-file", f"too many log files; {name} and later ones were omitted")
                return
            self._logs_left -= 1
            query = urlencode({"node_id": node_id, "filename": name, "lines": LOG_LINES}, safe="/")
            await self.read("ray-log-file", f"/api/v0/logs/file?{query}", node_ip=node_ip, filename=name)

    async def _names(self, node: Mapping[str, Any], glob: str) -> list[str]:
        query = urlencode({"node_id": text(node.get("node_id")), "glob": glob}, safe="/")
        index = await self.read("ray-logs-index", f"/api/v0/logs?{query}", node_ip=text(node.get("node_ip")))
        return sorted(text(name) for names in mapping(dig(index, "data", "result")).values() for name in items(names))

    def missing(self, what: str, why: str) -> None:
        """Mark in the trace what could not be read."""
        self._emit(mark_line(self._cluster.clock(), "not_collected", what=what, why=why))


def _replicas(serve: Any) -> Iterable[Mapping[str, Any]]:
    """Yield the replicas of every deployment; of those that have none, the dead ones."""
    for application in mapping(dig(serve, "applications")).values():
        for deployment in mapping(dig(application, "deployments")).values():
            yield from objects(deployment, "replicas") or objects(deployment, "recent_dead_replicas")


async def _ask(cluster: Cluster, service: str, namespace: str, path: str, timeout_s: float) -> tuple[int, Any] | None:
    """Return status and body, or None without a reply."""
    try:
        status, headers, body = await cluster.proxy(
            service, "dashboard", path, namespace=namespace, timeout_s=timeout_s
        )
    except ClusterError:
        return None
    return status, body_of(headers, body)


def body_of(headers: Mapping[str, str], body: bytes) -> Any:
    """Return the body of a reply: JSON without what changes at every poll, else text."""
    if "json" in headers.get("Content-Type", ""):
        with suppress(ValueError):
            told = json.loads(body)
            if isinstance(told, dict):
                told.pop(VOLATILE, None)
            return told
    return body.decode("utf-8", "replace")


def answer_line(cluster: Cluster, resource: str, status: int, body: Any, **extra: Any) -> Line:
    """Return an answer, received now, as a line."""
    return line(cluster.clock(), None, resource, body, status_code=status, **extra)
