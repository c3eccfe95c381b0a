"""A chain of waits that does not fall behind: a late wake-up shortens the next wait instead of adding to it."""

from datetime import timedelta

from llm_provisioning_simulator.clock import SimClock


class Pace:
    """Where a chain of steps should be by now, in virtual time."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self._due_at = clock.now()

    def restart(self) -> None:
        """Begin anew from now: something of unknown length has just ended."""
        self._due_at = self._clock.now()

    async def wait(self, seconds: float) -> None:
        """Wait until that long after the last step was due."""
        self._due_at += timedelta(seconds=seconds)
        await self._clock.sleep_until(self._due_at)
