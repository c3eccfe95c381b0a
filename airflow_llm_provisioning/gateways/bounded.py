"""Work that may never return, such as a database that swallows packets, and is given a time limit all the same."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Answer = TypeVar("Answer")


async def within(limit_s: float, work: Callable[[], Answer]) -> Answer:
    """Return what `work` returns; after the limit (real seconds) raise TimeoutError and leave it to itself.

    A thread of our own, because a name that cannot be resolved or a database that swallows packets cannot be cancelled,
    and the end of the loop, as of the process, waits for the threads of its pool.
    """
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Answer] = loop.create_future()

    def tell(result: Answer | None, error: BaseException | None) -> None:
        if answered.done():
            return
        if error is not None:
            answered.set_exception(error)
        else:
            answered.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as raised:  # noqa: BLE001 - it is raised where it was asked for
            error = raised
        # The loop may be gone by now: then no caller needs the result.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, name="bounded", daemon=True).start()
    async with asyncio.timeout(limit_s):
        return await answered
