"""The lines of one recording on their way to the store: without secrets and repeats, within the budget, in chunks.

A line is encoded when it arrives, so waiting lines are small and their size is known.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from math import ceil
from types import MappingProxyType
from typing import Any, Final
from zlib import crc32

from airflow_llm_provisioning.core.trace import Deduplicator, Line, encode_line, line
from airflow_llm_provisioning.core.trace.secrets import without_secrets
from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.kubernetes.follow import ObservedVersion
from airflow_llm_provisioning.gateways.recording.scope import CLUSTER_SCOPED

FLUSH_S: Final = 3.0
# Recordings flush at common instants, so many for each pause: a sink that writes several traces at once is then cheap.
INSTANTS: Final = 12
# How long, and at which interval, the last lines are offered to a store that refuses them.
LAST_FLUSH_S: Final = 20.0
LAST_PAUSE_S: Final = 1.0
# As JSON; gzip needs a tenth of it. The recorded deployments (KubeRay 1.7, three minutes each) have 0.4 to 0.8 MB.
BUDGET_BYTES: Final = 16 * 1024 * 1024
# The share of the budget up to which lines of a resource are kept. Lines that others cannot replace are dropped last:
# there are many events, which repeat themselves, many foreign nodes, and Serve's log repeats Serve's answers. Resources
# that are not listed decide whether and when the endpoint was ready.
KEPT_UNTIL: Final[Mapping[str, float]] = MappingProxyType(
    {
        "events.events.k8s.io": 0.6,
        "events": 0.6,
        "nodes": 0.7,
        "nodeclaims": 0.7,
        "serve-rest": 0.75,
        "pods": 0.85,
        "ray-log-file": 0.95,
        "pod-log": 0.95,
        "agent-log": 0.95,
    }
)
Sink = Callable[[Sequence[bytes]], Awaitable[None]]
"""Receives encoded lines, each with its newline, in the order in which they must be stored."""


class Lines:
    """Collects lines and passes them to the sink; refused lines are passed again with the next chunk.

    `opening`: the first lines of the trace, its header first, independent of their instants. `stored`: the lines that
    an earlier process stored.
    """

    def __init__(self, sink: Sink, opening: Iterable[Line] = (), stored: Sequence[Line] = ()) -> None:
        self._sink = sink
        self._seen = Deduplicator()
        self._flushing = asyncio.Lock()
        self._cut: set[str] = set()
        self._size = 0
        self._in_flight: tuple[asyncio.Future[None], list[tuple[str, bytes]]] | None = None
        # With the time of receipt as the sort key, because held lines are added late.
        self._waiting: list[tuple[str, bytes]] = []
        for item in stored:
            self._size += len(encode_line(item))
            self._seen.is_new(item["resource"], item.get("type"), item["object"])
        for item in opening:
            self._put("", encode_line(without_secrets(item)))
        # Many recordings begin together; different intervals keep all their chunks from being packed at one instant.
        apart = crc32(b"".join(data for _, data in self._waiting)) / 2**32
        self._pause_s = FLUSH_S * (0.8 + 0.4 * apart)

    def add(self, item: Line) -> Line:
        """Add a line and return it as it is stored: without secrets."""
        return self._keep(*_made(item))

    def add_seen(self, resource: str, seen: ObservedVersion) -> Line | None:
        """Add a version of an object and return its line; None if it was added before."""
        if not self._seen.is_new(resource, seen.type, seen.object):
            return None
        if resource in CLUSTER_SCOPED:
            return self._keep(*_of_all_recordings(resource, seen))
        return self.add(line(seen.received_at, seen.type, resource, seen.object))

    def _keep(self, kept: Line, data: bytes) -> Line:
        if self._has_room(kept, len(data)):
            self._put(kept["received_at"], data)
        return kept

    async def flush(self) -> None:
        """Pass the waiting lines to the sink; raises the sink's errors and keeps the lines then.

        After a cancellation a chunk stays with the sink, because a writing thread cannot be stopped. The next flush
        waits for it, and passes the chunk again only if it failed.
        """
        async with self._flushing:
            while self._in_flight or self._waiting:
                if self._in_flight is None:
                    chunk, self._waiting = self._waiting, []
                    chunk.sort(key=lambda item: item[0])
                    self._in_flight = asyncio.ensure_future(self._sink([data for _, data in chunk])), chunk
                await self._await_in_flight()

    async def _await_in_flight(self) -> None:
        if self._in_flight is None:
            return
        handing, chunk = self._in_flight
        try:
            await asyncio.shield(handing)
        finally:
            if handing.done():
                self._in_flight = None
                if handing.cancelled() or handing.exception():
                    self._waiting = chunk + self._waiting

    async def keep_flushing(self, log: Callable[[str, Any], None]) -> None:
        """Flush every few seconds without end; an outage of the store delays the lines and loses none."""
        while True:
            await asyncio.sleep(self._until_flush_s())
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 - the recording must continue after every error of the sink
                log("The trace could not be stored; the recorder will retry: %s", error)

    async def final_flush(self) -> None:
        """Flush for the last time, with retries. Raises StoreError if lines are lost."""
        ends_at = time.monotonic() + LAST_FLUSH_S
        while True:
            try:
                async with asyncio.timeout(LAST_FLUSH_S):
                    return await self.flush()
            except Exception as error:
                if time.monotonic() + LAST_PAUSE_S > ends_at:
                    raise StoreError(
                        f"The last {len(self._waiting)} lines of a trace could not be stored: "
                        f"{str(error) or 'no answer'}. Check the results store; only the lines stored before remain."
                    ) from error
            await asyncio.sleep(LAST_PAUSE_S)

    def _until_flush_s(self) -> float:
        now, step_s = asyncio.get_running_loop().time(), FLUSH_S / INSTANTS
        return ceil((now + self._pause_s) / step_s) * step_s - now

    def _put(self, received_at: str, data: bytes) -> None:
        self._size += len(data)
        self._waiting.append((received_at, data))

    def _has_room(self, item: Line, size: int) -> bool:
        """Return whether a line fits into the budget; mark the first line of each resource that does not.

        The END line always fits, so a truncated trace still contains its outcome.
        """
        resource = item["resource"]
        if resource == "trace" and item.get("type") == "END":
            return True
        if resource not in self._cut and self._size + size <= BUDGET_BYTES * KEPT_UNTIL.get(resource, 1.0):
            return True
        if resource not in self._cut:
            self._cut.add(resource)
            why = f"the trace had {self._size} of {BUDGET_BYTES} bytes; later lines of this resource are not kept"
            mark = {"mark": "cut_short", "what": resource, "why": why}
            told = {"received_at": item["received_at"], "type": "MARK", "resource": "trace", "object": mark}
            self._put(told["received_at"], encode_line(told))
        return False


def _made(item: Line) -> tuple[Line, bytes]:
    kept = without_secrets(item)
    return kept, encode_line(kept)


# The newest versions of nodes with their lines: every recording of a cluster records the same ones.
_MADE: Final[dict[tuple[int, str], tuple[ObservedVersion, Line, bytes]]] = {}
_MADE_AT_MOST: Final = 64


def _of_all_recordings(resource: str, seen: ObservedVersion) -> tuple[Line, bytes]:
    """Return the line of a version, which is made once for all recordings that share a watch: they get one object."""
    key = id(seen.object), seen.type
    made = _MADE.get(key)
    if made is None or made[0].object is not seen.object or made[0].received_at != seen.received_at:
        while len(_MADE) >= _MADE_AT_MOST:
            _MADE.pop(next(iter(_MADE)))
        _MADE.pop(key, None)
        made = _MADE[key] = (seen, *_made(line(seen.received_at, seen.type, resource, seen.object)))
    return made[1], made[2]
