"""One watch for all waits of a process that need the same one: one connection, and each line is parsed once.

A wait joins at its own resourceVersion. It gets what came after that version and was read already from a short history,
and has a watch of its own if the history does not reach back far enough. Versions are compared as numbers (Kubernetes
KEP-5504: decimal, growing); a version that is no number is not shared.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import aclosing
from copy import copy
from dataclasses import dataclass, field
from typing import Final

from airflow_llm_provisioning.exceptions import ClusterUnreachableError
from airflow_llm_provisioning.gateways.kubernetes.session import Session
from airflow_llm_provisioning.gateways.kubernetes.watch import WatchEvent, event_of

# A wait lists and joins within moments; so many events may come in between, and so many bytes of them are kept: as they
# came, because a parsed object needs ten times as much, and every garbage collection would visit it.
HISTORY: Final = 100
HISTORY_BYTES: Final = 64 * 1024
# A wait that is this far behind has stopped reading; it continues with a watch of its own.
BEHIND: Final = 2000

Open = Callable[[str, Callable[[], None]], AsyncIterator[WatchEvent]]
"""Opens a watch after a version; calls back when the server has accepted it."""


@dataclass(eq=False)
class _Reader:
    """One wait's place in a shared watch. `ended`: how the watch ended, None: by the server."""

    after: int
    on_open: Callable[[], None]
    due: deque[WatchEvent] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    ended: Exception | None = None

    def take(self, event: WatchEvent, version: int | None) -> None:
        """Keep an event that is newer than the reader's version."""
        if version is None or version > self.after:
            self.due.append(event)
            self.news.set()
        if len(self.due) > BEHIND:
            self.end(ClusterUnreachableError("The watch went on without this wait, which did not read it in time."))

    def end(self, error: Exception | None) -> None:
        """Let the reader end after what is due."""
        self.over, self.ended = True, error
        self.news.set()


class _SharedWatch:
    """One watch and its readers. `complete_after`: the history has every event after this version."""

    def __init__(self, version: int) -> None:
        self.complete_after = version
        self.readers: set[_Reader] = set()
        self.history: deque[tuple[int, bytes]] = deque()
        self._history_bytes = 0
        self.opened = False
        self.task: asyncio.Task[None] | None = None

    async def read(self, events: AsyncIterator[WatchEvent]) -> None:
        """Read to the end, and tell the readers of it."""
        ended: Exception | None = ClusterUnreachableError("The shared watch was stopped.")
        try:
            async for event in events:
                self._spread(event)
                del event
            ended = None
        except Exception as error:  # noqa: BLE001 - every reader raises it
            ended = error
        finally:
            for reader in self.readers:
                reader.end(copy(ended) if ended else None)

    def accepted(self) -> None:
        """Note that the server has accepted the watch."""
        self.opened = True
        for reader in self.readers:
            reader.on_open()

    def join(self, reader: _Reader) -> None:
        """Give a reader what it missed, and everything from now on."""
        for version, line in self.history:
            if version > reader.after:
                reader.take(event_of(line), version)
        self.readers.add(reader)
        if self.opened:
            reader.on_open()

    def _spread(self, event: WatchEvent) -> None:
        version = _number(event.version)
        for reader in tuple(self.readers):
            reader.take(event, version)
        if version is not None:
            self.history.append((version, event.line))
            self._history_bytes += len(event.line)
        while len(self.history) > HISTORY or self._history_bytes > HISTORY_BYTES:
            self.complete_after, line = self.history.popleft()
            self._history_bytes -= len(line)


async def shared_watch(
    session: Session, request: Hashable, version: str, opens: Open, on_open: Callable[[], None]
) -> AsyncIterator[WatchEvent]:
    """Yield the events of a request after a version until the server ends the watch, by the shared watch if possible.

    Raises what the watch raises, for every reader.
    """
    after = _number(version)
    shared = session.watches.get(request)
    if after is None or session.key is None or (shared is not None and shared.complete_after > after):
        async with aclosing(opens(version, on_open)) as events:  # type: ignore[type-var] # a generator
            async for event in events:
                yield event
                del event
        return
    reader = _Reader(after, on_open)
    if shared is None:
        shared = session.watches[request] = _SharedWatch(after)
        shared.task = asyncio.create_task(_run(session, request, shared, opens(version, shared.accepted)))
    shared.join(reader)
    try:
        async for event in _read(reader):
            yield event
            del event
    finally:
        shared.readers.discard(reader)
        if not shared.readers and shared.task is not None:
            _forget(session, request, shared)
            shared.task.cancel()


async def _run(session: Session, request: Hashable, shared: _SharedWatch, events: AsyncIterator[WatchEvent]) -> None:
    try:
        await shared.read(events)
    finally:
        _forget(session, request, shared)


def _forget(session: Session, request: Hashable, shared: _SharedWatch) -> None:
    if session.watches.get(request) is shared:
        del session.watches[request]


async def _read(reader: _Reader) -> AsyncIterator[WatchEvent]:
    while True:
        while reader.due:
            yield reader.due.popleft()
        if reader.over:
            break
        reader.news.clear()
        await reader.news.wait()
    if reader.ended is not None:
        raise reader.ended


def _number(version: object) -> int | None:
    return int(version) if isinstance(version, str) and version.isascii() and version.isdigit() else None
