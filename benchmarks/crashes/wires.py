"""The wires of a process: aiohttp, requests, botocore and the database driver. Each call goes through `points`.

Below the wires is the network of the machine, on which the simulator's own servers listen; SQLite's files are in
memory, so that a forked child has its own.
"""

import asyncio
import io
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

import aiohttp
import botocore.awsrequest
import botocore.exceptions
import botocore.httpsession
import requests
import requests.adapters
import urllib3
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect
from yarl import URL

from airflow_llm_provisioning.gateways.kubernetes import session
from airflow_llm_provisioning.triggers import trace_sink
from crashes.machine import PROCESS, Ending, Machine, Process
from crashes.points import INJECTOR, LATE_S, Call, through

_READS: Final = ("GET", "HEAD")
# Database commits cannot be delivered twice.
_STORE_FAULTS: Final = ("before", "after", "lost", "twin")
_SKIPPED: Final = ("content-length", "expect", "connection", "transfer-encoding", "accept-encoding")
_ANCHORS: Final[dict[str, sqlite3.Connection]] = {}


@contextmanager
def wired(loop: Machine) -> Iterator[None]:
    """Lead every call of a process through the crash points."""
    with ExitStack() as stack:
        for owner, name, replacement in (
            (aiohttp.ClientSession, "_request", _aiohttp(aiohttp.ClientSession._request)),
            (requests.adapters.HTTPAdapter, "send", _requests(loop)),
            (botocore.httpsession.URLLib3Session, "send", _botocore(loop)),
            (DefaultDialect, "do_commit", _commit(loop, DefaultDialect.do_commit)),
        ):
            stack.enter_context(mock.patch.object(owner, name, replacement))
        stack.enter_context(mock.patch.object(session, "_OPEN", _SessionsOfProcess()))
        stack.enter_context(mock.patch.object(trace_sink, "_STORES", _StoresOfProcess()))
        for module in (sqlite3, sqlite3.dbapi2):
            stack.enter_context(mock.patch.object(module, "connect", _connect))
        event.listen(Engine, "before_cursor_execute", _note_write)
        stack.callback(event.remove, Engine, "before_cursor_execute", _note_write)
        yield


def _named(method: str, url: str, body: bytes | None = None, headers: Mapping[str, Any] | None = None) -> Call:
    """Return the call with what identifies one object taken out of its address."""
    parsed = URL(url, encoded=True)
    path = re.sub(r"[0-9a-f]{8,}(-[0-9a-f]{4,})*|(?<=[-/.])\d{3,}\w*", "*", parsed.path)
    action = parsed.query.get("Action") or (headers or {}).get("X-Amz-Target") or ""
    if isinstance(action, bytes):
        action = action.decode()
    if not action and body and (found := re.search(rb"(?:^|&)Action=(\w+)", bytes(body[:4096]))):
        action = found[1].decode()
    watch = " watch" if parsed.query.get("watch") else ""
    reads = method in _READS or re.search(r"\b(Describe|Get|List|BatchGet|Head)", str(action)) is not None
    process = PROCESS.get()
    return Call(process.name if process else "", f"{method} {path}{' ' if action else ''}{action}{watch}", not reads)


# --- HTTP


def _aiohttp(original: Any) -> Any:
    async def request(self: Any, method: str, url: Any, **options: Any) -> Any:
        if PROCESS.get() is None:
            return await original(self, method, url, **options)
        call = _named(method, str(url))
        return await through(call, lambda: original(self, method, url, **options), aiohttp.ServerDisconnectedError)

    return request


def _requests(loop: Machine) -> Any:
    def send(self: Any, request: Any, **_: Any) -> Any:
        def lost() -> Exception:
            return requests.exceptions.ConnectionError("the connection broke before the reply", request=request)

        found = _sent(loop, request, lost)
        return self.build_response(request, found)

    return send


def _botocore(loop: Machine) -> Any:
    def send(_: Any, request: Any) -> Any:
        def lost() -> Exception:
            error: Exception = botocore.exceptions.ConnectionClosedError(
                error=OSError("broken"), request=request, endpoint_url=request.url
            )
            return error

        found = _sent(loop, request, lost)
        return botocore.awsrequest.AWSResponse(request.url, found.status, found.headers, found)

    return send


