"""What all of Azure's stand-in APIs share: refusals as Azure words them, faults, operations that take virtual time.

It knows no resource. A call that no handler answers gets 501, so that a gateway is never answered by chance.
"""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from aiohttp import web

from llm_provisioning_simulator.clock import SimClock


class AzureError(Exception):
    """A refusal. `registry`: worded as container registries do, not as Azure Resource Manager."""

    def __init__(self, status: int, code: str, message: str, *, registry: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.registry = registry
        self.headers: dict[str, str] = {}

    def response(self) -> web.Response:
        """Return the HTTP answer."""
        error = {"code": self.code, "message": self.message}
        body: dict[str, Any] = {"errors": [error]} if self.registry else {"error": error}
        return web.json_response(body, status=self.status, headers=self.headers)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its parts of the path, its query and body. `fault`: what was asked to go wrong with it."""

    name: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    host: str
    headers: Mapping[str, str]
    body: bytes
    fault: Mapping[str, Any] | None

    def json(self) -> Any:
        """Return the body as JSON."""
        try:
            return json.loads(self.body) if self.body else {}
        except ValueError:
            raise AzureError(400, "InvalidRequestContent", "The request content was invalid: it is no JSON.") from None


Handler = Callable[[Call], Awaitable[web.Response]]


class Faults(dict[str, dict[str, Any]]):
    """Name of a call (`agentPools.put`, ...) -> what goes wrong: {"kind": ..., "times": 1, ...}; `times` 0: always.

    Kinds: `http` (status, code, message, retry_after_s: refused before anything is done), `expired_token`,
    `lost_reply` (done, but the connection breaks before the answer), `operation` (status, code, message: the long
    operation that the call begins ends with it), `never_ends`, and what single APIs add.
    """

    def take(self, name: str) -> dict[str, Any] | None:
        """Return the fault of a call and count it down."""
        fault = self.get(name)
        if fault is None:
            return None
        times = int(fault.get("times", 1))
        if times == 1:
            del self[name]
        elif times > 1:
            self[name] = {**fault, "times": times - 1}
        return fault


def endpoint(name: str, handler: Handler, faults: Faults, *, registry: bool) -> Callable[..., Any]:
    """Return an aiohttp handler: faults first, then the real thing, errors in Azure's words."""

    async def answer(request: web.Request) -> web.StreamResponse:
        fault = faults.take(name)
        call = Call(
            name,
            dict(request.match_info),
            dict(request.query),
            request.headers.get("Host", ""),
            request.headers,
            await request.read(),
            fault,
        )
        try:
            _refuse(fault, registry=registry)
            response = await handler(call)
        except AzureError as error:
            error.registry = registry
            response = error.response()
        if fault is not None and fault["kind"] == "lost_reply" and request.transport is not None:
            request.transport.abort()
        return response

    return answer


def _refuse(fault: Mapping[str, Any] | None, *, registry: bool) -> None:
    kind = None if fault is None else fault["kind"]
    if fault is not None and kind == "http":
        error = AzureError(int(fault["status"]), str(fault.get("code", "Fault")), str(fault.get("message", "a fault")))
        if "retry_after_s" in fault:
            error.headers["Retry-After"] = str(fault["retry_after_s"])
        raise error
    if kind == "expired_token":
        code = "UNAUTHORIZED" if registry else "ExpiredAuthenticationToken"
        raise AzureError(401, code, "The access token expiry UTC time is earlier than current UTC time.")


@dataclass(slots=True)
class Running:
    """A long operation. `status`: Azure's word once it ended, else InProgress."""

    identity: str
    started_at: datetime
    status: str = "InProgress"
    ended_at: datetime | None = None
    code: str | None = None
    message: str | None = None

    def as_azure(self) -> dict[str, Any]:
        """Return the body of Azure-AsyncOperation (Azure Resource Manager, "Track asynchronous operations")."""
        body: dict[str, Any] = {"name": self.identity, "status": self.status, "startTime": stamp(self.started_at)}
        if self.ended_at is not None:
            body["endTime"] = stamp(self.ended_at)
        if self.code is not None:
            body["error"] = {"code": self.code, "message": self.message or ""}
        return body


class LongOperations:
    """The long operations of the stand-in: each takes virtual time, then does what it was begun for."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self._numbers = itertools.count(1)
        self._operations: dict[str, Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, identity: str) -> Running | None:
        """Return an operation, or None."""
        return self._operations.get(identity)

    def begin(
        self, prefix: str, seconds: float, at_end: Callable[[Running], None], fault: Mapping[str, Any] | None
    ) -> Running:
        """Begin an operation. `at_end` sees its final status: an `operation` fault sets it, else Succeeded."""
        running = Running(f"{prefix}{next(self._numbers):08d}", self.clock.now())
        self._operations[running.identity] = running
        if fault is None or fault["kind"] != "never_ends":
            self.soon(self._run(running, seconds, at_end, fault))
        return running

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside; stopped with the stand-in."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Stop everything that goes on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(
        self, running: Running, seconds: float, at_end: Callable[[Running], None], fault: Mapping[str, Any] | None
    ) -> None:
        await self.clock.sleep_until(running.started_at + timedelta(seconds=seconds))
        if running.ended_at is not None:
            return  # cancelled meanwhile
        running.ended_at = self.clock.now()
        running.status = "Succeeded"
        if fault is not None and fault["kind"] == "operation":
            running.status = str(fault.get("status", "Failed"))
            running.code, running.message = (
                str(fault.get("code", "InternalError")),
                str(fault.get("message", "a fault")),
            )
        at_end(running)


def stamp(at: datetime) -> str:
    """Return an instant as Azure writes it."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


ARM_GROUP: Final = "/subscriptions/{subscription}/resourceGroups/{group}/providers"
