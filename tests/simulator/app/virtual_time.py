"""An event loop without waiting: when nothing can run, its clock jumps to the next timer. No load can reorder it."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_llm_provisioning.simulator.clock import SimClock

EPOCH = datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)


class _JumpingSelector(selectors.DefaultSelector):
    """Never sleeps: time asked for is time passed."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise RuntimeError("everything waits and no timer is set: the test would hang")
            self.passed_s += max(timeout, 0.0)
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the sum of the waits it was asked for."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.passed_s


@dataclass(frozen=True)
class JumpingClock(SimClock):
    """The simulator's clock on such a loop."""

    def now(self) -> datetime:
        return self.virtual_epoch + timedelta(seconds=asyncio.get_running_loop().time())


def jumping_clock() -> JumpingClock:
    return JumpingClock(1.0, 0.0, EPOCH)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a loop that never waits."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return wrapper
