"""Waits of one process that need the same watch have one connection for it, and miss nothing by that."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from kube_fake_api import FakeApi, fake_api
from test_kubernetes_follow import Follower

from airflow_llm_provisioning.gateways.kubernetes import Cluster, shared_watch
from airflow_llm_provisioning.gateways.kubernetes.credentials import from_access
from airflow_llm_provisioning.gateways.kubernetes.follow import follow


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as server:
        await server.put("pods", "first")
        yield server


def cluster(api: FakeApi, shared_as: str | None = "one", token: str | None = None) -> Cluster:
    return Cluster(from_access(api.access(token)), name="test", shared_as=shared_as)


def watches(api: FakeApi) -> int:
    return sum("watch=true" in line for line in api.requests)


async def watching(api: FakeApi, *clusters: Cluster) -> list[Follower]:
    """Return a follower for each cluster, once all have listed and the server has their watch."""
    followers = [Follower(each) for each in clusters]
    for follower in followers:
        await follower.until(1)
    async with asyncio.timeout(30):
        while not watches(api):  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
    return followers


async def names(followers: list[Follower], count: int) -> list[list[str]]:
    return [[name for _, name in await follower.until(count)] for follower in followers]


async def list_version(opened: Cluster) -> str:
    _, version = await opened.list("pods", "default")
    assert version is not None
    return version


async def test_many_waits_have_one_watch_and_see_everything(api: FakeApi) -> None:
    """Twenty followers of one connection: one watch on the server, every version for each of them."""
    async with AsyncExitStack() as stack:
        clusters = [await stack.enter_async_context(cluster(api, token=f"t{number}")) for number in range(20)]
        followers = await watching(api, *clusters)
        await api.put("pods", "second")
        await api.put("pods", "third")
        assert await names(followers, 3) == [["first", "second", "third"]] * 20
        assert watches(api) == 1
        for follower in followers:
            await follower.stop()


async def test_other_connections_share_nothing(api: FakeApi) -> None:
    """Another connection may have other rights: it has its own session and watch."""
    async with cluster(api, "one") as one, cluster(api, "other") as other, cluster(api, None) as alone:
        followers = await watching(api, one, other, alone)
        await api.put("pods", "second")
        await names(followers, 2)
        assert watches(api) == 3
        for follower in followers:
            await follower.stop()


async def test_the_wait_that_opened_the_watch_may_end_first(api: FakeApi) -> None:
    """Its cluster is closed; the others read on, without a gap and without a new watch."""
    async with cluster(api) as kept:
        async with cluster(api) as closing:
            (first,) = await watching(api, closing)
            second = Follower(kept)
            await second.until(1)
            await first.stop()
        await api.put("pods", "second")
        assert await names([second], 2) == [["first", "second"]]
        assert (watches(api), second.gaps) == (1, [])
        await second.stop()


async def test_a_late_wait_gets_what_came_between_its_list_and_now(api: FakeApi) -> None:
    """It joins at an older version than the watch has reached: the history has what it missed, once."""
    async with cluster(api) as opened:
        (first,) = await watching(api, opened)
        listed = await list_version(opened)
        await api.put("pods", "second")
        await first.until(2)
        seen = []
        async for event in opened.watch("pods", "default", resource_version=listed):
            seen.append(event.object["metadata"]["name"])
            break
        assert (seen, watches(api)) == (["second"], 1)
        await first.stop()


@pytest.mark.parametrize(("limit", "value"), [("HISTORY", 1), ("HISTORY_BYTES", 1)])
async def test_a_wait_from_before_the_history_has_its_own_watch(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    """What the history lacks, for its events or its bytes, is asked of the server: nothing is skipped."""
    monkeypatch.setattr(shared_watch, limit, value)
    async with cluster(api) as opened:
        (first,) = await watching(api, opened)
        listed = await list_version(opened)
        for name in ("second", "third", "fourth"):
            await api.put("pods", name)
        await first.until(4)
        seen = []
        async for event in opened.watch("pods", "default", resource_version=listed):
            seen.append(event.object["metadata"]["name"])
            if len(seen) == 3:
                break
        assert (seen, watches(api)) == (["second", "third", "fourth"], 2)
        await first.stop()


async def test_the_history_holds_lines_and_no_objects(api: FakeApi) -> None:
    """Parsed objects of hundreds of watches would be most of a triggerer's memory, and cost every collection time."""
    async with cluster(api) as opened:
        (first,) = await watching(api, opened)
        for number in range(4):
            await api.put("pods", f"more-{number}")
        await first.until(5)
        (shared,) = opened._transport.session("test").watches.values()
        assert [json.loads(line)["object"]["metadata"]["name"] for _, line in shared.history] == [
            f"more-{number}" for number in range(4)
        ]
        assert shared._history_bytes == sum(len(line) for _, line in shared.history) > 0
        await first.stop()


async def test_a_wait_that_does_not_read_is_let_go(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its events are not kept without end: its watch ends as interrupted, the others go on."""
    monkeypatch.setattr(shared_watch, "BEHIND", 2)
    async with cluster(api) as opened:
        (first,) = await watching(api, opened)
        version = await list_version(opened)
        stuck = opened.watch("pods", "default", resource_version=version)
        reading = asyncio.ensure_future(anext(aiter(stuck)))
        await asyncio.sleep(0)
        for number in range(5):
            await api.put("pods", f"more-{number}")
            await first.until(2 + number)
        await reading
        with pytest.raises(shared_watch.ClusterUnreachableError, match="did not read it in time"):
            async for _ in stuck:
                pass
        await first.stop()


async def test_the_last_wait_closes_the_watch_and_the_session(api: FakeApi) -> None:
    """No socket and no task outlives the waits."""
    async with cluster(api) as opened:
        (follower,) = await watching(api, opened)
        session = opened._transport.session(opened._attempt("get", "/"))
        assert len(session.watches) == 1
        await follower.stop()
        assert session.watches == {}
    assert session.users == 0
    assert session.client.rest_client.pool_manager.closed


async def test_a_version_was_received_when_its_line_was_read(api: FakeApi) -> None:
    """A wait that comes to a version later, because others are due, has it with the instant of the reading."""
    async with cluster(api) as opened:
        read = follow(opened, "pods", "default")
        assert (await anext(read)).object["metadata"]["name"] == "first"
        second = asyncio.ensure_future(anext(read))
        async with asyncio.timeout(30):
            while not watches(api):  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        await api.put("pods", "second")
        await second
        await api.put("pods", "third")
        await asyncio.sleep(1.0)
        asked_at = opened.clock()
        third = await anext(read)
        assert third.object["metadata"]["name"] == "third"
        assert third.received_at < asked_at - timedelta(seconds=0.3)
        await read.aclose()
