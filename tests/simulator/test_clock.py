"""The simulator's clock between two steps of an event loop, and within one."""

import asyncio
import time

from llm_provisioning_simulator.clock import SimClock


def _machine_pauses() -> None:
    time.sleep(0.02)


async def _pause_between_two_readings(clock: SimClock) -> float:
    before = clock.now()
    _machine_pauses()
    return (clock.now() - before).total_seconds()


async def _next_step(clock: SimClock) -> float:
    before = clock.now()
    _machine_pauses()
    await asyncio.sleep(0)
    return (clock.now() - before).total_seconds()


def test_one_step_of_a_loop_is_one_instant() -> None:
    """A machine that pauses inside an act, at a thousandfold speed, puts nothing between the act's two stamps."""
    assert asyncio.run(_pause_between_two_readings(SimClock.start(1000))) == 0.0


def test_the_next_step_reads_the_time_that_passed() -> None:
    """The instant is not kept: the next step sees all of the pause."""
    assert asyncio.run(_next_step(SimClock.start(1000))) >= 20.0


def test_another_loop_on_the_same_thread_reads_afresh() -> None:
    """A loop that was stopped in mid-step leaves no instant to its successor."""
    clock = SimClock.start(1000)
    loop = asyncio.new_event_loop()

    async def stop_at_once() -> float:
        loop.stop()
        return clock.now().timestamp()

    task = loop.create_task(stop_at_once())
    loop.run_forever()
    first = task.result()
    loop.close()
    _machine_pauses()

    async def read() -> float:
        return clock.now().timestamp()

    assert asyncio.run(read()) >= first + 20.0


def test_outside_a_loop_every_reading_is_fresh() -> None:
    """Threads without a loop have no steps."""
    clock = SimClock.start(1000)
    before = clock.now()
    _machine_pauses()
    assert (clock.now() - before).total_seconds() >= 20.0
