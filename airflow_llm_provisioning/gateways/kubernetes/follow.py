"""Yields all changes of a resource without end: list, watch, watch again, and list again after a 410.

It continues after dropped connections, after an outage or restart of the API server, and from the position of another
process. This module must not know trials.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.exceptions import ClusterError, ClusterUnreachableError
from airflow_llm_provisioning.gateways.kubernetes.errors import ExpiredError
from airflow_llm_provisioning.gateways.kubernetes.watch import WatchEvent

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes.cluster import Cluster
    from airflow_llm_provisioning.gateways.kubernetes.objects import Objects

MAX_PAUSE_S: Final = 1.0
# A starting API server refuses requests that it will allow a moment later (401, 403, 404): its authorizer and its CRDs
# load after it listens. A refusal of a request that succeeded before is therefore not final for this long.
REFUSED_S: Final = 60.0
# A healthy server needs milliseconds between two watches; after a longer silence the first versions may be old.
PROMPT_S: Final = 0.25
# Duration of that state after such a silence.
CATCH_UP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ObservedVersion:
    """One observed version of an object, and when it was read (cluster time).

    `type`: ADDED, MODIFIED, DELETED as it happened. LISTED: it may have happened long before; it comes from a list, or
    from a watch that caught up after an interruption. VANISHED: the deletion itself was missed, and `object` contains
    only the last metadata.
    """

    type: str
    object: dict[str, Any]
    received_at: datetime


# Returns when there is time for one more version.
Turn = Callable[[], Awaitable[None]]


async def _at_once() -> None:
    """Take no turns."""


# The last observed version of an object: version, name, namespace (None for cluster-scoped objects).
LastVersion = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The position of another process in a resource: the newest version it received, and the objects by uid."""

    resource_version: str
    objects: Mapping[str, LastVersion] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listener:
    """Callbacks for interruptions.

    `gap(resource, why)`: an interruption began, so changes may be missed or late. `back(resource, silent_s)`: it ended
    after so many real seconds of silence.
    """

    gap: Callable[[str, str], None] = lambda resource, why: None
    back: Callable[[str, float], None] = lambda resource, silent_s: None


async def follow(
    cluster: "Cluster",
    resource: str,
    namespace: str | None = None,
    labels: str | None = None,
    fields: str | None = None,
    *,
    known: ResumePoint | None = None,
    listener: Listener = Listener(),
    turn: Turn | None = None,
) -> AsyncIterator[ObservedVersion]:
    """Yield all changes of a resource without end: each version of each object once.

    `turn` is awaited before each of them: what is not yielded yet is not parsed yet, and thousands may be due.

    It begins with a list, or at `known`. It continues after dropped watches, after a 410 (it lists again; objects that
    vanished meanwhile are VANISHED with their metadata only) and after an outage of the API server. It ends at once if
    the resource is optional and not served. It raises errors that waiting does not fix (ForbiddenError, ...): at once
    if no request succeeded before, otherwise after `REFUSED_S`.
    """
    following = _FollowState(cluster, resource, (namespace, labels, fields), listener, known, turn or _at_once)
    pauses = _Pauses()
    while not following.absent:
        pauses.begin()
        try:
            async for seen in following.until_interrupted():
                yield seen
                # No reference to the object may remain here until the next one comes. Hundreds of waits would keep
                # thousands of objects alive, which brings the next full garbage collection nearer, and all waits stop
                # during it.
                del seen
        except ExpiredError as error:
            following.resource_version = None
            following.interrupted(error)
        except ClusterUnreachableError as error:
            following.interrupted(error)
        except ClusterError as error:
            if not following.retries_refusal():
                raise
            following.interrupted(error)
        await pauses.sleep()


