"""The lines of one recording on their way to the store: without secrets and repeats, within the budget, in chunks.

A line is written down as bytes the moment it comes: what waits for the store is small, and its size is known.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from zlib import crc32

from airflow_llm_provisioning.core.trace import Deduplicator, Line, encode_line, line, redact
from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.kubernetes.follow import Seen
from airflow_llm_provisioning.gateways.recording.secrets import without_secrets

FLUSH_S: Final = 3.0
# How long, and how often, the last lines are offered to a store that refuses them.
LAST_FLUSH_S: Final = 20.0
LAST_PAUSE_S: Final = 1.0
# As JSON; gzip makes a tenth of it. The recorded deployments (KubeRay 1.7, three minutes each) have 0.4 to 0.8 MB.
BUDGET_BYTES: Final = 16 * 1024 * 1024
# How full the budget may be for a line of each resource still to be kept: what a later line can least replace is
# dropped last. The newer event API repeats the older one's events; nodes of others are many; Serve's answers say what
# its log says too. What is not named here decides when and whether the endpoint was ready.
KEPT_UNTIL: Final[Mapping[str, float]] = MappingProxyType(
    {
        "events.events.k8s.io": 0.5,
        "events": 0.6,
        "nodes": 0.7,
        "nodeclaims": 0.7,
        "serve-rest": 0.75,
        "pods": 0.85,
        "ray-log-file": 0.95,
        "pod-log": 0.95,
    }
)
Sink = Callable[[Sequence[bytes]], Awaitable[None]]
"""Takes encoded lines, each with its newline, in the order they are to be kept in."""


class Lines:
    """Collects lines and hands them to the sink; what the sink refused is handed over again with the next chunk.

    `opening`: what the trace begins with, its header first, whatever instants they carry. `stored`: what an earlier
    process has stored of this trace.
    """

    def __init__(self, sink: Sink, opening: Iterable[Line] = (), stored: Sequence[Line] = ()) -> None:
        self._sink = sink
        self._seen = Deduplicator()
        self._flushing = asyncio.Lock()
        self._cut: set[str] = set()
        self._size = 0
        self._handing: tuple[asyncio.Future[None], list[tuple[str, bytes]]] | None = None
        # With the instant of receipt to sort by: what was held for its owner comes late.
        self._waiting: list[tuple[str, bytes]] = []
        for item in stored:
            self._size += len(encode_line(item))
            self._seen.is_new(item["resource"], item.get("type"), item["object"])
        for item in opening:
            self._put("", without_secrets(encode_line(item)))
        # Many recordings begin together, and their chunks must not go on meeting at the store.
        apart = crc32(b"".join(data for _, data in self._waiting)) / 2**32
        self._pause_s = FLUSH_S * (0.8 + 0.4 * apart)

    def add(self, item: Line) -> Line:
        """Take a line and return it as it is judged: its object is redacted here."""
        kept = {**item, "object": redact(item["resource"], item["object"])}
        data = without_secrets(encode_line(kept))
        if self._has_room(kept, len(data)):
            self._put(kept["received_at"], data)
        return kept

    def add_seen(self, resource: str, seen: Seen) -> Line | None:
        """Take a version of an object and return its line; None where it was taken before."""
        if not self._seen.is_new(resource, seen.type, seen.object):
            return None
        return self.add(line(seen.received_at, seen.type, resource, seen.object))

    async def flush(self) -> None:
        """Hand over what is waiting; raises what the sink raises, and keeps the lines then.

        Cancelled while the sink has a chunk, it leaves it there: a thread that writes cannot be called back. The next
        flush waits for it, and hands it over again only where it failed.
        """
        async with self._flushing:
            while self._handing or self._waiting:
                if self._handing is None:
                    chunk, self._waiting = self._waiting, []
                    chunk.sort(key=lambda item: item[0])
                    self._handing = asyncio.ensure_future(self._sink([data for _, data in chunk])), chunk
                await self._handed()

    async def _handed(self) -> None:
        if self._handing is None:
            return
        handing, chunk = self._handing
        try:
            await asyncio.shield(handing)
        finally:
            if handing.done():
                self._handing = None
                if handing.cancelled() or handing.exception():
                    self._waiting = chunk + self._waiting

    async def keep_flushing(self, log: Callable[[str, Any], None]) -> None:
        """Flush every few seconds for ever; a store that is away for a while delays the lines and loses none."""
        while True:
            await asyncio.sleep(self._pause_s)
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 - whatever the sink raises, the recording must go on
                log("The trace could not be stored yet, it will be tried again: %s", error)

    async def hand_over(self) -> None:
        """Flush for the last time, trying for a while. Raises StoreError where the lines are lost."""
        ends_at = time.monotonic() + LAST_FLUSH_S
        while True:
            try:
                async with asyncio.timeout(LAST_FLUSH_S):
                    return await self.flush()
            except Exception as error:
                if time.monotonic() + LAST_PAUSE_S > ends_at:
                    raise StoreError(
                        f"The last {len(self._waiting)} lines of a trace could not be stored: "
                        f"{str(error) or 'no answer'}. Check the results store; only what was stored before is left."
                    ) from error
            await asyncio.sleep(LAST_PAUSE_S)

    def _put(self, received_at: str, data: bytes) -> None:
        self._size += len(data)
        self._waiting.append((received_at, data))

    def _has_room(self, item: Line, size: int) -> bool:
        """Say whether a line still fits, and mark the first of each resource that does not.

        Our own END always does: a trace that was cut short still says how it ended.
        """
        resource = item["resource"]
        if resource == "trace" and item.get("type") == "END":
            return True
        if resource not in self._cut and self._size + size <= BUDGET_BYTES * KEPT_UNTIL.get(resource, 1.0):
            return True
        if resource not in self._cut:
            self._cut.add(resource)
            why = f"the trace had {self._size} of {BUDGET_BYTES} bytes; nothing later of these is kept"
            mark = {"mark": "cut_short", "what": resource, "why": why}
            told = {"received_at": item["received_at"], "type": "MARK", "resource": "trace", "object": mark}
            self._put(told["received_at"], encode_line(told))
        return False
