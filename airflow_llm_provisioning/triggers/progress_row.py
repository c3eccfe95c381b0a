"""Keeps the row of a running trial up to date while a wait runs. A store that is away never disturbs the wait."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from airflow_llm_provisioning.core.running import Step, news
from airflow_llm_provisioning.triggers.trace_sink import with_shared_store

log = logging.getLogger(__name__)

# Real seconds between two writes of one wait: a fast simulated clock changes its phase many times a second.
PAUSE_S: Final = 1.0


class ProgressRow:
    """The row of one trial. `tell` takes the newest state; one that was not written yet is replaced by the next.

    Without a connection or a trial nothing is written.
    """

    def __init__(self, conn_id: str | None, trial_id: str | None, step: Step) -> None:
        self._conn_id, self._trial_id, self._step = conn_id or "", trial_id or "", step
        self._newest: Mapping[str, Any] | None = None
        self._news = asyncio.Event()
        self._failed = False

    def tell(self, phase: str, blocker: str | None, elapsed_s: float, **more: Any) -> None:
        """Take a state; it is written in the background. `more`: other columns of the row."""
        if self._conn_id and self._trial_id:
            self._newest = news(self._step, phase, blocker, elapsed_s, **more)
            self._news.set()

    async def keep_writing(self) -> None:
        """Write the newest state as soon as there is one, without end."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._write()
            await asyncio.sleep(PAUSE_S)

    async def _write(self) -> None:
        values, self._newest = self._newest, None
        if values is None:
            return
        try:
            await with_shared_store(self._conn_id, lambda store: store.progress.change(self._trial_id, values))
            self._failed = False
        except Exception as error:  # noqa: BLE001 - the wait must continue after every error of the store
            if not self._failed:
                log.warning(
                    "The progress of trial %s cannot be written to the results store: %s", self._trial_id, error
                )
            self._failed = True


@asynccontextmanager
async def open_progress_row(conn_id: str | None, trial_id: str | None, step: Step) -> AsyncIterator[ProgressRow]:
    """Give the row of a trial for the time of a wait."""
    row = ProgressRow(conn_id, trial_id, step)
    writing = asyncio.create_task(row.keep_writing())
    try:
        yield row
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
