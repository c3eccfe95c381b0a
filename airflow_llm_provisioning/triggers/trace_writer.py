"""Writes the traces of all waits of a process: those whose lines come while others are written are written together.

A transaction costs a store more than the lines of a wait. A wait's lines are written when its `append` returns, alone
or with others: the durability is the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from airflow_llm_provisioning.exceptions import StoreError

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore

# Others cannot write meanwhile.
MOST_AT_ONCE: Final = 100
# If so many of a failed batch fail alone too, and none succeeds, then the store is away, and the rest is not tried.
AWAY: Final = 2

InThread = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments in a thread."""


@dataclass(eq=False)
class _Due:
    """Lines of one trial that wait for the store."""

    trial_id: str
    lines: Sequence[bytes]
    written: "asyncio.Future[None]"

    def end(self, error: Exception | None) -> None:
        """Let its `append` return, or raise an error."""
        if self.written.done():
            return
        if error is None:
            self.written.set_result(None)
        else:
            self.written.set_exception(copy(error))


class _Writer:
    """Writes to one store, for the waits of one event loop."""

    def __init__(self) -> None:
        self._due: list[_Due] = []
        self._writing: asyncio.Task[None] | None = None

    async def append(self, store: "ResultsStore", trial_id: str, lines: Sequence[bytes], in_thread: InThread) -> None:
        due = _Due(trial_id, lines, asyncio.get_running_loop().create_future())
        self._due.append(due)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(store, in_thread))
        await due.written

    async def _write(self, store: "ResultsStore", in_thread: InThread) -> None:
        batch: list[_Due] = []
        try:
            # The others that flush at this instant come first.
            await asyncio.sleep(0)
            while self._due:
                batch, self._due = self._due[:MOST_AT_ONCE], self._due[MOST_AT_ONCE:]
                ends = await in_thread(written, store, [(one.trial_id, one.lines) for one in batch])
                for due, error in zip(batch, ends, strict=True):
                    due.end(error)
        except Exception as error:  # noqa: BLE001 - every wait raises it, and offers its lines again
            for due in (*batch, *self._due):
                due.end(error)
            self._due = []
        finally:
            self._writing = None
            # There are some only if the event loop ends.
            for due in (*batch, *self._due):
                due.written.cancel()


_WRITERS: "WeakKeyDictionary[asyncio.AbstractEventLoop, WeakKeyDictionary[ResultsStore, _Writer]]" = WeakKeyDictionary()


async def append(store: "ResultsStore", trial_id: str, lines: Sequence[bytes], in_thread: InThread) -> None:
    """Add encoded lines to a trial's trace; they are stored when this returns. Raises StoreError."""
    writers = _WRITERS.setdefault(asyncio.get_running_loop(), WeakKeyDictionary())
    await writers.setdefault(store, _Writer()).append(store, trial_id, lines, in_thread)


def written(store: "ResultsStore", batch: Sequence[tuple[str, Sequence[bytes]]]) -> list[Exception | None]:
    """Write the lines of several trials, and return for each of them what failed, None if nothing did.

    If they cannot be written together, each is written alone, so that one of them does not keep the others from it.
    """
    from airflow_llm_provisioning.core.trace import pack_lines

    chunks = [(trial_id, pack_lines(lines)) for trial_id, lines in batch]
    together = _failure(store, chunks)
    if together is None or len(chunks) == 1:
        return [together] * len(chunks)
    ends: list[Exception | None] = []
    for chunk in chunks:
        away = len(ends) >= AWAY and all(ends)
        ends.append(together if away else _failure(store, [chunk]))
    return ends


def _failure(store: "ResultsStore", chunks: Sequence[tuple[str, bytes]]) -> Exception | None:
    try:
        store.append_traces(chunks)
    except StoreError as error:
        return error
    return None
