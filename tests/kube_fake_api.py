"""A minimal API server over real HTTP whose next answers can be spoilt: for faults that a sound one does not do."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess
from airflow_llm_provisioning.gateways.kubernetes.resources import EVENTS_V1
from llm_provisioning_simulator.kube.events import core_event, events_view

View = Callable[[dict[str, Any]], dict[str, Any]]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
_OBJECT = re.compile(
    r"^/apis?/(?P<api>v1|[^/]+/[^/]+)(?:/namespaces/(?P<ns>[^/]+))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?$"
)


@dataclass
class Fault:
    """Spoils the next `times` requests whose `METHOD path?query` matches `pattern`.

    `status` answers that without doing anything; `lost` does it and closes the connection without a reply; `cut` closes
    the connection without doing anything.
    """

    pattern: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "spoilt"
    details: dict[str, Any] = field(default_factory=dict)
    lost: bool = False
    cut: bool = False
    times: int = 1


class FakeApi:
    """Objects by path, one resourceVersion, watches, and faults. `requests`: every `METHOD path?query` that came."""

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.version: dict[str, Any] = {"gitVersion": "v1.34.0"}
        self.handlers: dict[str, Answer] = {}
        self.accepted_token: str | None = None
        self.bodies: list[Any] = []
        self.absent: set[str] = set()
        self.compacted = 0
        self._number = 100
        self._history: list[tuple[int, str, str, dict[str, Any]]] = []
        self._changed = asyncio.Event()
        self._epoch = 0
        self._port = 0
        self._runner: web.AppRunner | None = None

    def access(self, token: str | None = None) -> Callable[[], ClusterAccess]:
        """Return what a cloud's gateway would return for this server."""
        return lambda: ClusterAccess(self.url, token=token)

    async def put(self, plural: str, name: str, namespace: str | None = "default", **content: Any) -> dict[str, Any]:
        """Create or change an object as another owner would. Both event APIs show an event."""
        if plural == EVENTS_V1:
            plural, content = "events", {**core_event(content), "metadata": content.get("metadata", {})}
        key = (plural, namespace or "", name)
        old = self.objects.get(key)
        self._number += 1
        metadata = {**content.pop("metadata", {}), "name": name, "resourceVersion": str(self._number)}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata["creationTimestamp"] = old["metadata"]["creationTimestamp"] if old else now
        metadata["uid"] = old["metadata"]["uid"] if old else f"uid-{plural}-{name}-{self._number}"
        if namespace:
            metadata["namespace"] = namespace
        self.objects[key] = {"metadata": metadata, **content}
        await self._note("MODIFIED" if old else "ADDED", plural, self.objects[key])
        return self.objects[key]

    async def remove(self, plural: str, name: str, namespace: str | None = "default") -> None:
        """Delete an object as another owner would."""
        gone = self.objects.pop((plural, namespace or "", name))
        self._number += 1
        gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self._number)}}
        await self._note("DELETED", plural, gone)

    async def replay(self, kind: str, plural: str, item: dict[str, Any]) -> None:
        """Play one line of a recording: the object as it was, its version and all."""
        if plural == EVENTS_V1:
            plural, item = "events", core_event(item)
        metadata = item["metadata"]
        key = (plural, metadata.get("namespace") or "", metadata["name"])
        self._number += 1
        if kind == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = item
        await self._note("ADDED" if kind == "LISTED" else kind, plural, item)

    async def compact(self) -> None:
        """Forget all history: older resourceVersions get 410 from now on."""
        self.compacted = self._number
        await self.drop_watches()

    async def drop_watches(self) -> None:
        """Close every open watch without a word."""
        self._epoch += 1
        self._wake()

    async def start(self) -> None:
        """Listen, the second time on the port of the first."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        """End every connection and refuse new ones; what was stored stays."""
        await self.drop_watches()
        if self._runner is not None:
            await self._runner.cleanup()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, spoilt or not."""
        line = f"{request.method} {request.path_qs}"
        self.requests.append(line)
        self.tokens.append(request.headers.get("Authorization"))
        fault = next((one for one in self.faults if one.times > 0 and re.search(one.pattern, line)), None)
        if fault is not None:
            fault.times -= 1
            if fault.status is not None:
                return _status(fault.status, fault.message, fault.headers, fault.details)
            if fault.lost:
                await self._answer(request)
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.accepted_token is not None and self.tokens[-1] != f"Bearer {self.accepted_token}":
            return _status(401, "Unauthorized")
        return await self._answer(request)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        for prefix, handler in self.handlers.items():
            if request.path.startswith(prefix):
                return await handler(request)
        if request.path == "/version":
            return web.json_response(self.version)
        match = _OBJECT.match(request.path)
        if match is None or match["plural"] in self.absent:
            return _status(404, "the server could not find the requested resource")
        shown = events_view if match["api"].startswith("events.") else _as_stored
        if match["name"] is None:
            return await self._collection(request, match["plural"], match["ns"], shown)
        return await self._one(request, (match["plural"], match["ns"] or "", match["name"]))

    async def _collection(
        self, request: web.Request, plural: str, namespace: str | None, shown: View
    ) -> web.StreamResponse:
        if request.method == "POST":
            body = await request.json()
            self.bodies.append(body)
            name = body["metadata"]["name"]
            if (plural, namespace or "", name) in self.objects:
                return _status(409, f'{plural} "{name}" already exists')
            return web.json_response(await self.put(plural, namespace=namespace, **_content(body)), status=201)
        if request.query.get("watch"):
            return await self._watch(request, plural, namespace, shown)
        items = [
            shown(item)
            for (kind, ns, _), item in sorted(self.objects.items())
            if kind == plural and namespace in (ns, None)
        ]
        start, limit = int(request.query.get("continue", 0)), int(request.query.get("limit", 0)) or len(items)
        metadata = {"resourceVersion": str(self._number)}
        if start + limit < len(items):
            metadata["continue"] = str(start + limit)
        return web.json_response({"metadata": metadata, "items": items[start : start + limit]})

    async def _one(self, request: web.Request, key: tuple[str, str, str]) -> web.Response:
        plural, namespace, name = key
        old = self.objects.get(key)
        body = await request.json() if request.can_read_body else {}
        self.bodies.append(body)
        if request.method == "PATCH" and "apply" in request.content_type:
            return web.json_response(await self.put(plural, namespace=namespace or None, **_content(body)))
        if old is None:
            return _status(404, f'{plural} "{name}" not found')
        if request.method == "GET":
            return web.json_response(old)
        asked = body.get("preconditions", {}) if request.method == "DELETE" else body.get("metadata", {})
        if any(
            asked.get(field, old["metadata"][field]) != old["metadata"][field] for field in ("uid", "resourceVersion")
        ):
            return _status(409, f"Operation cannot be fulfilled on {plural} {name}")
        if request.method == "DELETE":
            await self.remove(plural, name, namespace or None)
            return web.json_response({"kind": "Status", "status": "Success"})
        changed = {**old, **body}
        return web.json_response(await self.put(plural, namespace=namespace or None, **_content(changed, name)))

    async def _watch(self, request: web.Request, plural: str, namespace: str | None, shown: View) -> web.StreamResponse:
        version, epoch = int(request.query["resourceVersion"]), self._epoch
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if version < self.compacted:
            await _line(response, "ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
            return response
        ends_at = asyncio.get_running_loop().time() + float(request.query.get("timeoutSeconds", 30))
        while self._epoch == epoch and asyncio.get_running_loop().time() < ends_at:
            for number, kind, what, item in list(self._history):
                if number > version and what == plural and namespace in (item["metadata"].get("namespace"), None):
                    await _line(response, kind, shown(item))
                    version = number
            await self._wait()
        return response

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), 0.05)
        except TimeoutError:
            return

    def _wake(self) -> None:
        # Not a Condition: a watch that is cancelled while it takes the lock back fails (Python 3.11).
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()

    async def _note(self, kind: str, plural: str, item: dict[str, Any]) -> None:
        self._history.append((self._number, kind, plural, json.loads(json.dumps(item))))
        self._wake()


@asynccontextmanager
async def fake_api() -> AsyncIterator[FakeApi]:
    """Serve a FakeApi on a free port of 127.0.0.1."""
    api = FakeApi()
    await api.start()
    try:
        yield api
    finally:
        await api.stop()


def _as_stored(item: dict[str, Any]) -> dict[str, Any]:
    return item


def _content(body: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    return {**body, "name": name or body["metadata"]["name"]}


def _status(
    code: int, message: str, headers: dict[str, str] | None = None, details: dict[str, Any] | None = None
) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return web.json_response({**status, "details": details or {}}, status=code, headers=headers)


async def _line(response: web.StreamResponse, kind: str, item: dict[str, Any]) -> None:
    await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
