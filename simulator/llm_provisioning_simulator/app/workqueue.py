"""A controller's loop: keys to look at again, woken by watches or after a delay, one pass at a time for each key."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.infra.tasks import TaskGroup
from llm_provisioning_simulator.kube.statuses import StatusError

Key = tuple[str, str]
"""namespace and name."""
Reconcile = Callable[[Key], Awaitable[float | None]]
"""One pass; returns the virtual seconds until the next one, or None to wait for a watch."""

_FIRST_RETRY_S: Final = 0.005
_LAST_RETRY_S: Final = 1000.0
"""client-go's default rate limiter of a failed key: 5 ms doubled up to 1000 s (recorded: 18 events in 10 minutes)."""
FORGET: Final = -1.0
"""Returned by a pass whose object is gone."""


class WorkQueue:
    """Runs passes. `pause`: drawn before each, the controller's own latency."""

    def __init__(self, clock: SimClock, reconcile: Reconcile, pause: Callable[[], float]) -> None:
        self._clock = clock
        self._reconcile = reconcile
        self._pause = pause
        self._wakes: dict[Key, asyncio.Event] = {}
        self._running: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._tasks = TaskGroup()

    def wake(self, key: Key) -> None:
        """Look at a key soon; many wakes before the pass begins are one."""
        self._wakes.setdefault(key, asyncio.Event()).set()
        if key not in self._running:
            self._running.add(key)
            self._tasks.start(self._run(key))

    async def stop(self) -> None:
        """End all passes. Raises what one of them failed with."""
        await self._tasks.stop()

    async def _run(self, key: Key) -> None:
        wake = self._wakes[key]
        try:
            while True:
                await self._clock.sleep(self._pause())
                wake.clear()
                delay_s = await self._pass(key)
                if delay_s == FORGET and not wake.is_set():
                    return
                await self._wait(wake, delay_s)
        finally:
            self._running.discard(key)
            self._wakes.pop(key, None)

    async def _pass(self, key: Key) -> float | None:
        try:
            delay_s = await self._reconcile(key)
        except StatusError:
            # As controllers do when the API server refuses a write: look again, with what is there then.
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            return min(_FIRST_RETRY_S * float(2 ** min(failures, 20)), _LAST_RETRY_S)
        self._failures.pop(key, None)
        return delay_s

    async def _wait(self, wake: asyncio.Event, delay_s: float | None) -> None:
        timeout = None if delay_s is None else max(delay_s, 0.0) / self._clock.speed
        # Not `wait_for`: in Python 3.11 it swallows a cancellation that comes together with the wake.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await wake.wait()
