"""Everything that happens to a resource, for ever: list, watch, watch again, list again after a 410.

Goes on through dropped connections, an API server that is away or restarts, and from where another process stood. It
must not know trials.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_llm_provisioning.exceptions import ClusterError, ClusterUnreachableError
from airflow_llm_provisioning.gateways.kubernetes.errors import ExpiredError
from airflow_llm_provisioning.gateways.kubernetes.watch import WatchEvent

if TYPE_CHECKING:
    from airflow_llm_provisioning.gateways.kubernetes.cluster import Cluster
    from airflow_llm_provisioning.gateways.kubernetes.objects import Objects

LONGEST_PAUSE_S: Final = 1.0
# An API server that starts refuses what it will allow in a moment (401, 403, 404): its authorizer and its CRDs load
# after it listens. So long a refusal of what went well before is no answer yet.
REFUSED_S: Final = 60.0
# Between two watches of a sound server lie milliseconds; after a longer silence what comes first may be old.
PROMPT_S: Final = 0.25
# How long after such a silence.
CATCH_UP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing `follow` saw, and when (cluster time, taken when it was read).

    `type`: ADDED, MODIFIED, DELETED as it happened. LISTED: it may have happened long before: it comes from a list, or
    from what a watch caught up with after an interruption. VANISHED: the deletion itself was missed, `object` is no
    more than the last metadata.
    """

    type: str
    object: dict[str, Any]
    received_at: datetime


# An object as it was last seen: version, name, namespace (None for what has none).
Last = tuple[str, str, str | None]


