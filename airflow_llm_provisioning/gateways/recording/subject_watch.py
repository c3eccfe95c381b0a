"""Watches everything that belongs to one RayService, and hands each news to the lines, the progress and the budget.

The other half, `gateways.recorder`, decides what the news mean for the wait.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any, Final

from airflow_llm_provisioning.core import trace
from airflow_llm_provisioning.core.budget import Meter
from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.trace import Line, mark_line
from airflow_llm_provisioning.exceptions import ForbiddenError, ProvisioningError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.errors import NotFoundError
from airflow_llm_provisioning.gateways.kubernetes.follow import Listener, ObservedVersion, follow
from airflow_llm_provisioning.gateways.recording.evidence import EVIDENCE_S
from airflow_llm_provisioning.gateways.recording.lines import Lines
from airflow_llm_provisioning.gateways.recording.previous_recording import PreviousRecording
from airflow_llm_provisioning.gateways.recording.progress import Progress
from airflow_llm_provisioning.gateways.recording.scope import EVENTS, Scope
from airflow_llm_provisioning.gateways.recording.serve_poll import poll_serve
from airflow_llm_provisioning.gateways.recording.turns import turns

log = logging.getLogger(__name__)

# Without these resources there is nothing to wait for. A missing other resource is marked in the trace.
ESSENTIAL: Final = frozenset({"rayservices", "endpointslices"})
# Events of nodes and node claims, which have no namespace, are stored in this namespace.
CLUSTER_EVENTS_NAMESPACE: Final = "default"
# Two views of the same stored objects, of which each tells as much as the other (kubernetes, pkg/registry/core/rest:
# one storage for both groups). The second is watched only where the first may not be: a watch costs a connection.
EVENT_APIS: Final = ("events", "events.events.k8s.io")
# At the limit: how long the last look may take.
LAST_LOOK_S: Final = 30.0
# Real seconds for what the API server had sent before the end, beside the reading of evidence and no longer than that.
# Only a triggerer that is behind needs any.
CATCH_UP_S: Final = EVIDENCE_S
# So long nothing of the trial came, and nothing waits for its turn. A server whose buffers were full needs some
# milliseconds to go on.
QUIET_S: Final = 0.05
_LOOK_S: Final = 0.005


class SubjectWatch:
    """The watches of one recording. `subject`: {namespace, name, uid} of its RayService. `news` is set when
    something was taken that the wait has to look at now. `meter`: of the trial's budget, or None.
    """

    def __init__(
        self,
        cluster: Cluster,
        subject: Mapping[str, str],
        lines: Lines,
        previous: PreviousRecording,
        progress: Progress,
        meter: Meter | None = None,
    ) -> None:
        self.scope = Scope(subject)
        self.news = asyncio.Event()
        # Versions of the trial that were taken, and watches that wait for their turn.
        self._taken = self._waiting = 0
        self._cluster = cluster
        self._subject = subject
        self._lines = lines
        self._previous = previous
        self._progress = progress
        self.meter = meter

    def restore(self) -> None:
        """Restore the state of the previous recording: the owned objects and the progress of the deployment."""
        for item in self._previous.lines:
            received_at = parse_instant(item["received_at"])
            if received_at is None or item["resource"] == "trace":
                continue
            if item.get("type") in ("LISTED", "ADDED", "MODIFIED", "DELETED"):
                self.scope.add_owned(item["resource"], item["object"])
            self._progress.take(item, received_at)
            if self.meter is not None:
                self.meter.feed(item)
        if self._previous.lines:
            last = self._previous.lines[-1]["received_at"]
            self._lines.add(mark_line(self._cluster.clock(), "recording_resumed", last_received_at=last))
            if last_at := parse_instant(last):
                self._progress.absent_since(last_at)
            if self._progress.live is not None:
                self._progress.live.resumed()

    async def begin(self) -> bool:
        """Read the RayService first: its uid and its age decide what belongs to it."""
        found = await self._cluster.get("rayservices", self._subject["name"], self._subject["namespace"])
        if found is None or dig(found, "metadata", "uid") != self._subject["uid"]:
            return False
        self.take("rayservices", ObservedVersion("LISTED", found, self._cluster.clock()))
        return True

    async def look(self) -> None:
        """Read once what decides, because the limit has passed: a watch may be late, interrupted or just begun."""
        namespace = self._subject["namespace"]
        lists = (("rayclusters", None), ("services", None), ("pods", "ray.io/cluster"), ("endpointslices", None))
        try:
            async with asyncio.timeout(LAST_LOOK_S):
                await self.begin()
                for resource, labels in lists:
                    found, _ = await self._cluster.list(resource, namespace, labels)
                    for item in found:
                        self.take(resource, ObservedVersion("LISTED", item, self._cluster.clock()))
        except (ProvisioningError, TimeoutError) as error:
            why = str(error) or f"no answer within {LAST_LOOK_S:.0f} s"
            self._lines.add(mark_line(self._cluster.clock(), "not_collected", what="the last look", why=why))

    def watchers(self) -> list[Coroutine[Any, Any, None]]:
        """Return the endless work of a recording: each watch, the polls of Serve, the flushing of the lines."""
        namespace, name = self._subject["namespace"], self._subject["name"]
        watchers = [
            self._watch("rayservices", namespace, fields=f"metadata.name={name}"),
            self._watch("endpointslices", namespace),
            self._watch("rayclusters", namespace),
            self._watch("pods", namespace, labels="ray.io/cluster"),
            self._watch("services", namespace),
            self._watch("nodes"),
            self._watch("nodeclaims"),
            self._watch_events(namespace),
            poll_serve(self._cluster, namespace, self.scope, self._add_answer),
            self._lines.keep_flushing(log.warning),
        ]
        if namespace != CLUSTER_EVENTS_NAMESPACE:
            watchers.append(self._watch_events(CLUSTER_EVENTS_NAMESPACE))
        return watchers

    async def _watch(
        self, resource: str, namespace: str | None = None, *, labels: str | None = None, fields: str | None = None
    ) -> None:
        try:
            await self._follow(resource, namespace, labels, fields)
        except (ForbiddenError, NotFoundError) as error:
            if resource in ESSENTIAL:
                raise
            self._not_recorded(resource, error)

    async def _watch_events(self, namespace: str) -> None:
        refused = []
        for events in EVENT_APIS:
            try:
                await self._follow(events, namespace)
            except (ForbiddenError, NotFoundError) as error:
                refused.append((events, error))
            else:
                return
        for events, why in refused:
            self._not_recorded(events, why)

    async def _follow(
        self, resource: str, namespace: str | None, labels: str | None = None, fields: str | None = None
    ) -> None:
        known, listener = self._previous.known(resource, namespace), Listener(self._gap, self._back)
        turn = None if resource in ESSENTIAL else partial(self._turn, object())
        async for seen in follow(
            self._cluster, resource, namespace, labels, fields, known=known, listener=listener, turn=turn
        ):
            self.take(resource, seen)
            del seen

    async def _turn(self, watch: object) -> None:
        self._waiting += 1
        try:
            await turns().turn(watch)
        finally:
            self._waiting -= 1

    async def catch_up(self) -> None:
        """Return when the versions are taken that came before, at the latest after `CATCH_UP_S`, with a mark about it:
        an endpoint that is ready passes versions that wait for their turn, and they are part of the recording too.
        """
        now = asyncio.get_running_loop().time
        quiet_since, ends_at = now(), now() + CATCH_UP_S
        while now() - quiet_since < QUIET_S:
            before = self._taken
            await asyncio.sleep(_LOOK_S)
            if self._waiting or self._taken != before:
                quiet_since = now()
                if quiet_since > ends_at:
                    why = f"this process was behind the cluster by more than {CATCH_UP_S:g} s: give it fewer waits"
                    told = mark_line(self._cluster.clock(), "not_collected", what="versions before the end", why=why)
                    self._lines.add(told)
                    return

    def _not_recorded(self, resource: str, why: Exception) -> None:
        log.warning("The trace will not contain %s: %s", resource, why)
        self._lines.add(mark_line(self._cluster.clock(), "not_recorded", what=resource, why=str(why)))

    def take(self, resource: str, seen: ObservedVersion) -> None:
        """Take a version of an object: if it belongs to the trial, it is a line and news."""
        if seen.type == "VANISHED":
            self._vanished(resource, seen)
            return
        if resource in EVENTS and seen.type == "DELETED":
            return  # an expired event is no information
        for admitted, version in self.scope.admit(resource, seen):
            kept = self._lines.add_seen(admitted, version)
            if kept is not None:
                self._taken += 1
                self._progress.take(kept, version.received_at)
                if self.meter is not None:
                    self.meter.feed(kept)
                self._ring()

    def _vanished(self, resource: str, seen: ObservedVersion) -> None:
        if resource in EVENTS:
            return
        metadata = seen.object["metadata"]
        self._lines.add(mark_line(seen.received_at, "vanished", resource=resource, **metadata))
        if metadata["uid"] == self._subject["uid"]:
            self._progress.take(trace.line(seen.received_at, "DELETED", resource, seen.object), seen.received_at)
            self._ring()

    def _add_answer(self, item: Line) -> None:
        self._progress.take(self._lines.add(item), self._cluster.clock())
        self._ring()

    def _ring(self) -> None:
        """Wake the wait, unless what was taken changes nothing before the wait looks by itself."""
        if self._progress.needs_a_look(self._cluster.clock()):
            self.news.set()

    def add_mark(self, item: Line) -> None:
        """Add a mark about the endpoint's answers."""
        if self._progress.live is not None:
            self._progress.live.take(self._lines.add(item), parse_instant(item["received_at"]) or self._cluster.clock())

    def add_explanation(self, item: Line) -> None:
        """Add what was read after the end: it explains, and changes no outcome."""
        self._progress.note(self._lines.add(item))

    def _gap(self, resource: str, why: str) -> None:
        self._lines.add(mark_line(self._cluster.clock(), "watch_interrupted", resource=resource, why=why[:300]))

    def _back(self, resource: str, silent_s: float) -> None:
        self._lines.add(
            mark_line(self._cluster.clock(), "watch_resumed", resource=resource, silent_s=round(silent_s, 3))
        )
