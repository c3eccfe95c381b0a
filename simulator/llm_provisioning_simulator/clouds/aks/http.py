"""What all of Azure's stand-in APIs share: refusals as Azure words them, faults, operations that take virtual time.

It knows no resource. A call that no handler answers gets 501, so that a gateway is never answered by chance.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from llm_provisioning_simulator.clouds.operations import CallFaults, Fault, OperationStore, is_kind, lose_reply
from llm_provisioning_simulator.world import World


class AzureError(Exception):
    """A refusal. `registry`: worded as container registries do, not as Azure Resource Manager; `envelope`: False for
    AKS's own refusals, which are the error itself (azure-cli, aks recordings of 2025).
    """

    def __init__(self, status: int, code: str, message: str, *, registry: bool = False, envelope: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.registry = registry
        self.envelope = envelope
        self.headers: dict[str, str] = {}

    def response(self) -> web.Response:
        """Return the HTTP answer."""
        error = {"code": self.code, "message": self.message}
        body: dict[str, Any] = {"errors": [error]} if self.registry else {"error": error}
        if not self.envelope:
            body = {**error, "details": None, "subcode": ""}
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
    fault: Fault | None

    def json(self) -> Any:
        """Return the body as JSON."""
        try:
            return json.loads(self.body) if self.body else {}
        except ValueError:
            raise AzureError(400, "InvalidRequestContent", "The request content was invalid: it is no JSON.") from None


Handler = Callable[[Call], Awaitable[web.Response]]


def endpoint(name: str, handler: Handler, faults: CallFaults, *, registry: bool) -> Callable[..., Any]:
    """Return an aiohttp handler: faults first, then the real thing, errors in Azure's words.

    Faults of every call: `http` (status, code, message, retry_after_s), `expired_token`, `lost_reply`.
    """

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
        lose_reply(fault, request)
        return response

    return answer


def _refuse(fault: Fault | None, *, registry: bool) -> None:
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
    progress: str | None = None
    """What it says of itself while it goes on, instead of InProgress."""
    trouble: Mapping[str, str] | None = None
    """An error that it reports although it goes on, or has ended well."""

    def as_azure(self) -> dict[str, Any]:
        """Return the body of Azure-AsyncOperation (Azure Resource Manager, "Track asynchronous operations")."""
        status = self.status if self.ended_at is not None or self.progress is None else self.progress
        body: dict[str, Any] = {"name": self.identity, "status": status, "startTime": stamp(self.started_at)}
        if self.trouble is not None:
            body["error"] = dict(self.trouble)
        if self.ended_at is not None:
            body["endTime"] = stamp(self.ended_at)
        if self.code is not None:
            body["error"] = {"code": self.code, "message": self.message or ""}
        return body


class LongOperations(OperationStore[Running]):
    """The long operations of the stand-in. Faults: `operation` (status, code, message: it ends so), `never_ends`.

    `operation_words` (progress, trouble): what it says of itself meanwhile, as AKS does: free text, and an error that
    passes.
    """

    def get(self, identity: str) -> Running | None:
        """Return an operation, or None."""
        return self.known.get(identity)

    def begin(self, prefix: str, seconds: float, at_end: Callable[[Running], None], fault: Fault | None) -> Running:
        """Begin an operation. `at_end` sees its final status: an `operation` fault sets it, else Succeeded."""
        running = Running(f"{prefix}{self.next_number():08d}", self.clock.now())
        if fault is not None and is_kind(fault, "operation_words"):
            running.progress, running.trouble = fault.get("progress"), fault.get("trouble")
        self.add(running.identity, running)

        def finish(running: Running) -> None:
            running.status = "Succeeded"
            if fault is not None and is_kind(fault, "operation"):
                running.status = str(fault.get("status", "Failed"))
                running.code = str(fault.get("code", "InternalError"))
                running.message = str(fault.get("message", "a fault"))
            at_end(running)

        if not is_kind(fault, "never_ends"):
            self.end_after(running, seconds, finish)
        return running


@dataclass(frozen=True, slots=True)
class Shared:
    """What the parts of the stand-in share. `base_url`: asked at each call, as it is known once the server listens."""

    world: World
    operations: LongOperations
    durations_s: Mapping[str, float]
    base_url: Callable[[], str]


class Part:
    """One part of the stand-in."""

    def __init__(self, shared: Shared) -> None:
        self._world = shared.world
        self._operations = shared.operations
        self._durations_s = shared.durations_s
        self._base_url = shared.base_url


def stamp(at: datetime) -> str:
    """Return an instant as Azure writes it."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def group_path(call: Call) -> str:
    """Return the path of the providers of a call's resource group, which ids and scopes begin with."""
    return f"/subscriptions/{call.path['subscription']}/resourceGroups/{call.path['group']}/providers"


ARM_GROUP: Final = "/subscriptions/{subscription}/resourceGroups/{group}/providers"
