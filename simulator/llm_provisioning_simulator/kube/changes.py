"""What changed, in order, for all watchers: one bounded log and any number of subscriptions.

Knows nothing of HTTP or of kinds. Objects in here are shared and never altered after they are published.
"""

import asyncio
import marshal
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

LOG_LENGTH: Final = 4000
"""Changes remembered for each resource; a watch from before the oldest is answered 410."""


_Tree = TypeVar("_Tree")


def copy_tree(value: _Tree) -> _Tree:
    """Return a deep copy of JSON data; twenty times as fast as copy.deepcopy, which must expect anything.

    Nothing in the copy is shared, also where the original holds the same dict twice (marshal does so up to version 2).
    """
    try:
        document: Any = value
        return cast("_Tree", marshal.loads(marshal.dumps(document, 2)))  # noqa: S302 - bytes we have just written
    except ValueError:
        return cast("_Tree", _walk(value))


def _walk(value: Any) -> Any:
    """Copy what marshal does not take: subclasses of str, dict or list that a controller put in."""
    if isinstance(value, Mapping):
        return {key: _walk(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_walk(item) for item in value]
    return value


@dataclass(slots=True)
class Change:
    """One published change. `previous`: the object before it; None when it is new. `lines`: a place where the server
    keeps the serialised form, so that many watchers cost one serialisation.
    """

    type: str
    resource: str
    object: dict[str, Any]
    previous: dict[str, Any] | None
    version: int
    lines: dict[str, bytes] = field(default_factory=dict)


class Subscription:
    """Changes of some resources from one moment on. Ends when closed; one reader."""

    def __init__(self, log: "ChangeLog", resources: Sequence[str], backlog: Sequence[Change]) -> None:
        self._log = log
        self.resources = tuple(resources)
        self._pending: deque[Change] = deque(backlog)
        self._awake = asyncio.Event()
        self.closed = False
        if backlog:
            self._awake.set()

    def push(self, change: Change) -> None:
        """Add a change; called by the log."""
        self._pending.append(change)
        self._awake.set()

    @property
    def idle(self) -> bool:
        """Whether the reader has seen everything."""
        return not self._pending

    def wake(self) -> None:
        """Let a waiting reader return with what there is, even if that is nothing."""
        self._awake.set()

    async def batch(self) -> list[Change]:
        """Wait until something happened and return everything pending; empty after `wake` or `close`."""
        await self._awake.wait()
        found = list(self._pending)
        self._pending.clear()
        if not self.closed:
            self._awake.clear()
        return found

    def close(self) -> None:
        """Receive nothing more."""
        self.closed = True
        self._log.forget(self)
        self._awake.set()

    async def __aiter__(self) -> AsyncIterator[Change]:
        try:
            while not self.closed:
                for change in await self.batch():
                    yield change
        finally:
            self.close()


class ChangeLog:
    """The recent changes of one cluster, and who wants to hear of the next. `first`: the version it begins after."""

    def __init__(self, length: int = LOG_LENGTH, first: int = 0) -> None:
        self._logs: dict[str, deque[Change]] = defaultdict(lambda: deque(maxlen=length))
        self._dropped: dict[str, int] = defaultdict(lambda: first)
        self._subscriptions: dict[str, set[Subscription]] = defaultdict(set)

    def publish(self, change: Change) -> None:
        """Remember a change and hand it to the subscriptions of its resource."""
        log = self._logs[change.resource]
        if len(log) == log.maxlen:
            self._dropped[change.resource] = log[0].version
        log.append(change)
        for subscription in self._subscriptions[change.resource]:
            subscription.push(change)

    def subscribe(self, resources: Sequence[str], backlog: Sequence[Change] = ()) -> Subscription:
        """Open a subscription that begins with `backlog`."""
        subscription = Subscription(self, resources, backlog)
        for resource in resources:
            self._subscriptions[resource].add(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """End a subscription; harmless when it has ended."""
        for resource in subscription.resources:
            self._subscriptions[resource].discard(subscription)

    def wake_all(self) -> None:
        """Wake every reader, so that it looks at what else may have changed (faults, the server's end)."""
        for group in self._subscriptions.values():
            for subscription in group:
                subscription.wake()

    def since(self, resource: str, version: int) -> list[Change] | None:
        """Return the changes after a version, or None when older ones have been dropped already."""
        if version < self._dropped[resource]:
            return None
        return [change for change in self._logs[resource] if change.version > version]

    def oldest(self, resource: str) -> int:
        """Return the version of the last change that was dropped: the oldest a watch may start from."""
        return self._dropped[resource]
