"""Bounds how long the recordings of an event loop work on what can wait, before the loop turns to everything else.

A version of an object costs up to a millisecond. After a pause of the process many of them are due at once, and a ready
endpoint passes several tasks, each of which would wait for all of them. The endpoint's own watch takes no turns.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

# Real seconds of one iteration of the event loop.
WORK_S: Final = 0.005


class Turns:
    """The turns of one event loop. `clock`: real seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at: float | None = None

    async def turn(self) -> None:
        """Return when there is time for a piece of work: at once, or in an iteration of the loop that has some left.
        Those that wait keep their order.
        """
        while True:
            now = self._clock()
            if self._ends_at is None:
                self._ends_at = now + WORK_S
                asyncio.get_running_loop().call_soon(self._begin)
            if now < self._ends_at:
                return
            await asyncio.sleep(0)

    def _begin(self) -> None:
        # The loop's next iteration.
        self._ends_at = None


_TURNS: "WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]" = WeakKeyDictionary()


def turns() -> Turns:
    """Return the turns of the running event loop."""
    return _TURNS.setdefault(asyncio.get_running_loop(), Turns())
