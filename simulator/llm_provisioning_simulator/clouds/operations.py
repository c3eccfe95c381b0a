"""What the stand-ins of Google and Azure do alike: faults by call, long operations, and replies that get lost.

How a cloud words an operation or a refusal is its own file's; nothing here knows a resource.
"""

import itertools
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import web

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.infra.tasks import TaskGroup

Fault = Mapping[str, Any]


class CallFaults(dict[str, dict[str, Any]]):
    """Name of a call -> what goes wrong with it: {"kind": ..., "times": 1, ...}; `times` 0 means always.

    Every cloud knows `http` (refused before anything is done) and `lost_reply` (done, but the connection breaks before
    the answer); the others are listed where they are read.
    """

    def take(self, name: str) -> dict[str, Any] | None:
        """Return the fault of a call and count it down."""
        fault = self.get(name)
        if fault is None:
            return None
        times = int(fault.get("times", 1))
        if times == 1:
            del self[name]
        elif times > 1:
            self[name] = {**fault, "times": times - 1}
        return fault

    def serve(self, app: web.Application) -> None:
        """Show the faults at GET /_simulator/faults, and take {call: fault or null} by POST: null removes one."""
        app.router.add_get("/_simulator/faults", self._show)
        app.router.add_post("/_simulator/faults", self._set)

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response(dict(self))

    async def _set(self, request: web.Request) -> web.Response:
        for name, fault in (await request.json()).items():
            if fault is None:
                self.pop(name, None)
            else:
                self[name] = fault
        return web.json_response(dict(self))


def is_kind(fault: Fault | None, *kinds: str) -> bool:
    """Tell whether a fault is of one of these kinds."""
    return fault is not None and fault["kind"] in kinds


def lose_reply(fault: Fault | None, request: web.Request) -> None:
    """Break the connection before the answer, where that was asked for."""
    if is_kind(fault, "lost_reply") and request.transport is not None:
        request.transport.abort()


class Operation(Protocol):
    """A long operation of some cloud."""

    started_at: datetime
    ended_at: datetime | None


Running = TypeVar("Running", bound=Operation)


class OperationStore(Generic[Running]):
    """The long operations of one service: each takes virtual time and then does what it was begun for."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self._numbers = itertools.count(1)
        self._operations: dict[str, Running] = {}
        self._tasks = TaskGroup()

    @property
    def known(self) -> dict[str, Running]:
        """Name -> operation, in the order they were begun."""
        return self._operations

    def next_number(self) -> int:
        """Return the next operation's number."""
        return next(self._numbers)

    def add(self, name: str, running: Running) -> None:
        """Let an operation be asked for by its name."""
        self._operations[name] = running

    def end_after(self, running: Running, seconds: float, finish: Callable[[Running], None]) -> None:
        """End an operation after virtual seconds and do what it was begun for, unless it was cancelled meanwhile."""
        self.soon(self._end(running, seconds, finish))

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside; it is stopped with the stand-in."""
        self._tasks.start(work)

    async def stop(self) -> None:
        """Stop everything that goes on. Raises what one of it failed with."""
        await self._tasks.stop()

    async def _end(self, running: Running, seconds: float, finish: Callable[[Running], None]) -> None:
        await self.clock.sleep_until(running.started_at + timedelta(seconds=seconds))
        if running.ended_at is None:
            running.ended_at = self.clock.now()
            finish(running)
