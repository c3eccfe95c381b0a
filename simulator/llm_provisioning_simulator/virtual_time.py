"""Virtual time without waiting: an event loop whose clock jumps to the next timer as soon as nothing is left to do.

For runs in one process only: nothing in such a loop may wait for a socket, a thread or another process, because no time
passes for those. It knows nothing of what runs in it.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from llm_provisioning_simulator.clock import SimClock

T = TypeVar("T")
# Any fixed instant: the same run then gives the same stamps.
EPOCH: Final = datetime(2025, 2, 1, tzinfo=UTC)
RESOLUTION_S: Final = 1e-6


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps. Time is what its timers asked for, from 0."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return the seconds that have passed, none of them real."""
        return self._now_s

    def jump(self, seconds: float) -> None:
        """Let time pass at once."""
        self._now_s += seconds


class VirtualClock(SimClock):
    """The simulator's clock inside a VirtualTimeLoop."""

    __slots__ = ()

    @classmethod
    def of_this_loop(cls) -> "VirtualClock":
        """Return a clock that reads EPOCH when its loop reads 0; there is no real time it could run faster than."""
        return cls(speed=1.0, wall_epoch=0.0, virtual_epoch=EPOCH)

    async def sleep(self, seconds: float) -> None:
        """Sleep at least the microsecond that stamps can tell apart: a wait for the rest of a period, rounded to less
        than the loop's time can be moved by, would otherwise be repeated without end at the same instant.
        """
        await asyncio.sleep(max(seconds, RESOLUTION_S))

    def _read(self) -> datetime:
        return self.virtual_epoch + timedelta(seconds=asyncio.get_running_loop().time())


def run_at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for files until the next timer is due, makes it due."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Report no file, ever. Without a timer nothing could happen any more: that is a RuntimeError, not a hang."""
        if timeout is None:
            raise RuntimeError("Every task of the virtual-time loop waits, and no timer is set that could wake one.")
        self._loop.jump(timeout)
        return []