@dataclass(frozen=True, slots=True)
class Known:
    """Where somebody else stood with a resource: the newest version seen, and what was there, by uid."""

    resource_version: str
    objects: Mapping[str, Last] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listener:
    """Is told of interruptions. `gap(resource, why)`: one began after which something may have been missed or comes
    late; `back(resource, silent_s)`: it is over, after so many real seconds of silence.
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
    known: Known | None = None,
    listener: Listener = Listener(),
) -> AsyncIterator[Seen]:
    """Yield everything that happens to a resource, for ever: each version of each object once.

    Begins with a list, or where `known` stood; goes on through dropped watches, 410 (lists again; what vanished
    meanwhile comes as VANISHED with its metadata only) and an API server that is away. Ends at once where the resource
    is optional and not served. Raises what waiting cannot mend (ForbiddenError, ...): at once if it never went well,
    else after `REFUSED_S`.
    """
    following = _Following(cluster, resource, (namespace, labels, fields), listener, known)
    pauses = _Pauses()
    while not following.absent:
        pauses.begin()
        try:
            async for seen in following.until_interrupted():
                yield seen
                # Until the next one comes nothing here may hold the object: hundreds of waits hold thousands, and every
                # one that outlives a moment brings nearer a full garbage collection, in which they all stand still.
                del seen
        except ExpiredError as error:
            following.resource_version = None
            following.interrupted(error)
        except ClusterUnreachableError as error:
            following.interrupted(error)
        except ClusterError as error:
            if not following.bears_refusal():
                raise
            following.interrupted(error)
        await pauses.sleep()


class _Following:
    """Where one `follow` stands: the version to go on from, the last version seen of each object, since when silent."""

    def __init__(
        self,
        cluster: "Cluster",
        resource: str,
        selected: tuple[str | None, str | None, str | None],
        listener: Listener,
        known: Known | None,
    ) -> None:
        self.resource_version = known.resource_version if known else None
        self.absent = False
        self._cluster = cluster
        self._resource = resource
        self._selected = selected
        self._listener = listener
        self._known: dict[str, Last] = dict(known.objects) if known else {}
        # Whoever begins where another stood has heard nothing for longer than he can tell.
        self._behind = known is not None
        self._lived = False
        self._gap = False
        self._refused_since: float | None = None
        self._heard_at = _now()
        self._late_until = 0.0

    async def until_interrupted(self) -> AsyncIterator[Seen]:
        """List where there is no version to go on from, then watch until the server or the network ends it."""
        if self.resource_version is None:
            items, self.resource_version = await self._cluster.list(self._resource, *self._selected)
            if self.resource_version is None:
                self.absent = True
                return
            self._alive()
            for seen in self._listed(items, self._cluster.clock()):
                yield seen
        watching = self._cluster.watch(
            self._resource, *self._selected, resource_version=self.resource_version, on_open=self._alive
        )
        async for event in watching:
            seen_at = self._cluster.clock()
            self._heard_at = _now()
            if self._is_new(event):
                yield Seen(self._kind(event), event.object, seen_at)
            del event
        # Ended by the server: it was there until now, however little there was to tell.
        self._heard_at = _now()

    def interrupted(self, error: ClusterError) -> None:
        """Tell of an interruption, once until it is over."""
        if not self._gap:
            self._gap = True
            self._listener.gap(self._resource, str(error))

    def bears_refusal(self) -> bool:
        """Say whether to try again after a refusal: what went well before may do so again."""
        now = _now()
        self._refused_since = self._refused_since or now
        return self._lived and now - self._refused_since < REFUSED_S

    def _alive(self) -> None:
        now = _now()
        silent_s = now - self._heard_at
        if self._behind or silent_s > PROMPT_S:
            self._behind = False
            self._late_until = now + CATCH_UP_S
        if self._gap:
            self._gap = False
            self._listener.back(self._resource, silent_s)
        self._heard_at = now
        self._lived = True
        self._refused_since = None

    def _kind(self, event: WatchEvent) -> str:
        late = event.type != "DELETED" and self._heard_at < self._late_until
        return "LISTED" if late else event.type

    def _listed(self, items: "Objects", received_at: datetime) -> Iterable[Seen]:
        """Return what a list tells anew: versions not seen, and the end of objects that are no longer there."""
        present = {item["metadata"]["uid"] for item in items}
        gone = {uid: self._known.pop(uid) for uid in list(self._known) if uid not in present}
        news = [Seen("VANISHED", {"metadata": _metadata(uid, last)}, received_at) for uid, last in gone.items()]
        return news + [Seen("LISTED", item, received_at) for item in items if self._remember(item["metadata"])]

    def _is_new(self, event: WatchEvent) -> bool:
        """Take note of an event; False for bookmarks and for versions already seen."""
        metadata = event.object.get("metadata") or {}
        self.resource_version = metadata.get("resourceVersion") or self.resource_version
        if event.type == "BOOKMARK":
            return False
        if event.type == "DELETED":
            return self._known.pop(metadata["uid"], None) is not None
        return self._remember(metadata)

    def _remember(self, metadata: dict[str, Any]) -> bool:
        last = last_of(metadata)
        if self._known.get(metadata["uid"]) == last:
            return False
        self._known[metadata["uid"]] = last
        return True


def last_of(metadata: Mapping[str, Any]) -> Last:
    """Return what is remembered of an object."""
    return metadata["resourceVersion"], metadata["name"], metadata.get("namespace")


def _metadata(uid: str, last: Last) -> dict[str, Any]:
    version, name, namespace = last
    placed = {"namespace": namespace} if namespace is not None else {}
    return {"name": name, **placed, "uid": uid, "resourceVersion": version}


def _now() -> float:
    """Return the loop's time: seconds of nobody's clock, and the virtual ones where the loop runs in virtual time."""
    return asyncio.get_running_loop().time()


class _Pauses:
    """None after a watch that lived; after one that was cut at once a pause, longer each time."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._began = 0.0

    def begin(self) -> None:
        self._began = _now()

    async def sleep(self) -> None:
        if _now() - self._began > 1.0:
            self._next_s = 0.0
        await asyncio.sleep(self._next_s * random.uniform(0.7, 1.3))
        self._next_s = min(LONGEST_PAUSE_S, max(0.1, self._next_s * 2))
