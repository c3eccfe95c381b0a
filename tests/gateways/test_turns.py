"""Work that can wait takes a bounded part of each iteration of the event loop, in the order in which it came."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_llm_provisioning.gateways.recording import serve_poll
from airflow_llm_provisioning.gateways.recording.turns import WORK_S, Turns, turns


async def test_what_can_wait_is_spread_over_iterations() -> None:
    """Of 50 pieces of work that are due at once, other work of the loop gets in between after a few, and none is late
    for a newer one.
    """
    now, did = 0.0, []
    waits = Turns(lambda: now)

    async def work(number: int) -> None:
        nonlocal now
        await waits.turn()
        now += WORK_S / 4
        did.append(str(number))

    async def other() -> None:
        while len(did) < 60:
            did.append("other")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(work(number))
        group.create_task(other())
    runs = " ".join(did).split("other")
    assert max(len(run.split()) for run in runs) <= 8
    assert [one for one in did if one != "other"] == [str(number) for number in range(50)]


async def test_those_that_wait_are_not_woken_in_vain() -> None:
    """Otherwise a thousand watches that wait cost as much as the work that they wait for, in every iteration."""
    now, looks = 0.0, 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return now

    waits = Turns(clock)

    async def work() -> None:
        nonlocal now
        await waits.turn()
        now += WORK_S / 4

    async with asyncio.TaskGroup() as group:
        for _ in range(400):
            group.create_task(work())
    assert looks < 400 * 1.5


async def test_small_pieces_of_work_fill_the_time_that_there_is() -> None:
    """A version of an object of others costs a hundredth of one that is recorded, and thousands a second pass."""
    now, iterations = 0.0, 0
    waits = Turns(lambda: now)

    async def work() -> None:
        nonlocal now
        await waits.turn()
        now += WORK_S / 500

    async def count() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    now = WORK_S  # the queue begins with a full iteration
    await waits.turn()
    now += WORK_S
    counting = asyncio.create_task(count())
    async with asyncio.TaskGroup() as group:
        for _ in range(4000):
            group.create_task(work())
    counting.cancel()
    assert iterations < 4 * 4000 / 500


async def test_one_goes_on_while_there_is_time_and_then_waits_behind_the_others() -> None:
    """A watch with much to take does not change places for each version, and does not keep the others from theirs."""
    now, did = 0.0, ""
    waits = Turns(lambda: now)

    async def work(name: str, pieces: int) -> None:
        nonlocal now, did
        watch = object()
        for _ in range(pieces):
            await waits.turn(watch)
            now += WORK_S * 0.3
            did += name

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(work(name, 8))
    assert did == "aaaaaaaabbbbccccbbbbcccc"


async def test_one_that_gives_up_does_not_hold_up_the_others() -> None:
    """A recording can end while its watches wait for their turn."""
    now, did = 0.0, []
    waits = Turns(lambda: now)

    async def work(number: int) -> None:
        nonlocal now
        await waits.turn()
        now += WORK_S
        did.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(6)]
    await asyncio.sleep(0)
    for number in (1, 2, 4):
        tasks[number].cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert did == [0, 3, 5]


async def test_work_that_comes_alone_does_not_wait() -> None:
    """Each iteration has its own time, so what was done before does not count."""
    now = 0.0
    waits = Turns(lambda: now)
    for _ in range(5):
        await waits.turn()
        now += 10 * WORK_S
        await asyncio.sleep(0)
    iterations = 0

    async def count() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await waits.turn()
    assert iterations == 0
    counting.cancel()


async def test_recordings_of_a_loop_share_the_turns() -> None:
    """Otherwise hundreds of them would have hundreds of times the bound."""
    assert turns() is turns()


class Asked:
    """A cluster that answers every poll alike, and notes that it was asked."""

    def __init__(self) -> None:
        self.once = asyncio.Event()

    def clock(self) -> datetime:
        return datetime(2026, 12, 1, tzinfo=UTC)

    def real_seconds(self, cluster_seconds: float) -> float:
        return cluster_seconds

    async def proxy(self, *_: Any, **__: Any) -> tuple[int, dict[str, str], bytes]:
        self.once.set()
        return 503, {}, b""


async def test_serve_is_asked_when_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll of Serve takes turns with the versions: where there is no time left it waits like them."""
    now = 0.0
    waits, asked = Turns(lambda: now), Asked()
    monkeypatch.setattr(serve_poll, "turns", lambda: waits)

    async def work() -> None:
        nonlocal now
        await waits.turn()
        now += WORK_S

    scope: Any = type("AHead", (), {"head_service": "head"})()
    asking: Any = asked
    taken = asyncio.ensure_future(work())
    polls = asyncio.ensure_future(serve_poll.poll_serve(asking, "default", scope, lambda _: None))
    await asyncio.sleep(0)
    assert taken.done()
    assert not asked.once.is_set()
    await asked.once.wait()
    polls.cancel()
