"""Crash points: each call of a process to the outside can fail in every way of FAULTS.

A recording run forks a child at a call for each of its faults. The child suffers the fault and goes on to the end; the
parent goes on without it. A new call of the product is thereby a point by itself.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from crashes.machine import PROCESS, Ending, Process

T = TypeVar("T")

Fault = Literal["before", "after", "lost", "late", "twice", "twin"]
FAULTS: Final[dict[str, str]] = {
    "before": "killed before the call",
    "after": "killed after the call",
    "lost": "the call is carried out and its reply is lost",
    "late": "the reply comes late",
    "twice": "the call is delivered twice",
    "twin": "the scheduler takes the process for dead and starts another, and the first goes on",
}
LATE_S: Final = 25.0
TWIN_PAUSES_S: Final = (0.0, 15.0, 120.0)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: of which process, and what."""

    process: str
    what: str
    writes: bool
    faults: tuple[str, ...] = tuple(FAULTS)


@dataclass
class Injector:
    """Numbers the calls and decides which of them fail. `explore` is asked at every call of the recording run."""

    explore: Callable[[int, Call], str | None] | None = None
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    number: int = 0
    pending: list[tuple[int, str]] = field(default_factory=list)
    """(number of the call, fault) still to come, in order."""
    suffered: list[str] = field(default_factory=list)
    whole: bool = False
    """Whether the play goes on after the DAG that suffered."""
    seen: Counter[str] = field(default_factory=Counter)

    def fault_of(self, call: Call) -> str | None:
        """Count a call and return its fault."""
        self.number += 1
        self.seen[call.what] += 1
        fault = None
        if self.pending and self.number >= self.pending[0][0]:
            _, fault = self.pending.pop(0)
        elif self.explore is not None and not self.suffered:
            fault = self.explore(self.number, call)
        if fault is None:
            return None
        if fault not in call.faults:
            fault = self.rng.choice(call.faults)
        self.suffered.append(f"{fault} {call.process}: {call.what}")
        return fault


INJECTOR: Final = Injector()


async def through(call: Call, send: Callable[[], Awaitable[T]], lost: Callable[[], Exception]) -> T:
    """Carry out a call of the running process, with its fault."""
    process = PROCESS.get()
    assert process is not None  # noqa: S101 - the wires ask before
    await dead_calls_nothing(process)
    fault = INJECTOR.fault_of(call)
    if fault == "before":
        process.kill()
        await dead_calls_nothing(process)
    if fault == "twin":
        await leave_alone(process)
    reply = await send()
    if fault == "after":
        process.kill()
        await dead_calls_nothing(process)
    if fault == "lost":
        raise lost()
    if fault == "late":
        await asyncio.sleep(LATE_S)
    if fault == "twice":
        reply = await send()
    await dead_calls_nothing(process)
    return reply


async def leave_alone(process: Process) -> None:
    """Let the scheduler take a process for dead, which goes on after a pause."""
    process.leave(Ending(killed=True))
    await asyncio.sleep(INJECTOR.rng.choice(TWIN_PAUSES_S))


async def dead_calls_nothing(process: Process) -> None:
    """Stop here if the process was killed."""
    if process.dead:
        await asyncio.get_running_loop().create_future()


def current() -> Any:
    """Return the running process, None outside of one."""
    return PROCESS.get()
