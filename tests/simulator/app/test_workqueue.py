"""The loop behind a simulated controller."""

import asyncio

from llm_provisioning_simulator.app.workqueue import WorkQueue
from llm_provisioning_simulator.virtual_time import VirtualClock, run_at_once


def test_a_queue_stops_although_it_is_woken_at_that_very_moment() -> None:
    """A change that arrives together with the end does not keep the pass alive."""

    async def passes(_key: tuple[str, str]) -> float | None:
        return 2.0

    async def stop_while_waking() -> None:
        queue = WorkQueue(VirtualClock.of_this_loop(), passes, lambda: 0.01)
        queue.wake(("default", "one"))
        await asyncio.sleep(1)
        queue.wake(("default", "one"))
        # The waiter learns of the wake and of the cancellation in the same turn of the loop.
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await queue.stop()

    run_at_once(stop_while_waking())


def test_a_pass_comes_again_after_its_delay_or_when_woken() -> None:
    """Two virtual seconds apart by itself, at once (after the controller's own latency) when something changed."""
    seen: list[float] = []

    async def passes(_key: tuple[str, str]) -> float | None:
        seen.append(asyncio.get_running_loop().time())
        return 2.0

    async def run() -> None:
        queue = WorkQueue(VirtualClock.of_this_loop(), passes, lambda: 0.5)
        queue.wake(("default", "one"))
        await asyncio.sleep(4)
        queue.wake(("default", "one"))
        await asyncio.sleep(0.75)
        await queue.stop()

    run_at_once(run())
    assert seen == [0.5, 3.0, 4.5]