def _sent(loop: Machine, request: Any, lost: Any) -> urllib3.HTTPResponse:
    """Send a prepared request of a blocking client."""
    body = request.body
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        body = body.encode()
    headers = {
        key: value.decode() if isinstance(value, bytes) else str(value)
        for key, value in request.headers.items()
        if key.lower() not in _SKIPPED
    }

    async def exchange() -> urllib3.HTTPResponse:
        async with (
            aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as session,
            _ORIGINAL(
                session,
                request.method,
                URL(request.url, encoded=True),
                data=body or None,
                headers=headers,
                allow_redirects=False,
                skip_auto_headers=("Content-Type", "Accept", "User-Agent", "Accept-Encoding"),
            ) as reply,
        ):
            content = await reply.read()
            return urllib3.HTTPResponse(
                io.BytesIO(content),
                headers=dict(reply.headers),
                status=reply.status,
                reason=reply.reason,
                preload_content=False,
                request_method=request.method,
            )

    return loop.wait(through(_named(request.method, request.url, body, request.headers), exchange, lost))


class _Exchange:
    """A request of aiohttp below the crash points, as a context."""

    def __init__(self, session: Any, *arguments: Any, **options: Any) -> None:
        self._request = _AIOHTTP_REQUEST(session, *arguments, **options)

    async def __aenter__(self) -> Any:
        self._reply = await self._request
        return self._reply

    async def __aexit__(self, *_: object) -> None:
        self._reply.release()


_AIOHTTP_REQUEST: Final = aiohttp.ClientSession._request
_ORIGINAL: Final = _Exchange


# --- database


def _connect(file: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
    """Open a SQLite database in memory in place of its file."""
    process = PROCESS.get()
    if process is not None and process.dead:
        raise asyncio.CancelledError
    name = str(file).removeprefix("file:").partition("?")[0].strip("/").replace("/", "_")
    url = f"file:/{name}?vfs=memdb"
    if url not in _ANCHORS:
        _ANCHORS[url] = _SQLITE(url, uri=True)
    found: sqlite3.Connection = _SQLITE(url, *arguments, **{**options, "uri": True})
    if process is not None:
        process.held.append(found.close)
    return found


_SQLITE: Final = sqlite3.connect


def _note_write(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    if found := re.match(r"\s*(INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)", statement):
        connection.connection.info.setdefault("wrote", []).append(f"{found[1].split()[0]} {found[2]}")


def _commit(loop: Machine, original: Any) -> Any:
    """Put a fault before or after a commit. A waiting connection would hold the database: only replies are late."""

    def do_commit(self: Any, connection: Any) -> None:
        wrote = connection.info.pop("wrote", [])
        process = PROCESS.get()
        if process is None or not wrote:
            original(self, connection)
            return
        if process.dead:
            loop.stop_here()
        # A step of the loop cannot wait.
        faults = _STORE_FAULTS if loop.in_hub() else (*_STORE_FAULTS, "late")
        call = Call(process.name, f"commit {', '.join(dict.fromkeys(wrote))}", writes=True, faults=faults)
        fault = INJECTOR.fault_of(call)
        if fault == "before":
            process.kill()
            loop.stop_here()
        original(self, connection)
        _committed(loop, process, fault)

    return do_commit


def _committed(loop: Machine, process: Process, fault: str | None) -> None:
    """Suffer what comes after a commit."""
    if fault == "after":
        process.kill()
        loop.stop_here()
    if fault == "lost":
        raise sqlite3.OperationalError("the connection broke before the reply")
    if fault == "late":
        loop.wait(asyncio.sleep(LATE_S))
    if fault == "twin":
        process.leave(Ending(killed=True))


# --- the memory of a process: what a module keeps for its process, of which there are several here


class _SessionsOfProcess:
    """`gateways.kubernetes.session._OPEN`."""

    def __init__(self) -> None:
        self._of: dict[Any, Any] = {}

    def setdefault(self, _loop: Any, default: Any) -> Any:
        return self._of.setdefault(PROCESS.get(), default)

    def get(self, _loop: Any, default: Any) -> Any:
        return self._of.get(PROCESS.get(), default)


class _StoresOfProcess:
    """`triggers.trace_sink._STORES`."""

    def __init__(self) -> None:
        self._of: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of.setdefault(PROCESS.get(), trace_sink._Stores()), name)
