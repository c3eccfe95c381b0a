"""Raw requests by kubernetes_asyncio's client: renews credentials, maps refusals to errors, retries safe requests.

Only this module and `wire` use the client. It knows paths and bytes, no resources and no trials.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from airflow_llm_provisioning.core.instants import retry_after_s
from airflow_llm_provisioning.exceptions import ClusterError, ClusterUnreachableError
from airflow_llm_provisioning.gateways.kubernetes.credentials import Connect
from airflow_llm_provisioning.gateways.kubernetes.errors import TRANSIENT, Attempt, error_for, status_of
from airflow_llm_provisioning.gateways.kubernetes.session import Session, close_session, open_session
from airflow_llm_provisioning.gateways.kubernetes.wire import send

FIRST_PAUSE_S: Final = 0.2
MAX_PAUSE_S: Final = 5.0
REQUEST_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `repeatable`: a repetition has no further effect, so a lost reply or a 5xx is retried.

    `body`: JSON. `attempt`: the description for error messages. `at_most_bytes`: limit of the answer's body; None: no
    limit. `accept`: the form of the answer.
    """

    method: str
    path: str
    attempt: Attempt
    query: Sequence[tuple[str, str]] = ()
    body: Any = None
    content_type: str = "application/json"
    repeatable: bool = True
    timeout_s: float = REQUEST_TIMEOUT_S
    at_most_bytes: int | None = None
    accept: str = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with any status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """One API server. `retry_s`: real seconds during which a repeatable call is retried after 429, 5xx and resets.

    `shared_as`: the connection's name, if its users in one event loop share a session.
    """

    def __init__(self, connect: Connect, *, name: str, retry_s: float = 30.0, shared_as: str | None = None) -> None:
        self.name = name
        self._connect = connect
        self._retry_s = retry_s
        self._shared_as = shared_as
        self._session: Session | None = None
        # The last reply's `Date`, and when it was read; most of them are never asked for.
        self._dated: tuple[str, datetime] | None = None

    @property
    def ahead_s(self) -> float | None:
        """How far the server's clock is ahead of ours, to a second, by its last reply; None before one said so."""
        return _ahead(*self._dated) if self._dated else None

    async def __aenter__(self) -> Self:
        self._session = await open_session(self._connect, self._shared_as)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await close_session(session)

    def of_session(self, session: Session) -> "Transport":
        """Return a transport that stays usable for as long as the session has users."""
        other = Transport(self._connect, name=self.name, retry_s=self._retry_s)
        other._session = session
        return other

    def session(self, attempt: Attempt) -> Session:
        """Return the open session; raise ClusterError if there is none."""
        if self._session is None:
            raise ClusterError(f"Could not {attempt}: the connection is not open; use `async with`.")
        return self._session

    async def json(self, call: Call) -> dict[str, Any]:
        """Return the answer's JSON object, or raise the error of the refusal."""
        reply = await self.send(call)
        try:
            answer = json.loads(reply.body)
        except ValueError as error:
            raise ClusterError(
                f"Could not {call.attempt}: the answer is not JSON ({reply.body[:120]!r}). "
                f"Is {self.name} an API server?"
            ) from error
        return answer if isinstance(answer, dict) else {"items": answer}

    async def send(self, call: Call) -> Reply:
        """Return the reply of a successful call (2xx), or raise the error of the refusal."""
        give_up_at = time.monotonic() + self._retry_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                reply = await self.once(call)
                if 200 <= reply.status < 300:
                    return reply
                failure: ClusterError = error_for(reply.status, reply.body, call.attempt)
                wait_s = _wait_after(call, reply, pause_s)
            except ClusterUnreachableError as error:
                failure = error
                wait_s = pause_s if call.repeatable or _never_sent(error) else None
            if wait_s is None or time.monotonic() + wait_s > give_up_at:
                raise failure
            await asyncio.sleep(wait_s)
            pause_s = min(MAX_PAUSE_S, pause_s * 2)

    async def once(self, call: Call) -> Reply:
        """Return the reply of one attempt with any status; raise only if there is no reply.

        After a 401 the credentials are renewed and the request is sent again.
        """
        reply = await self._try(call)
        # A 401 of the API server is a Status object. A 401 of a service behind the proxy is returned to the caller.
        if reply.status == 401 and status_of(reply.body).get("kind") == "Status":
            await self.session(call.attempt).renew(force=True)
            reply = await self._try(call)
        return reply

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[aiohttp.StreamReader]:
        """Open a long answer and return its byte stream; `timeout_s` is the longest silence in it."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=call.timeout_s)
        response = await self._open(call, timeout)
        if response.status == 401:
            response.release()
            await self.session(call.attempt).renew(force=True)
            response = await self._open(call, timeout)
        try:
            if response.status != 200:
                raise error_for(response.status, await _body(response, call, self.name), call.attempt)
            yield response.content
        finally:
            response.close()

    async def _try(self, call: Call) -> Reply:
        response = await self._open(call, aiohttp.ClientTimeout(total=call.timeout_s, sock_connect=10))
        if date := response.headers.get("Date"):
            self._dated = date, datetime.now(UTC)
        body = await _body(response, call, self.name)
        return Reply(response.status, response.headers, body)

    async def _open(self, call: Call, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        session = self.session(call.attempt)
        if session.is_due():
            await session.renew()
        try:
            return await send(
                session.client,
                call.method,
                call.path,
                query=call.query,
                accept=call.accept,
                content_type=call.content_type,
                body=call.body,
                timeout=timeout,
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unreachable(call, self.name, error) from error


def _ahead(date: str, read_at: datetime) -> float | None:
    """Return how far a `Date` (RFC 9110, 6.6.1, whole seconds) was ahead of our clock; None if it is no date."""
    try:
        return (parsedate_to_datetime(date) - read_at).total_seconds()
    except (TypeError, ValueError):
        return None


async def _body(response: aiohttp.ClientResponse, call: Call, server: str) -> bytes:
    try:
        if call.at_most_bytes is None:
            return await response.read()
        return await _limited(response, call, call.at_most_bytes)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise _unreachable(call, server, error) from error


async def _limited(response: aiohttp.ClientResponse, call: Call, at_most_bytes: int) -> bytes:
    body = bytearray()
    try:
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > at_most_bytes:
                raise ClusterUnreachableError(
                    f"Could not {call.attempt}: the answer has more than {at_most_bytes} bytes and was not read "
                    "completely."
                )
    finally:
        # This has no effect after a complete answer. Otherwise, and after a cancellation, the rest is not read.
        response.close()
    return bytes(body)


def _unreachable(call: Call, server: str, error: BaseException) -> ClusterUnreachableError:
    detail = " ".join(str(error).split()) or type(error).__name__
    return ClusterUnreachableError(
        f"Could not {call.attempt}: no answer from the API server ({detail}). "
        f"Check the address, the network and whether {server} runs."
    )


def _never_sent(error: ClusterUnreachableError) -> bool:
    return isinstance(error.__cause__, aiohttp.ClientConnectorError)


def _wait_after(call: Call, reply: Reply, pause_s: float) -> float | None:
    """Return how long to wait before a retry, or None if the refusal is final.

    A 429 was refused before processing, so even a create may be repeated (Kubernetes API priority and fairness).
    """
    if reply.status not in TRANSIENT or not (call.repeatable or reply.status == 429):
        return None
    asked_s = retry_after_s(reply.headers.get("Retry-After"))
    return pause_s * random.uniform(0.7, 1.3) if asked_s is None else asked_s
