"""One watch of a resource, until the server ends it. `follow` continues after that."""

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Final

import aiohttp
import msgspec

from airflow_llm_provisioning.exceptions import ClusterUnreachableError
from airflow_llm_provisioning.gateways.kubernetes.errors import error_for
from airflow_llm_provisioning.gateways.kubernetes.transport import Call, Transport

# The server should have ended the watch by then; such a watch is dead even if TCP reports a connection.
SILENCE_S: Final = 10.0
_DECODER: Final = msgspec.json.Decoder()


class _Metadata(msgspec.Struct):
    resource_version: str | None = msgspec.field(name="resourceVersion", default=None)


class _Object(msgspec.Struct):
    metadata: _Metadata | None = None


class _Line(msgspec.Struct):
    type: str
    object: _Object


# What is needed of a line before its turn comes.
_BEGINNING: Final = msgspec.json.Decoder(_Line)


class WatchEvent:
    """One line of a watch. `type`: ADDED, MODIFIED, DELETED or BOOKMARK. `version`: the object's resourceVersion.
    `line`: as it came, for `event_of`. `read_at`: when it was read (real seconds, `time.time()`); its readers may be
    behind.

    The object is made of the line when it is asked for first. Readers that are behind keep thousands of lines, and as
    objects they would need ten times the memory, and make every garbage collection slow.
    """

    __slots__ = ("_object", "line", "read_at", "type", "version")

    def __init__(
        self,
        type: str,  # noqa: A002 - the field's name
        object: dict[str, Any] | None = None,  # noqa: A002 - the field's name
        line: bytes = b"",
        *,
        version: str | None = None,
        read_at: float | None = None,
    ) -> None:
        self.type = type
        self._object = object
        self.line = line
        self.version = version
        self.read_at = time.time() if read_at is None else read_at

    @property
    def object(self) -> dict[str, Any]:
        """The object. Raises ClusterUnreachableError if the line is no JSON: the watch has to begin anew."""
        if self._object is None:
            try:
                self._object = _decoded(self.line)["object"]
            except ValueError as error:
                raise ClusterUnreachableError(f"A watch had a line that is no JSON ({error}).") from error
        return self._object


async def watch(
    transport: Transport,
    call: Call,
    *,
    resource_version: str,
    timeout_s: float,
    on_open: Callable[[], None] = lambda: None,
) -> AsyncIterator[WatchEvent]:
    """Yield the events of one watch request until the server ends it; `on_open` is called when the server has accepted
    it.
    """
    query = (
        *call.query,
        ("watch", "true"),
        ("resourceVersion", resource_version),
        ("allowWatchBookmarks", "true"),
        ("timeoutSeconds", str(max(1, round(timeout_s)))),
    )
    call = replace(call, query=query, timeout_s=timeout_s + SILENCE_S)
    async with transport.stream(call) as content:
        on_open()
        try:
            async for line in content:
                if line.strip():
                    yield _event(line, call)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ClusterUnreachableError(
                f"Could not {call.attempt} any longer: the stream was interrupted ({error})."
            ) from error


def _event(line: bytes, call: Call) -> WatchEvent:
    event = event_of(line)
    if event.type == "ERROR":
        status = event.object
        raise error_for(int(status.get("code") or 500), json.dumps(status).encode(), call.attempt)
    return event


def event_of(line: bytes) -> WatchEvent:
    """Return the event of a line of a watch. Raises ValueError for a line that is no JSON."""
    try:
        begins = _BEGINNING.decode(line)
    except (msgspec.MsgspecError, UnicodeError):
        event = _decoded(line)
        version = (event["object"].get("metadata") or {}).get("resourceVersion")
        return WatchEvent(event["type"], event["object"], line, version=version)
    metadata = begins.object.metadata
    return WatchEvent(begins.type, line=line, version=metadata.resource_version if metadata else None)


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeError):
        # It refuses half of a surrogate pair, which a log line that was cut can have.
        event = json.loads(line)
    return event
