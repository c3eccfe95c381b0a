"""Watches: resume, selector transitions, bookmarks, initial events, expiry, and the faults that break them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.kube.changes import LOG_LENGTH
from llm_provisioning_simulator.kube.server import KubeServer
from llm_provisioning_simulator.kube.store import ObjectStore

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def http(kube_server: KubeServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=kube_server.url) as session:
        yield session


def put(server: KubeServer, name: str, **labels: str) -> dict[str, Any]:
    return server.store.create("configmaps", {"metadata": {"name": name, "labels": labels}}, manager="test")


def label(server: KubeServer, name: str, **labels: str) -> None:
    def change(item: dict[str, Any]) -> None:
        item["metadata"]["labels"] = labels

    server.store.mutate("configmaps", name, "default", change, manager="test")


async def lines(http: aiohttp.ClientSession, path: str, count: int | None = None) -> list[dict[str, Any]]:
    """Read so many lines of a watch, or all until it ends."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(60), http.get(path) as response:
        assert response.status == 200
        async for line in response.content:
            found.append(json.loads(line))
            if len(found) == count:
                break
    return found


def seen(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(item["type"], item["object"]["metadata"].get("name", "")) for item in found]


@pytest.mark.parametrize("flag", ["true", "True", "1"])
async def test_a_watch_without_a_version_begins_with_everything(
    http: aiohttp.ClientSession, kube_server: KubeServer, flag: str
) -> None:
    """Synthetic ADDED events; `watch=True` with a capital is a watch too; timeoutSeconds ends it."""
    put(kube_server, "a")
    assert seen(await lines(http, f"{MAPS}?watch={flag}&timeoutSeconds=1")) == [("ADDED", "a")]


async def test_a_watch_resumes_after_its_version(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """Everything after that version, nothing before; the deleted object carries a version of its own."""
    version = put(kube_server, "a")["metadata"]["resourceVersion"]
    label(kube_server, "a", x="1")
    put(kube_server, "b")
    kube_server.store.delete("configmaps", "a", "default")
    found = await lines(http, f"{MAPS}?watch=1&resourceVersion={version}", 3)
    assert seen(found) == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    versions = [int(item["object"]["metadata"]["resourceVersion"]) for item in found]
    assert versions == sorted(set(versions))


async def test_selector_transitions(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """An object that comes to match is ADDED, one that no longer does is DELETED; others are not seen."""
    version = put(kube_server, "a")["metadata"]["resourceVersion"]
    label(kube_server, "a", x="1")
    label(kube_server, "a", x="1", y="2")
    label(kube_server, "a", x="2")
    kube_server.store.delete("configmaps", "a", "default")
    put(kube_server, "end", x="1")
    found = await lines(http, f"{MAPS}?watch=1&resourceVersion={version}&labelSelector=x%3D1", 4)
    assert seen(found) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "end")]


async def test_initial_events_end_with_a_marked_bookmark(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """`sendInitialEvents` streams the list, then a bookmark that says it is complete."""
    put(kube_server, "a")
    query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    found = await lines(http, f"{MAPS}?{query}", 2)
    assert [item["type"] for item in found] == ["ADDED", "BOOKMARK"]
    assert found[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_bookmarks_come_every_virtual_minute_but_not_for_events() -> None:
    """At speed 600 a minute is a tenth of a second; the API server has no watch cache for events."""
    clock = SimClock.start(600.0)
    server = KubeServer(ObjectStore(clock), name="fast", clock=clock)
    await server.start()
    query = "watch=1&allowWatchBookmarks=true&timeoutSeconds=1"
    async with aiohttp.ClientSession(base_url=server.url) as http:
        pods = await lines(http, f"/api/v1/pods?{query}")
        events = await lines(http, f"/api/v1/events?{query}")
    await server.stop()
    assert len(pods) >= 2
    assert {item["type"] for item in pods} == {"BOOKMARK"}
    assert pods[0]["object"]["spec"] == {"containers": None}
    assert events == []


async def test_a_forgotten_version_is_gone(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """A version older than what is remembered gets an ERROR item with a 410 Status, over HTTP 200."""
    first = put(kube_server, "a")["metadata"]["resourceVersion"]
    for number in range(LOG_LENGTH + 1):
        label(kube_server, "a", x=str(number))
    found = await lines(http, f"{MAPS}?watch=1&resourceVersion={first}")
    assert [(item["type"], item["object"]["code"], item["object"]["reason"]) for item in found] == [
        ("ERROR", 410, "Expired")
    ]


async def test_a_version_from_the_future_is_gone(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """A client of a server that was restarted here must list again, not wait for versions that passed long ago."""
    put(kube_server, "a")
    found = await lines(http, f"{MAPS}?watch=1&resourceVersion=100000")
    assert [item["object"]["code"] for item in found] == [410]


async def test_the_410_fault_hits_resumed_watches_once(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """The next resumed watch is told it is too old, the one after it runs."""
    version = put(kube_server, "a")["metadata"]["resourceVersion"]
    kube_server.faults.switch("gone_410", 1)
    path = f"{MAPS}?watch=1&timeoutSeconds=1&resourceVersion={version}"
    assert [item["type"] for item in await lines(http, path)] == ["ERROR"]
    assert await lines(http, path) == []


async def test_a_dropped_watch_breaks_in_the_middle(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """Switching the fault breaks an open watch at once; a new watch works."""
    put(kube_server, "a")
    async with asyncio.timeout(60), http.get(f"{MAPS}?watch=1") as response:
        await response.content.readline()
        kube_server.faults.switch("watch_dropped", 1)
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()
    assert kube_server.faults.watch_dropped == 0
    assert seen(await lines(http, f"{MAPS}?watch=1", 1)) == [("ADDED", "a")]


async def test_stopping_ends_open_watches(kube_server: KubeServer) -> None:
    """A server with open watches stops within its grace."""
    async with aiohttp.ClientSession(base_url=kube_server.url) as http, http.get(f"{MAPS}?watch=1"):
        async with asyncio.timeout(60):
            await kube_server.stop()


async def test_a_client_that_leaves_is_forgotten(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """Nothing is kept for a watch whose connection was closed."""
    async with http.get(f"{MAPS}?watch=1") as response:
        assert len(kube_server.open_streams) == 1
        response.close()
    async with asyncio.timeout(60):
        while kube_server.open_streams:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)


async def test_tables_are_watched_too(http: aiohttp.ClientSession, kube_server: KubeServer) -> None:
    """`kubectl get -w` asks for Tables: every item is one row."""
    put(kube_server, "a")
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    async with asyncio.timeout(60), http.get(f"{MAPS}?watch=1", headers=accept) as response:
        item = json.loads(await response.content.readline())
    assert item["object"]["kind"] == "Table"
    assert item["object"]["rows"][0]["cells"][:2] == ["a", 0]
