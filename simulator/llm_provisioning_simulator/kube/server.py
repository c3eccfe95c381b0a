"""The Kubernetes API of one simulated cluster over HTTP, on 127.0.0.1.

This file receives and dispatches; what requests mean is in the modules beside it. Every cluster has its own server and
says at /version that it is simulated, and how its clock runs.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from email.utils import format_datetime
from typing import Any, Final

from aiohttp import web

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.kube import discovery, writes
from llm_provisioning_simulator.kube.authorization import Roles
from llm_provisioning_simulator.kube.backend import ProxyBackend
from llm_provisioning_simulator.kube.calls import Call, locate
from llm_provisioning_simulator.kube.podlogs import pod_log
from llm_provisioning_simulator.kube.proxying import proxy
from llm_provisioning_simulator.kube.rendering import Rendering, encode
from llm_provisioning_simulator.kube.reviews import check_allowed, refused_reply, review
from llm_provisioning_simulator.kube.statuses import StatusError, not_found, path_not_found
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.kube.watches import WatchDroppedError, watch
from llm_provisioning_simulator.loopback import Loopback

Object = dict[str, Any]

_log = logging.getLogger(__name__)

DEFAULT_VERSION: Final = "v1.34.9+simulated"
_HEALTH: Final = frozenset({"/healthz", "/livez", "/readyz"})
_MAX_BODY_BYTES: Final = 3 * 1024 * 1024
"""As the real API server (--max-request-bytes of its generic server)."""


class KubeServer:
    """One cluster's API. `name`, `cloud` and `calibrated` are shown at /version; `proxy` answers for its processes."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        name: str,
        clock: SimClock,
        proxy: ProxyBackend | None = None,
        faults: Faults | None = None,
        version: str = DEFAULT_VERSION,
        cloud: str | None = None,
        calibrated: str = "",
    ) -> None:
        self.store = store
        self.faults = faults or Faults()
        self.faults.on_switch(store.wake_watchers)
        self.proxy = proxy
        self.url: str | None = None
        self._name, self._clock, self._version, self._cloud = name, clock, version, cloud
        self._calibrated = calibrated
        self._loopback = Loopback()
        self.roles: Roles | None = None
        """What the client may do; None: everything."""
        self.open_streams: set[asyncio.Task[Any]] = set()
        """The tasks of watches and followed logs under way."""

    async def start(self, port: int = 0) -> str:
        """Listen on 127.0.0.1 (port 0: any free one) and return the URL."""
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self.url = await self._loopback.serve(web.ServerRunner(server, shutdown_timeout=1.0), port, backlog=1024)
        return self.url

    async def stop(self) -> None:
        """End every open watch and stop listening; harmless when it has stopped."""
        for task in list(self.open_streams):
            task.cancel()
        await self._loopback.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._answer_or_refuse(request)
        if not response.prepared:
            response.headers.setdefault("Date", self._date())
        return response

    def _date(self) -> str:
        """Return the cluster's own time for the Date header: clients measure a server's clock by it."""
        return format_datetime(self._clock.now(), usegmt=True)

    async def _answer_or_refuse(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except StatusError as error:
            response = _json(error.body(), error.code)
            if error.code == 429:
                response.headers["Retry-After"] = "1"
            return response
        except WatchDroppedError:
            return _abort(request)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - a server answers 500, whatever broke
            _log.exception("simulated API %s: %s %s failed", self._name, request.method, request.path)
            message = f"Internal error occurred: {error!r}"
            return _json(StatusError(500, "InternalError", message).body(), 500)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        raw_path = request.rel_url.raw_path
        if raw_path.startswith("/_simulator"):
            return await self._switch_faults(request)
        await self._inject_faults()
        place = locate(self.store.resources, raw_path)
        if place is None:
            return self._about_itself(raw_path.rstrip("/"), request)
        body = await request.content.read() if request.can_read_body else b""
        if len(body) > _MAX_BODY_BYTES:
            message = f"Request entity too large: limit is {_MAX_BODY_BYTES}"
            raise StatusError(413, "RequestEntityTooLarge", message, {})
        call = Call(
            method=request.method,
            place=place,
            query=request.rel_url.query,
            query_string=request.rel_url.raw_query_string,
            headers=request.headers,
            body=body,
        )
        check_allowed(call, self.faults)
        if self.roles is not None:
            self._check_roles(call, self.roles)
        return await self._dispatch(call, request)

    def _check_roles(self, call: Call, roles: Roles) -> None:
        """Refuse what no role allows. A PATCH or PUT that creates needs `create` too (kubernetes, apiserver
        endpoints/handlers/patch.go and update.go: createAuthorizerAttributes).
        """
        roles.check(call)
        place = call.place
        stored = self.store.peek(place.resource.plural, place.name, place.namespace)
        if call.verb in ("patch", "update") and not place.subresource and stored is None:
            roles.check(call, "create")

    async def _inject_faults(self) -> None:
        """Let the faults act that do not care what is asked."""
        faults = self.faults
        if faults.api_latency_s:
            await self._clock.sleep(faults.api_latency_s)
        if faults.use_up("too_many_requests_429"):
            raise refused_reply()
        if faults.use_up("server_error_500"):
            raise StatusError(500, "InternalError", "Internal error occurred: simulated fault", {})

    async def _dispatch(self, call: Call, request: web.BaseRequest) -> web.StreamResponse:
        place = call.place
        if place.subresource in ("", "status"):
            if place.resource.review:
                return _json(review(call, self.faults, self.roles), 201)
            response = await self._objects(call, request)
            if self.faults.hold_reply(call.verb, place.resource.plural):
                # Until the client leaves or the server stops: both cancel this.
                await asyncio.Event().wait()
            return response
        if place.resource.plural == "pods" and place.subresource == "log":
            return await self._send(request, pod_log(call, self.store, self.proxy), 200, {"Content-Type": "text/plain"})
        if place.resource.plural in ("pods", "services") and place.subresource == "proxy":
            status, headers, answer = await proxy(call, self.store, self.proxy)
            kept = {key: value for key, value in headers.items() if key.lower() not in _HOP_HEADERS}
            if isinstance(answer, bytes):
                return web.Response(status=status, headers=kept, body=answer)
            return await self._send(request, answer, status, kept)
        raise path_not_found()

    async def _objects(self, call: Call, request: web.BaseRequest) -> web.StreamResponse:
        """Answer the verbs on objects and their /status."""
        verb = call.verb
        if verb == "watch":
            lines = watch(call, self.store, self.faults)
            return await self._send(request, lines, 200, {"Content-Type": "application/json"})
        if verb in ("get", "list"):
            return _json(self._read(call))
        if verb == "create" and not call.place.name:
            created = Rendering.asked(call, self.store).one(writes.create(call, self.store))
            if self.faults.lose_reply(call.place.resource.plural):
                return _abort(request)
            return _json(created, 201)
        return self._change(call, verb, request)

    def _read(self, call: Call) -> Object:
        place, rendering = call.place, Rendering.asked(call, self.store)
        if not place.name:
            return rendering.many(writes.chosen(call, self.store), self.store.version)
        found = self.store.peek(place.resource.plural, place.name, place.namespace)
        if found is None:
            raise not_found(place.resource, place.name)
        return rendering.one(found)

    def _change(self, call: Call, verb: str, request: web.BaseRequest) -> web.StreamResponse:
        rendering = Rendering.asked(call, self.store)
        if verb == "deletecollection":
            return _json(rendering.many(writes.delete_collection(call, self.store), self.store.version))
        if verb == "delete":
            found = writes.delete(call, self.store)
            return _json(found if found["kind"] == "Status" else rendering.one(found))
        if verb == "update":
            stored, new = writes.update(call, self.store)
            return _json(rendering.one(stored), 201 if new else 200)
        if verb != "patch":
            message = "the server does not allow this method on the requested resource"
            raise StatusError(405, "MethodNotAllowed", message, {})
        patched, new = writes.patch(call, self.store)
        if new and self.faults.lose_reply(call.place.resource.plural):
            return _abort(request)
        return _json(rendering.one(patched), 201 if new else 200)

    async def _send(
        self, request: web.BaseRequest, pieces: AsyncIterator[bytes], status: int, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Send an answer piece by piece; it ends early when the client leaves or the server stops."""
        response = web.StreamResponse(status=status, headers={"Date": self._date()} | headers)
        task = asyncio.current_task()
        if task is not None:
            self.open_streams.add(task)
        try:
            await response.prepare(request)
            async for piece in pieces:
                await response.write(piece)
            await response.write_eof()
        except ConnectionResetError:
            _log.debug("simulated API %s: client left %s", self._name, request.path)
        finally:
            if task is not None:
                self.open_streams.discard(task)
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
        return response

    def _about_itself(self, path: str, request: web.BaseRequest) -> web.Response:
        """Answer what is no resource: discovery, version, health, the stub of OpenAPI."""
        if path in _HEALTH:
            return web.Response(text="ok")
        parts = tuple(path.split("/")[1:])
        found = self._version_info() if parts == ("version",) else None
        found = found or discovery.document(self.store.resources, parts, request.host)
        if found is None:
            # A path of no resource never reaches what answers with Status objects (recorded).
            return web.Response(status=404, text="404 page not found\n", headers={"X-Content-Type-Options": "nosniff"})
        return _json(found)

    def _version_info(self) -> Object:
        major, minor = self._version.lstrip("v").split(".")[:2]
        return {
            "major": major,
            "minor": minor,
            "gitVersion": self._version,
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "",
            "compiler": "",
            "platform": "linux/amd64",
            "simulated": self._declared(),
        }

    def _declared(self) -> Object:
        """Return how the cluster says that it is simulated, and with which numbers."""
        told = {"cluster": self._name, "clock": self._clock.declaration(), "cloud": self._cloud}
        return told | ({"calibrated": self._calibrated} if self._calibrated else {})

    async def _switch_faults(self, request: web.BaseRequest) -> web.Response:
        """GET /_simulator/faults shows them, POST {"name": ..., "value": ...} switches one."""
        if request.rel_url.path != "/_simulator/faults":
            raise path_not_found()
        if request.method == "POST":
            asked = await request.json()
            try:
                self.faults.switch(asked["name"], asked["value"])
            except KeyError as error:
                known = ", ".join(self.faults.values())
                return _json({"error": f"no fault {error}; there are: {known}"}, 404)
            except TypeError as error:
                return _json({"error": str(error)}, 400)
        return _json(self.faults.values())


_HOP_HEADERS: Final = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


def _json(body: Object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=encode(body), content_type="application/json")


def _abort(request: web.BaseRequest) -> web.StreamResponse:
    """Break the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