class _FollowState:
    """State of one `follow`: the version to continue from, the last version of each object, and the last time of
    activity.
    """

    def __init__(
        self,
        cluster: "Cluster",
        resource: str,
        selected: tuple[str | None, str | None, str | None],
        listener: Listener,
        known: ResumePoint | None,
        turn: Turn,
    ) -> None:
        self._turn = turn
        self.resource_version = known.resource_version if known else None
        self.absent = False
        self._cluster = cluster
        self._resource = resource
        self._selected = selected
        self._listener = listener
        self._known: dict[str, LastVersion] = dict(known.objects) if known else {}
        # A position of another process may be old, so the first versions may be old too.
        self._possibly_stale = known is not None
        self._succeeded_before = False
        self._gap = False
        self._refused_since: float | None = None
        self._active_at = _now()
        self._late_until = 0.0

    async def until_interrupted(self) -> AsyncIterator[ObservedVersion]:
        """List if there is no version to continue from, then watch until the server or the network ends the watch."""
        if self.resource_version is None:
            items, self.resource_version = await self._cluster.list(self._resource, *self._selected)
            if self.resource_version is None:
                self.absent = True
                return
            self._connected()
            for seen in self._listed(items, self._cluster.clock()):
                await self._turn()
                yield seen
        watching = self._cluster.watch(
            self._resource, *self._selected, resource_version=self.resource_version, on_open=self._connected
        )
        async for event in watching:
            await self._turn()
            seen_at = self._cluster.clock_at(event.read_at)
            self._active_at = _now()
            if self._is_new(event):
                yield ObservedVersion(self._kind(event), event.object, seen_at)
            del event
        # The server ended the watch, so it was connected until now, even without events.
        self._active_at = _now()

    def interrupted(self, error: ClusterError) -> None:
        """Report an interruption, once until it ends."""
        if not self._gap:
            self._gap = True
            self._listener.gap(self._resource, str(error))

    def retries_refusal(self) -> bool:
        """Return whether to retry after a refusal: a request that succeeded before may succeed again."""
        now = _now()
        self._refused_since = self._refused_since or now
        return self._succeeded_before and now - self._refused_since < REFUSED_S

    def _connected(self) -> None:
        now = _now()
        silent_s = now - self._active_at
        if self._possibly_stale or silent_s > PROMPT_S:
            self._possibly_stale = False
            self._late_until = now + CATCH_UP_S
        if self._gap:
            self._gap = False
            self._listener.back(self._resource, silent_s)
        self._active_at = now
        self._succeeded_before = True
        self._refused_since = None

    def _kind(self, event: WatchEvent) -> str:
        late = event.type != "DELETED" and self._active_at < self._late_until
        return "LISTED" if late else event.type

    def _listed(self, items: "Objects", received_at: datetime) -> Iterable[ObservedVersion]:
        """Return the news in a list: unknown versions, and the end of objects that no longer exist."""
        present = {item["metadata"]["uid"] for item in items}
        gone = {uid: self._known.pop(uid) for uid in list(self._known) if uid not in present}
        news = [
            ObservedVersion("VANISHED", {"metadata": _metadata(uid, last)}, received_at) for uid, last in gone.items()
        ]
        return news + [
            ObservedVersion("LISTED", item, received_at) for item in items if self._remember(item["metadata"])
        ]

    def _is_new(self, event: WatchEvent) -> bool:
        """Process an event; False for bookmarks and known versions."""
        metadata = event.object.get("metadata") or {}
        self.resource_version = metadata.get("resourceVersion") or self.resource_version
        if event.type == "BOOKMARK":
            return False
        if event.type == "DELETED":
            return self._known.pop(metadata["uid"], None) is not None
        return self._remember(metadata)

    def _remember(self, metadata: dict[str, Any]) -> bool:
        last = last_version_of(metadata)
        if self._known.get(metadata["uid"]) == last:
            return False
        self._known[metadata["uid"]] = last
        return True


def last_version_of(metadata: Mapping[str, Any]) -> LastVersion:
    """Return the part of an object's metadata that is remembered."""
    return metadata["resourceVersion"], metadata["name"], metadata.get("namespace")


def _metadata(uid: str, last: LastVersion) -> dict[str, Any]:
    version, name, namespace = last
    placed = {"namespace": namespace} if namespace is not None else {}
    return {"name": name, **placed, "uid": uid, "resourceVersion": version}


def _now() -> float:
    """Return the loop's monotonic time; virtual seconds if the loop runs in virtual time."""
    return asyncio.get_running_loop().time()


class _Pauses:
    """Pauses between watches: none after a watch that lasted, an increasing one after a watch that ended at once."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._began = 0.0

    def begin(self) -> None:
        self._began = _now()

    async def sleep(self) -> None:
        if _now() - self._began > 1.0:
            self._next_s = 0.0
        await asyncio.sleep(self._next_s * random.uniform(0.7, 1.3))
        self._next_s = min(MAX_PAUSE_S, max(0.1, self._next_s * 2))
