"""A loop that jumps: time passes for timers and for nothing else."""

import asyncio
import time
from datetime import timedelta

import pytest

from llm_provisioning_simulator.virtual_time import EPOCH, VirtualClock, run_at_once


def test_an_hour_passes_at_once_and_in_order() -> None:
    """Sleepers wake in the order of their instants, each at its own, and no real time passes."""
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((name, asyncio.get_running_loop().time()))

    async def both() -> None:
        await asyncio.gather(sleeper("late", 3600), sleeper("early", 1800))

    began = time.monotonic()
    run_at_once(both())
    assert woken == [("early", 1800), ("late", 3600)]
    assert time.monotonic() - began < 60


def test_the_clock_reads_the_loop() -> None:
    """The same run gives the same stamps: the clock begins at a fixed instant and moves with the loop only."""

    async def read() -> timedelta:
        clock = VirtualClock.of_this_loop()
        assert clock.now() == EPOCH
        await clock.sleep(90)
        await clock.sleep_until(EPOCH + timedelta(seconds=120))
        return clock.now() - EPOCH

    assert run_at_once(read()) == timedelta(seconds=120)


def test_a_wait_for_the_rest_of_a_period_never_stands_still() -> None:
    """A rest too small to move the loop's time still ends: a loop of such sleeps makes progress."""

    async def sleep_rests() -> int:
        clock = VirtualClock.of_this_loop()
        await clock.sleep(1234.5)
        began_at, naps = clock.now(), 0
        while clock.now() == began_at and naps < 10:
            await clock.sleep(1e-18)
            naps += 1
        return naps

    assert run_at_once(sleep_rests()) < 10


def test_what_can_never_happen_is_an_error_and_not_a_hang() -> None:
    """A loop in which every task waits for another one ends with the reason."""

    async def stuck() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="no timer is set"):
        run_at_once(stuck())
