"""Stores the trace of a wait: one results store for all waits of a process, written outside the event loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.triggers import trace_writer

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.store.results import ResultsStore


class TraceSink:
    """One trial's trace in a store. Without a store nothing is kept: outside an experiment no trace is requested."""

    def __init__(self, store: "ResultsStore | None", trial_id: str) -> None:
        self._store = store
        self._trial_id = trial_id

    @property
    def keeps(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    async def append(self, lines: Sequence[bytes]) -> None:
        """Add encoded lines as one chunk."""
        if self._store is not None:
            # Packing takes milliseconds and must not delay the events of other waits.
            await trace_writer.append(self._store, self._trial_id, lines, _in_thread)

    async def stored(self) -> Sequence[Mapping[str, Any]]:
        """Return the lines that an earlier process stored of this trace; empty if they are not readable as a trace."""
        found: Sequence[Mapping[str, Any]] = ()
        if self._store is not None:
            found = await _in_thread(self._stored, self._store)
        return found

    def _stored(self, store: "ResultsStore") -> Sequence[Mapping[str, Any]]:
        from airflow_llm_provisioning.core.trace import decode_trace
        from airflow_llm_provisioning.exceptions import TraceError

        chunks = store.trace(self._trial_id)
        try:
            return decode_trace(chunks).lines if chunks else ()
        except TraceError:
            return ()


@asynccontextmanager
async def open_trace_sink(conn_id: str | None, trial_id: str) -> AsyncIterator[TraceSink]:
    """Open the store of a connection for one trial; it is closed when the last wait that uses it ends. Raises
    StoreError.
    """
    if conn_id is None or not trial_id:
        yield TraceSink(None, trial_id)
        return
    from asgiref.sync import sync_to_async

    # In a thread of a triggerer, Airflow reads a connection only through asgiref.
    store = await sync_to_async(_STORES.take, thread_sensitive=False)(conn_id)
    try:
        yield TraceSink(store, trial_id)
    finally:
        await asyncio.shield(_in_thread(_STORES.give_back, conn_id))


async def with_shared_store(conn_id: str, work: "Callable[[ResultsStore], None]") -> None:
    """Use the store of a connection, which all waits of this process share, in a thread. Raises StoreError.

    A cancellation ends the wait for the thread, not the thread: it gives the store back in any case.
    """
    from asgiref.sync import sync_to_async

    def run() -> None:
        store = _STORES.take(conn_id)
        try:
            work(store)
        finally:
            _STORES.give_back(conn_id)

    await sync_to_async(run, thread_sensitive=False, executor=_THREADS)()


# A slow or locked store must not delay other work: aiohttp uses the loop's default threads for DNS and credentials of
# every request of every wait.
_THREADS: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="traces")


async def _in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work, *arguments)


class _Stores:
    """The open stores of this process, by connection: one pool of connections each, for all trials."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[ResultsStore, int]] = {}

    def take(self, conn_id: str) -> "ResultsStore":
        """Return the store of a connection, and open it for the first user."""
        from airflow_llm_provisioning.connections import open_store

        with self._lock:
            store, users = self._open.get(conn_id) or (open_store(conn_id), 0)
            self._open[conn_id] = store, users + 1
            return store

    def give_back(self, conn_id: str) -> None:
        """Close the store of a connection after its last user."""
        with self._lock:
            store, users = self._open.pop(conn_id)
            if users > 1:
                self._open[conn_id] = store, users - 1
            else:
                store.close()


_STORES = _Stores()
