"""Bounds how long the recordings of an event loop work on what can wait, before the loop turns to everything else.

A version of an object costs up to a millisecond. After a pause of the process many of them are due at once, and a ready
endpoint passes several tasks, each of which would wait for all of them. The endpoint's own watch takes no turns.

A thousand watches can wait at once. To wake them all only to see that there is no time left would cost as much as the
work itself, so each iteration wakes about as many as the iteration before had time for.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final
from weakref import WeakKeyDictionary

# Real seconds of one iteration of the event loop.
WORK_S: Final = 0.005


@dataclass(eq=False, slots=True)
class _Place:
    """One that waits; `call` is set when it may look whether there is time."""

    call: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """The turns of one event loop. `clock`: real seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at: float | None = None
        self._queue: deque[_Place] = deque()
        self._next_is_due = False
        self._holder: object = None
        # In this iteration: how many had time, and whether it ran out.
        self._taken = 0
        self._ran_out = False

    async def turn(self, holder: object = None) -> None:
        """Return when there is time for a piece of work: at once, or in an iteration of the loop that has some left.
        Those that wait keep their order; who had the last turn (`holder`) goes on while there is time.
        """
        first = not self._queue or (holder is not None and holder is self._holder)
        if not (first and self._has_time()):
            await self._wait()
        self._holder = holder
        self._taken += 1

    async def _wait(self) -> None:
        place = _Place()
        self._queue.append(place)
        self._follow_up()
        try:
            await place.call.wait()
            while not self._has_time():
                place.call.clear()
                await place.call.wait()
        finally:
            self._queue.remove(place)

    def _has_time(self) -> bool:
        now = self._clock()
        if self._ends_at is None:
            self._ends_at = now + WORK_S
            self._follow_up()
        self._ran_out = now >= self._ends_at
        return not self._ran_out

    def _follow_up(self) -> None:
        if not self._next_is_due:
            self._next_is_due = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        # The loop's next iteration.
        self._next_is_due = False
        self._ends_at = self._holder = None
        for place in islice(self._queue, self._taken + 1 if self._ran_out else 2 * self._taken + 1):
            place.call.set()
        self._taken, self._ran_out = 0, False
        if self._queue:
            self._follow_up()


_TURNS: "WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]" = WeakKeyDictionary()


def turns() -> Turns:
    """Return the turns of the running event loop."""
    return _TURNS.setdefault(asyncio.get_running_loop(), Turns())
