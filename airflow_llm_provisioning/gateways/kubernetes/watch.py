"""One watch of a resource, until the server ends it. `follow` continues after that."""

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import aiohttp
import msgspec

from airflow_llm_provisioning.exceptions import ClusterUnreachableError
from airflow_llm_provisioning.gateways.kubernetes.errors import error_for
from airflow_llm_provisioning.gateways.kubernetes.transport import Call, Transport

# The server should have ended the watch by then; such a watch is dead even if TCP reports a connection.
SILENCE_S: Final = 10.0
_DECODER: Final = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch. `type`: ADDED, MODIFIED, DELETED or BOOKMARK. `line`: as it came, for `event_of`. `read_at`:
    when it was read (real seconds, `time.time()`); its readers may be behind.
    """

    type: str
    object: dict[str, Any]
    line: bytes = field(default=b"", compare=False, repr=False)
    read_at: float = field(default_factory=time.time, compare=False, repr=False)


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
        event = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeError):
        # It refuses half of a surrogate pair, which a log line that was cut can have.
        event = json.loads(line)
    return WatchEvent(event["type"], event["object"], line)
