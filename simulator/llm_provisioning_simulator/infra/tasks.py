"""A bag of tasks that end together: every controller owns one, so that stopping a cluster leaves nothing behind."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

_LOG: Final = logging.getLogger(__name__)


class TaskGroup:
    """Tasks started one by one and stopped at once. A task that fails is logged at once and raised by `stop`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until it ends or the group stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def cancel(self) -> None:
        """Cancel what still runs, without waiting for it."""
        for task in list(self._tasks):
            task.cancel()

    async def stop(self) -> None:
        """Cancel what still runs and wait for it; raise the first failure any task had."""
        tasks = list(self._tasks)
        self.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        if self._failures:
            raise self._failures[0]

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            _LOG.error("a simulated controller failed", exc_info=failure)
            self._failures.append(failure)
