"""The simulator's clock: virtual time at a constant speed, so that a client can compute it from one reading."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class SimClock:
    """Virtual UTC: `virtual_epoch` at `wall_epoch` (time.time()), `speed` virtual seconds a second."""

    speed: float
    wall_epoch: float
    virtual_epoch: datetime

    @classmethod
    def start(cls, speed: float) -> "SimClock":
        """Start a clock that reads real UTC now and runs `speed` times as fast."""
        wall = time.time()
        return cls(speed, wall, datetime.fromtimestamp(wall, UTC))

    def now(self) -> datetime:
        """Return the virtual instant."""
        return self.virtual_epoch + timedelta(seconds=(time.time() - self.wall_epoch) * self.speed)

    async def sleep(self, seconds: float) -> None:
        """Sleep that many virtual seconds."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)

    async def sleep_until(self, instant: datetime) -> None:
        """Sleep until a virtual instant."""
        await self.sleep((instant - self.now()).total_seconds())

    def declaration(self) -> dict[str, Any]:
        """Return what /version says of it; a client's cluster time is virtual_epoch + (time.time() - wall_epoch) *
        speed.
        """
        return {
            "speed": self.speed,
            "wall_epoch": self.wall_epoch,
            "virtual_epoch": self.virtual_epoch.isoformat().replace("+00:00", "Z"),
        }
