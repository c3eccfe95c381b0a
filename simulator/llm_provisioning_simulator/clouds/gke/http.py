"""What all of Google's stand-in services share: calls checked against the documents, faults, long operations.

A service is a mapping from the document's method ids to handlers. A method that the document has and no handler answers
is refused with 501, so that a gateway is never answered by chance. One port per service: operations have the same path
in most of them.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.clouds.gke import discovery as google_discovery
from llm_provisioning_simulator.clouds.operations import CallFaults, Fault, OperationStore, is_kind, lose_reply
from llm_provisioning_simulator.loopback import Loopback

# google.rpc.Code: name -> (number, HTTP status), https://github.com/googleapis/googleapis google/rpc/code.proto
CODES: Final[Mapping[str, tuple[int, int]]] = {
    "INVALID_ARGUMENT": (3, 400),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
}


class GoogleError(Exception):
    """A refusal as Google words it. `code`: a name of google.rpc.Code; `reason`: of its ErrorInfo."""

    def __init__(self, code: str, message: str, *, reason: str | None = None, service: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.service = service

    def status(self) -> dict[str, Any]:
        """Return the google.rpc.Status an operation carries."""
        return {"code": CODES[self.code][0], "message": self.message}

    def response(self) -> web.Response:
        """Return the HTTP answer."""
        status = CODES[self.code][1]
        error: dict[str, Any] = {"code": status, "message": self.message, "status": self.code}
        if self.reason:
            error["details"] = [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": self.reason,
                    "domain": "googleapis.com",
                    "metadata": {"service": self.service},
                }
            ]
        return web.json_response({"error": error}, status=status)


@dataclass(frozen=True, slots=True)
class Call:
    """One checked call. `path` and `query` by the document's names; `fault`: what was asked to go wrong with it."""

    method_id: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    fault: Fault | None


Handler = Callable[[Call], Awaitable[dict[str, Any]]]


@dataclass(slots=True)
class Running:
    """A long operation: it takes virtual time and then does what it was begun for."""

    name: str
    kind: str
    target: str
    started_at: datetime
    ended_at: datetime | None = None
    error: GoogleError | None = None
    response: dict[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether it ended, well or badly."""
        return self.ended_at is not None


class Operations(OperationStore[Running]):
    """The long operations of one service. Faults: `operation_error` (code, message: it ends with it) and
    `operation_vanishes` (it goes on, but its name is unknown).
    """

    def __init__(self, clock: SimClock, prefix: str) -> None:
        super().__init__(clock)
        self._prefix = prefix

    def begin(
        self, seconds: float, effect: Callable[[], Any], *, kind: str, target: str, fault: Fault | None
    ) -> Running:
        """Begin an operation whose `effect` happens after virtual `seconds`; a GoogleError of it becomes its error."""
        now = self.clock.now()
        running = Running(f"{self._prefix}{now:%Y%m%d%H%M%S}-{self.next_number():04d}", kind, target, now)
        if not is_kind(fault, "operation_vanishes"):
            self.add(running.name, running)

        def finish(running: Running) -> None:
            try:
                if fault is not None and is_kind(fault, "operation_error"):
                    raise GoogleError(fault["code"], fault["message"])
                running.response = effect() or {}
            except GoogleError as error:
                running.error = error

        self.end_after(running, seconds, finish)
        return running

    def get(self, name: str) -> Running:
        """Return an operation or raise NOT_FOUND."""
        if name not in self.known:
            raise GoogleError("NOT_FOUND", f"Operation {name} was not found.")
        return self.known[name]

    def busy(self, target: str) -> Running | None:
        """Return the operation that still runs on a target or on anything in it."""
        return next((r for r in self.known.values() if not r.done and r.target.startswith(target)), None)


def long_running(running: Running, name: str, metadata: str) -> dict[str, Any]:
    """Return an operation as google.longrunning.Operation under its full `name`; `metadata`: type of that field.

    Google's metadata has no fields here, and no `done` while the operation runs (recorded: cloud-custodian, Service
    Usage 2020-12-02; k8s-config-connector, Artifact Registry).
    """
    body: dict[str, Any] = {"name": name, "metadata": {"@type": f"type.googleapis.com/{metadata}"}}
    if running.error is not None:
        body |= {"done": True, "error": running.error.status()}
    elif running.done:
        body |= {"done": True, "response": running.response}
    return body


def stamp(at: datetime) -> str:
    """Return an instant as Google writes it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


class GoogleService:
    """One API on one port of 127.0.0.1."""

    def __init__(
        self, name: str, handlers: Mapping[str, Handler], faults: CallFaults, *, gate: Callable[[], None] | None = None
    ) -> None:
        """`name`: of the discovery document; `gate` raises GoogleError where the whole API is disabled."""
        self.document = google_discovery.service(name)
        self._handlers = handlers
        self._faults = faults
        self._gate = gate
        self._loopback = Loopback()
        self.calls: list[str] = []
        """Method ids in the order they came in."""

    async def start(self, port: int = 0) -> str:
        """Listen, and return the URL."""
        app = web.Application(client_max_size=8 * 1024**2)
        self._faults.serve(app)
        app.router.add_route("*", "/{rest:.*}", self._answer)
        return await self._loopback.serve(web.AppRunner(app, access_log=None, shutdown_timeout=0.1), port)

    async def stop(self) -> None:
        """Stop listening."""
        await self._loopback.stop()

    async def _answer(self, request: web.Request) -> web.Response:
        found = self.document.find(request.method, request.rel_url.raw_path)
        if found is None:
            return web.Response(
                status=404, text=f"{request.method} {request.path} is no method of {self.document.name}"
            )
        method, path = found
        self.calls.append(method.method_id)
        fault = self._faults.take(method.method_id)
        try:
            if fault and fault["kind"] == "http":
                raise GoogleError(fault["code"], fault["message"], reason=fault.get("reason"))
            answer = await self._handle(request, method, path, fault)
        except GoogleError as error:
            return error.response()
        lose_reply(fault, request)
        return web.json_response(answer)

    async def _handle(
        self,
        request: web.Request,
        method: google_discovery.Method,
        path: Mapping[str, str],
        fault: Fault | None,
    ) -> dict[str, Any]:
        text = await request.text()
        try:
            body = self.document.check(method, request.query, json.loads(text) if text else None)
        except ValueError as error:
            raise GoogleError("INVALID_ARGUMENT", str(error)) from error
        if self._gate is not None:
            self._gate()
        handler = self._handlers.get(method.method_id)
        if handler is None:
            raise GoogleError("UNIMPLEMENTED", f"The simulator does not answer {method.method_id}.")
        # Repeated parameters are joined by commas; none of Google's values here holds one.
        query = {key: ",".join(request.query.getall(key)) for key in request.query}
        return await handler(Call(method.method_id, path, query, body, fault))
