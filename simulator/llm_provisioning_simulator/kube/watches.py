"""Watches: a stream of changes from a resourceVersion on, as clients' informers expect it.

Time limits count in real seconds, since they bound a connection; bookmarks come once a minute of the cluster's time.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.kube.calls import Call
from llm_provisioning_simulator.kube.changes import Change, Subscription
from llm_provisioning_simulator.kube.rendering import Rendering, encode
from llm_provisioning_simulator.kube.selectors import Test, selector
from llm_provisioning_simulator.kube.statuses import StatusError, expired
from llm_provisioning_simulator.kube.store import ObjectStore

BOOKMARK_EVERY_S: Final = 60.0
# Without timeoutSeconds the API server ends a watch at random between one and two of these (--min-request-timeout).
_MIN_REQUEST_TIMEOUT_S: Final = 1800.0


class WatchDroppedError(Exception):
    """The connection breaks: a fault."""


async def watch(call: Call, store: ObjectStore, faults: Faults) -> AsyncIterator[bytes]:
    """Yield the lines of a watch until its time is over."""
    rendering = Rendering.asked(call, store)
    test = _test(call)
    try:
        subscription, initial = _begin(call, store, faults, test)
        version = store.version
    except StatusError as error:
        # The watch cache answers 200 and puts the refusal into the stream (storage/cacher, newErrWatcher).
        yield encode({"type": "ERROR", "object": error.body()}) + b"\n"
        return
    bookmarks = call.flag("allowWatchBookmarks")
    try:
        for change in initial:
            yield rendering.line("ADDED", change)
        if bookmarks and call.flag("sendInitialEvents"):
            yield rendering.bookmark(version, initial_end=True)
        # The API server has no watch cache for events, and so no bookmarks.
        bookmarks = bookmarks and call.place.resource.plural != "events"
        async for line in _stream(subscription, rendering, test, store, faults, _seconds(call), bookmarks=bookmarks):
            yield line
    finally:
        subscription.close()


async def _stream(
    subscription: Subscription,
    rendering: Rendering,
    test: Test,
    store: ObjectStore,
    faults: Faults,
    seconds: float,
    *,
    bookmarks: bool,
) -> AsyncIterator[bytes]:
    end = time.monotonic() + seconds
    pause = BOOKMARK_EVERY_S / store.clock.speed if bookmarks else seconds
    next_bookmark = time.monotonic() + pause
    while (now := time.monotonic()) < end and not subscription.closed:
        if bookmarks and now >= next_bookmark and subscription.idle:
            next_bookmark = now + pause
            yield rendering.bookmark(store.version)
        if faults.use_up("watch_dropped"):
            raise WatchDroppedError
        for change in await _batch(subscription, min(end, next_bookmark) - now):
            type_ = _seen(change, test)
            if type_:
                yield rendering.line(type_, change)
    if bookmarks and subscription.idle:
        yield rendering.bookmark(store.version)


async def _batch(subscription: Subscription, seconds: float) -> Sequence[Change]:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            return await subscription.batch()
    except TimeoutError:
        return ()


def _begin(call: Call, store: ObjectStore, faults: Faults, test: Test) -> tuple[Subscription, list[Change]]:
    """Open the subscription, and return what the client must be told first."""
    plural = call.place.resource.plural
    since = call.number("resourceVersion") or 0
    if call.flag("sendInitialEvents") or not since:
        return _all(store, plural, test)
    # A version from the future is one of a cluster that ran here before: only a new list can help its client.
    if since > store.version or faults.use_up("gone_410"):
        raise expired(since, store.version)
    subscription = store.watch(plural, since)
    if subscription is None:
        raise expired(since, store.oldest_watchable(plural))
    return subscription, []


def _all(store: ObjectStore, plural: str, test: Test) -> tuple[Subscription, list[Change]]:
    subscription = store.watch(plural)
    if subscription is None:
        raise expired(0, store.version)
    existing = [item for item in store.peek_all(plural) if test(item)]
    return subscription, [Change("ADDED", plural, item, None, store.version) for item in existing]


def _test(call: Call) -> Test:
    """Return what decides whether the client sees an object."""
    place = call.place
    fields = call.query.get("fieldSelector", "")
    if place.name:
        fields = f"{fields},metadata.name={place.name}"
    chosen = selector(call.query.get("labelSelector", ""), fields, place.resource)
    namespace = place.namespace
    return lambda item: (
        (namespace is None or item["metadata"].get("namespace") == namespace) and (chosen is None or chosen(item))
    )


def _seen(change: Change, test: Test) -> str | None:
    """Return the type a change has for a client that sees only what passes the test."""
    before = change.previous is not None and test(change.previous)
    if change.type == "DELETED":
        return "DELETED" if before else None
    if test(change.object):
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else None


def _seconds(call: Call) -> float:
    asked = call.number("timeoutSeconds")
    return float(asked) if asked else _MIN_REQUEST_TIMEOUT_S * (1 + random.random())
