"""Following a resource through everything that can interrupt a watch."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from kube_fake_api import FakeApi, Fault, fake_api

from airflow_llm_provisioning.exceptions import ForbiddenError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.watch import Seen, follow


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as server:
        yield server


@pytest.fixture
async def cluster(api: FakeApi) -> AsyncIterator[Cluster]:
    async with Cluster.from_access(api.access(), name="test") as opened:
        yield opened


class Follower:
    """Collects what `follow` yields in the background."""

    def __init__(self, cluster: Cluster, resource: str = "pods") -> None:
        self.seen: list[Seen] = []
        self.gaps: list[str] = []
        self._more = asyncio.Event()
        self._follow = follow(cluster, resource, "default", on_gap=lambda _, why: self.gaps.append(why))
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for seen in self._follow:
            self.seen.append(seen)
            self._more.set()

    async def until(self, count: int) -> list[tuple[str, str]]:
        async with asyncio.timeout(20):
            while len(self.seen) < count:
                self._more.clear()
                await self._more.wait()
        return [(seen.type, seen.object["metadata"]["name"]) for seen in self.seen]

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_what_was_there_and_what_changes_comes_in_order(api: FakeApi, cluster: Cluster) -> None:
    """The list first, then every change, with its version, once."""
    await api.put("pods", "a")
    follower = Follower(cluster)
    await follower.until(1)
    await api.put("pods", "b")
    await api.put("pods", "a", status={"phase": "Running"})
    await api.remove("pods", "b")
    assert await follower.until(4) == [("LISTED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    await follower.stop()


async def test_a_dropped_watch_loses_and_repeats_nothing(api: FakeApi, cluster: Cluster) -> None:
    """After a drop the watch goes on where it was."""
    follower = Follower(cluster)
    for number in range(6):
        await api.put("pods", f"p{number}")
        if number % 2:
            await api.drop_watches()
    assert [name for _, name in await follower.until(6)] == [f"p{number}" for number in range(6)]
    await asyncio.sleep(0.3)
    assert len(follower.seen) == 6
    await follower.stop()


async def test_after_410_it_lists_again_and_tells_what_vanished(api: FakeApi, cluster: Cluster) -> None:
    """History is gone: new versions come as LISTED, unchanged ones not again, and the lost deletion is found."""
    await api.put("pods", "stays")
    await api.put("pods", "goes")
    follower = Follower(cluster)
    await follower.until(2)
    api.faults.append(Fault("watch=true", cut=True, times=1))
    await api.drop_watches()
    await api.remove("pods", "goes")
    await api.put("pods", "comes")
    await api.compact()
    told = await follower.until(4)
    assert sorted(told[2:]) == [("LISTED", "comes"), ("VANISHED", "goes")]
    assert any("too old" in why for why in follower.gaps)
    await follower.stop()


@pytest.mark.parametrize("fault", [Fault("GET.*pods", status=500, times=6), Fault("GET.*pods", cut=True, times=6)])
async def test_an_ill_server_is_waited_out(api: FakeApi, cluster: Cluster, fault: Fault) -> None:
    """500s and resets on list and watch delay the news and lose none."""
    follower = Follower(cluster)
    await api.put("pods", "a")
    await follower.until(1)
    api.faults.append(fault)
    await api.drop_watches()
    await api.put("pods", "b")
    assert (await follower.until(2))[1:] == [("ADDED", "b")]
    await follower.stop()


async def test_a_resource_that_is_not_served_ends_quietly(api: FakeApi, cluster: Cluster) -> None:
    """No Karpenter, nothing to follow."""
    api.absent = {"nodeclaims"}
    assert [seen async for seen in follow(cluster, "nodeclaims")] == []


async def test_forbidden_is_raised(api: FakeApi, cluster: Cluster) -> None:
    """What waiting cannot mend is told at once."""
    api.faults.append(Fault("pods", status=403))
    with pytest.raises(ForbiddenError):
        await anext(follow(cluster, "pods", "default"))
