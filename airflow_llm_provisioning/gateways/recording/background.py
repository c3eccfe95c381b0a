"""Coroutines that run beside each other: the first of them that ends, and work in the background of a block."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


async def first(tasks: "set[asyncio.Task[Any]]", timeout_s: float) -> "set[asyncio.Task[Any]]":
    """Return the tasks that are done when the first one is, or after a time; none after that time."""
    return (await asyncio.wait(tasks, timeout=max(0.0, timeout_s), return_when=asyncio.FIRST_COMPLETED))[0]


@asynccontextmanager
async def in_background(work: list[Coroutine[Any, Any, None]]) -> AsyncIterator["asyncio.Task[Any]"]:
    """Run coroutines in the background; the yielded task ends only when one of them failed or all have ended."""
    tasks = [asyncio.create_task(one) for one in work]
    both = asyncio.ensure_future(_gathered(tasks))
    try:
        yield both
    finally:
        both.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(both, *tasks, return_exceptions=True)


async def _gathered(tasks: list["asyncio.Task[None]"]) -> None:
    await asyncio.gather(*tasks)
