"""The lines of one recording on their way to the store: redacted, without repeats, in chunks every few seconds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from airflow_llm_provisioning.core.trace import Deduplicator, Line, line, redact
from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.kubernetes.watch import Seen

FLUSH_S: Final = 3.0
# How long, and how often, the last lines are offered to a store that refuses them.
LAST_FLUSH_S: Final = 20.0
LAST_PAUSE_S: Final = 1.0
# A trial has some hundred lines, a crash loop of an hour some thousand; beyond this only what decides is kept.
MOST_LINES: Final = 20_000
DECIDING: Final = frozenset({"trace", "rayservices", "rayclusters", "endpointslices", "services", "pods"})
Sink = Callable[[list[Line]], Awaitable[None]]


class Lines:
    """Collects lines and hands them to the sink; what the sink refused is handed over again with the next chunk."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._waiting: list[Line] = []
        self._seen = Deduplicator()
        self._count = 0
        self._flushing = asyncio.Lock()

    def add(self, item: Line) -> Line:
        """Take a line and return it as it will be stored: its object is redacted here."""
        kept = {**item, "object": redact(item["resource"], item["object"])}
        self._count += 1
        if self._count == MOST_LINES:
            mark = {"mark": "cut_short", "lines": MOST_LINES}
            self._waiting.append({**item, "type": "MARK", "resource": "trace", "object": mark})
        if self._count < MOST_LINES or item["resource"] in DECIDING:
            self._waiting.append(kept)
        return kept

    def add_seen(self, resource: str, seen: Seen) -> Line | None:
        """Take a version of an object and return its line; None where it was taken before."""
        if not self._seen.is_new(resource, seen.type, seen.object):
            return None
        return self.add(line(seen.received_at, seen.type, resource, seen.object))

    async def flush(self) -> None:
        """Hand over what is waiting; raises what the sink raises, and keeps the lines then."""
        async with self._flushing:
            chunk, self._waiting = self._waiting, []
            if not chunk:
                return
            chunk.sort(key=lambda item: str(item["received_at"]))
            try:
                await self._sink(chunk)
            except BaseException:
                self._waiting = chunk + self._waiting
                raise

    async def keep_flushing(self, log: Callable[[str, Any], None]) -> None:
        """Flush every few seconds for ever; a store that is away for a while delays the lines and loses none."""
        while True:
            await asyncio.sleep(FLUSH_S)
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
