"""The simulator's clock: virtual time at a constant speed, so that a client can compute it from one reading."""

import asyncio
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any


class _Step(threading.local):
    """The instant of the step that this thread's event loop is in."""

    loop: asyncio.AbstractEventLoop | None = None
    instant: datetime | None = None

    def end(self) -> None:
        """Let the next reading be a fresh one."""
        self.instant = None


@dataclass(frozen=True, slots=True)
class SimClock:
    """Virtual UTC: `virtual_epoch` at `wall_epoch` (time.time()), `speed` virtual seconds a second."""

    speed: float
    wall_epoch: float
    virtual_epoch: datetime
    _step: _Step = field(default_factory=_Step, init=False, repr=False, compare=False)

    @classmethod
    def start(cls, speed: float) -> "SimClock":
        """Start a clock that reads real UTC now and runs `speed` times as fast."""
        wall = time.time()
        return cls(speed, wall, datetime.fromtimestamp(wall, UTC))

    def now(self) -> datetime:
        """Return the virtual instant; what an event loop does in one step happens at one instant.

        Otherwise a machine that pauses for a second between two stamps of one act would put minutes between them.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._read()
        step = self._step
        if step.instant is None or step.loop is not loop:
            step.loop, step.instant = loop, self._read()
            # It runs before anything that has arrived in the loop meanwhile: no effect is stamped before its cause.
            loop.call_soon(step.end)
        return step.instant

    def _read(self) -> datetime:
        return self.virtual_epoch + timedelta(seconds=(time.time() - self.wall_epoch) * self.speed)

    async def sleep(self, seconds: float) -> None:
        """Sleep that many virtual seconds."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)

    async def sleep_until(self, instant: datetime) -> None:
        """Sleep until a virtual instant."""
        await self.sleep((instant - self._read()).total_seconds())

    def declaration(self) -> dict[str, Any]:
        """Return what /version says of it; a client's cluster time is virtual_epoch + (time.time() - wall_epoch) *
        speed.
        """
        return {
            "speed": self.speed,
            "wall_epoch": self.wall_epoch,
            "virtual_epoch": self.virtual_epoch.isoformat().replace("+00:00", "Z"),
        }
