"""Watches: one that ends, and `follow`, which goes on through everything: list, watch, list again after a 410."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from airflow_llm_provisioning.exceptions import ClusterUnreachableError
from airflow_llm_provisioning.gateways.kubernetes.errors import ExpiredError, error_for
from airflow_llm_provisioning.gateways.kubernetes.transport import Call, Transport

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes.cluster import Cluster
    from airflow_llm_provisioning.gateways.kubernetes.objects import Objects

# A watch that the server should have ended by now is dead, whatever TCP says.
SILENCE_S: Final = 10.0
LONGEST_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch. `type`: ADDED, MODIFIED, DELETED or BOOKMARK; `follow` adds LISTED."""

    type: str
    object: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing `follow` saw, and when (cluster time, taken when it was read).

    LISTED comes from a list. VANISHED: the deletion itself was missed, `object` is no more than the last metadata.
    """

    type: str
    object: dict[str, Any]
    received_at: datetime


async def watch(
    transport: Transport, call: Call, *, resource_version: str, timeout_s: float
) -> AsyncIterator[WatchEvent]:
    """Yield the events of one watch request until the server ends it."""
    query = (
        *call.query,
        ("watch", "true"),
        ("resourceVersion", resource_version),
        ("allowWatchBookmarks", "true"),
        ("timeoutSeconds", str(max(1, round(timeout_s)))),
    )
    call = replace(call, query=query, timeout_s=timeout_s + SILENCE_S)
    async with transport.stream(call) as content:
        try:
            async for line in content:
                if line.strip():
                    yield _event(line, call)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ClusterUnreachableError(
                f"Could not {call.attempt} any longer: the stream broke ({error})."
            ) from error


def _event(line: bytes, call: Call) -> WatchEvent:
    event = json.loads(line)
    if event["type"] == "ERROR":
        status = event["object"]
        raise error_for(int(status.get("code") or 500), json.dumps(status).encode(), call.attempt)
    return WatchEvent(event["type"], event["object"])


async def follow(
    cluster: "Cluster",
    resource: str,
    namespace: str | None = None,
    labels: str | None = None,
    fields: str | None = None,
    *,
    on_gap: Callable[[str, str], None] = lambda resource, why: None,
) -> AsyncIterator[Seen]:
    """Yield everything that happens to a resource, for ever: each version of each object once.

    Begins with a list; goes on through dropped watches, 410 (lists again; what vanished meanwhile comes as VANISHED
    with its metadata only) and an API server that is away. `on_gap(resource, why)` is told of each interruption after
    which something may have been missed. Ends at once where the resource is optional and not served. Raises only what
    waiting cannot mend (ForbiddenError, ...).
    """
    selected = _Selected(cluster, resource, namespace, labels, fields)
    state = _State()
    pauses = _Pauses()
    while not state.absent:
        pauses.begin()
        try:
            async for seen in _until_interrupted(selected, state):
                yield seen
        except ExpiredError as error:
            state.resource_version = None
            on_gap(resource, str(error))
        except ClusterUnreachableError as error:
            on_gap(resource, str(error))
        await pauses.sleep()


@dataclass(frozen=True, slots=True)
class _Selected:
    cluster: "Cluster"
    resource: str
    namespace: str | None
    labels: str | None
    fields: str | None

    async def list(self) -> tuple["Objects", str | None]:
        return await self.cluster.list(self.resource, self.namespace, self.labels, self.fields)

    def watch(self, resource_version: str) -> AsyncIterator[WatchEvent]:
        return self.cluster.watch(
            self.resource, self.namespace, self.labels, self.fields, resource_version=resource_version
        )


async def _until_interrupted(selected: _Selected, state: "_State") -> AsyncIterator[Seen]:
    if state.resource_version is None:
        items, state.resource_version = await selected.list()
        if state.resource_version is None:
            state.absent = True
            return
        for seen in state.listed(items, selected.cluster.clock()):
            yield seen
    async for event in selected.watch(state.resource_version):
        received_at = selected.cluster.clock()
        if state.is_new(event):
            yield Seen(event.type, event.object, received_at)


class _Pauses:
    """None after a watch that lived; after one that was cut at once a pause, longer each time."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._began = 0.0

    def begin(self) -> None:
        self._began = time.monotonic()

    async def sleep(self) -> None:
        if time.monotonic() - self._began > 1.0:
            self._next_s = 0.0
        await asyncio.sleep(self._next_s * random.uniform(0.7, 1.3))
        self._next_s = min(LONGEST_PAUSE_S, max(0.1, self._next_s * 2))


class _State:
    """Where one `follow` stands: the version to go on from, and the last version seen of each object by uid."""

    def __init__(self) -> None:
        self.resource_version: str | None = None
        self.absent = False
        self._known: dict[str, dict[str, Any]] = {}

    def listed(self, items: list[dict[str, Any]], received_at: datetime) -> list[Seen]:
        """Return what a list tells anew: versions not seen, and the end of objects that are no longer there."""
        present = {item["metadata"]["uid"] for item in items}
        gone = [self._known.pop(uid) for uid in list(self._known) if uid not in present]
        news = [Seen("VANISHED", {"metadata": metadata}, received_at) for metadata in gone]
        return news + [Seen("LISTED", item, received_at) for item in items if self._remember(item["metadata"])]

    def is_new(self, event: WatchEvent) -> bool:
        """Take note of an event; False for bookmarks and for versions already seen."""
        metadata = event.object.get("metadata") or {}
        self.resource_version = metadata.get("resourceVersion") or self.resource_version
        if event.type == "BOOKMARK":
            return False
        if event.type == "DELETED":
            return self._known.pop(metadata["uid"], None) is not None
        return self._remember(metadata)

    def _remember(self, metadata: dict[str, Any]) -> bool:
        known = self._known.get(metadata["uid"])
        if known is not None and known["resourceVersion"] == metadata["resourceVersion"]:
            return False
        self._known[metadata["uid"]] = {
            key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion") if key in metadata
        }
        return True
