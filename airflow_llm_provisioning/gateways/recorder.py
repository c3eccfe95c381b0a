"""Records one RayService's deployment from a cluster, and says when it ended and how.

The recorder only knows what concerns a trial and how to keep seeing it (`kubernetes.follow`, `recording/`); whether
what it sees is ready, failed or neither is judged by `core.readiness`. One coroutine a trial, many in one triggerer: no
polling but of Serve's REST interface, no copy of any object kept.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core import trace
from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.instants import format_instant, parse_instant
from airflow_llm_provisioning.core.trace import Line, end_line, mark_line
from airflow_llm_provisioning.exceptions import ForbiddenError, ProvisioningError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.errors import NotFoundError
from airflow_llm_provisioning.gateways.kubernetes.follow import Listener, Seen, follow
from airflow_llm_provisioning.gateways.recording.answering import Asking
from airflow_llm_provisioning.gateways.recording.lines import Lines, Sink
from airflow_llm_provisioning.gateways.recording.pod_logs import collect_pod_logs
from airflow_llm_provisioning.gateways.recording.progress import Progress
from airflow_llm_provisioning.gateways.recording.ray_api import collect, poll_serve
from airflow_llm_provisioning.gateways.recording.resuming import Earlier
from airflow_llm_provisioning.gateways.recording.scope import EVENTS, Scope

log = logging.getLogger(__name__)

# Without these there is nothing to wait for; the others are missed with a mark in the trace.
ESSENTIAL: Final = frozenset({"rayservices", "endpointslices"})
# Events of nodes and node claims, which have no namespace, are kept in this one.
CLUSTER_EVENTS_NAMESPACE: Final = "default"
CLOSING_S: Final = 90.0
# Kubelets and controllers send their events in the background: so long after the end, late ones are still waited for.
LATE_CLUSTER_S: Final = 2.0
TICK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a recording ended. `reason`: one sentence, None for `ready`.

    `endpoint_ready_at`, `first_completion_at`: when it reached us (cluster time), upper bounds of the true instants.
    """

    outcome: trace.Outcome
    reason: str | None = None
    endpoint_ready_at: datetime | None = None
    first_completion_at: datetime | None = None


async def record(
    cluster: Cluster,
    subject: Mapping[str, str],
    *,
    sink: Sink,
    deadline_at: datetime,
    completion: Mapping[str, Any] | None,
    header: Line,
    marks: Sequence[Line] = (),
    stored: Sequence[Line] = (),
) -> Outcome:
    """Record until the endpoint is ready and has answered, the deployment has failed, or `deadline_at` (cluster time).

    `subject`: {namespace, name, uid}. `sink` is awaited with encoded trace lines every few seconds and at the end;
    lines it refuses are handed over again. `completion`: {path, body, expect_model} or None where a ready endpoint is
    enough. `header`: the trace's first line; `marks`: what was done before (`apply_started`, ...), the next ones.

    Cancelled, it hands over what it has and writes no END. Killed, it hands over nothing. A recording that is given
    what is `stored` of the same subject's trace goes on from there: it watches from the versions in it, stores none
    twice, and says in a mark when it began again; of a trace that has ended it returns how. Raises ForbiddenError where
    RayServices or EndpointSlices may not be watched, and what `sink` raises at the very end.
    """
    earlier = Earlier(stored, subject["uid"])
    if earlier.ended is not None:
        return _ended(earlier)
    lines = Lines(sink, [header, *(() if earlier.lines else marks)], earlier.lines)
    recording = _Recording(cluster, subject, lines, completion, earlier)
    try:
        outcome = await recording.run(deadline_at)
        recording.lines.add(end_line(cluster.clock(), outcome.outcome, outcome.reason))
    finally:
        # A cancelled recording still owns lines that nobody can get again.
        await asyncio.shield(recording.lines.hand_over())
    return outcome


def _ended(earlier: Earlier) -> Outcome:
    """Return how a recording ended that was killed before it could tell anybody but the store."""
    end = earlier.ended or {}
    return Outcome(
        end["outcome"],
        end.get("reason"),
        earlier.marked_at("endpoint_ready_seen"),
        earlier.marked_at("first_completion"),
    )


class _Recording:
    def __init__(
        self,
        cluster: Cluster,
        subject: Mapping[str, str],
        lines: Lines,
        completion: Mapping[str, Any] | None,
        earlier: Earlier,
    ) -> None:
        self.lines = lines
        self._earlier = earlier
        self._cluster = cluster
        self._subject = subject
        self._completion = completion
        self._scope = Scope(subject)
        self._progress = Progress(subject["namespace"], subject["name"], subject["uid"])
        self._news = asyncio.Event()

    async def run(self, deadline_at: datetime) -> Outcome:
        """Watch, judge, ask, collect."""
        self._go_on()
        if not await self._begin():
            return Outcome("failed", f"{self._title} does not exist (any more): somebody deleted or replaced it.")
        async with _together(self._watchers()) as watching:
            left_s = self._cluster.real_seconds((deadline_at - self._cluster.clock()).total_seconds())
            outcome = await self._ending(watching, left_s)
            await asyncio.gather(self._close(), self._cluster.sleep(LATE_CLUSTER_S))
        return outcome

    def _go_on(self) -> None:
        """Stand where the earlier recording stood: what is ours, how far the deployment was."""
        for item in self._earlier.lines:
            received_at = parse_instant(item["received_at"])
            if received_at is None or item["resource"] == "trace":
                continue
            if item.get("type") in ("LISTED", "ADDED", "MODIFIED", "DELETED"):
                self._scope.own(item["resource"], item["object"])
            self._progress.take(item, received_at)
        if self._earlier.lines:
            last = self._earlier.lines[-1]["received_at"]
            self.lines.add(mark_line(self._cluster.clock(), "recording_resumed", last_received_at=last))

    async def _begin(self) -> bool:
        """Take the RayService itself first: what belongs to it is told by its uid and its age."""
        found = await self._cluster.get("rayservices", self._subject["name"], self._subject["namespace"])
        if found is None or dig(found, "metadata", "uid") != self._subject["uid"]:
            return False
        self._take("rayservices", Seen("LISTED", found, self._cluster.clock()))
        return True

    async def _ending(self, watching: "asyncio.Task[Any]", left_s: float) -> Outcome:
        """Return how it ended: by the judge, by a valid answer, by time, or raise what ended the watching."""
        asking = self._asking()
        deciding = asyncio.create_task(self._decide(asking))
        try:
            done, _ = await asyncio.wait({deciding, watching}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if deciding in done:
                return deciding.result()
            if watching in done:
                watching.result()
        finally:
            deciding.cancel()
            with suppress(asyncio.CancelledError):
                await deciding
        return Outcome("timed_out", self._unfinished(asking), self._progress.ready_at)

    def _asking(self) -> Asking | None:
        if self._completion is None:
            return None
        return Asking(self._cluster, self._subject["namespace"], self._scope, self._completion)

    async def _decide(self, asking: Asking | None) -> Outcome:
        await self._until(lambda: self._progress.ready_at is not None or self._progress.failure is not None)
        ready_at = self._progress.ready_at
        if ready_at is None:
            return Outcome("failed", self._progress.failure)
        if self._earlier.marked_at("endpoint_ready_seen") is None:
            self.lines.add(mark_line(self._cluster.clock(), "endpoint_ready_seen"))
        if asking is None:
            return Outcome("ready", None, ready_at)
        first = asyncio.create_task(asking.first_valid(self.lines.add))
        failed = asyncio.create_task(self._until(lambda: self._progress.failure is not None))
        try:
            await asyncio.wait({first, failed}, return_when=asyncio.FIRST_COMPLETED)
            if first.done():
                return Outcome("ready", None, ready_at, first.result())
            return Outcome("failed", self._progress.failure, ready_at)
        finally:
            first.cancel()
            failed.cancel()

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Return once it holds; looked at after every line and once in a while, because failures ripen."""
        while not holds():
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._news.wait()
            self._progress.tick(self._cluster.clock())

    def _unfinished(self, asking: Asking | None) -> str:
        if self._progress.ready_at is None or asking is None:
            return f"{self._title} had no ready endpoint when the time was over; it was {self._progress.standing}."
        return (
            f"{self._title} had a ready endpoint at {format_instant(self._progress.ready_at)} and no valid completion "
            f"until the time was over; the last answer had this flaw: {asking.flaw}."
        )

    def _watchers(self) -> list[Coroutine[Any, Any, None]]:
        namespace, name = self._subject["namespace"], self._subject["name"]
        watchers = [
            self._watch("rayservices", namespace, fields=f"metadata.name={name}"),
            self._watch("endpointslices", namespace),
            self._watch("rayclusters", namespace),
            self._watch("pods", namespace, labels="ray.io/cluster"),
            self._watch("services", namespace),
            self._watch("nodes"),
            self._watch("nodeclaims"),
            *(self._watch(events, namespace) for events in sorted(EVENTS)),
            poll_serve(self._cluster, namespace, self._scope, self._add_answer),
            self.lines.keep_flushing(log.warning),
        ]
        if namespace != CLUSTER_EVENTS_NAMESPACE:
            watchers += [self._watch(events, CLUSTER_EVENTS_NAMESPACE) for events in sorted(EVENTS)]
        return watchers

    async def _watch(
        self, resource: str, namespace: str | None = None, *, labels: str | None = None, fields: str | None = None
    ) -> None:
        known, listener = self._earlier.known(resource, namespace), Listener(self._gap, self._back)
        try:
            async for seen in follow(
                self._cluster, resource, namespace, labels, fields, known=known, listener=listener
            ):
                self._take(resource, seen)
                del seen
        except (ForbiddenError, NotFoundError) as error:
            if resource in ESSENTIAL:
                raise
            log.warning("The trace will lack %s: %s", resource, error)
            self.lines.add(mark_line(self._cluster.clock(), "not_recorded", what=resource, why=str(error)))

    def _take(self, resource: str, seen: Seen) -> None:
        if seen.type == "VANISHED":
            self._vanished(resource, seen)
            return
        if resource in EVENTS and seen.type == "DELETED":
            return  # an event that expires says nothing
        for admitted, ours in self._scope.admit(resource, seen):
            kept = self.lines.add_seen(admitted, ours)
            if kept is not None:
                self._progress.take(kept, ours.received_at)
        self._news.set()

    def _vanished(self, resource: str, seen: Seen) -> None:
        if resource in EVENTS:
            return
        metadata = seen.object["metadata"]
        self.lines.add(mark_line(seen.received_at, "vanished", resource=resource, **metadata))
        if metadata["uid"] == self._subject["uid"]:
            self._progress.take(trace.line(seen.received_at, "DELETED", resource, seen.object), seen.received_at)
            self._news.set()

    def _add_answer(self, item: Line) -> None:
        self._progress.take(self.lines.add(item), self._cluster.clock())
        self._news.set()

    def _gap(self, resource: str, why: str) -> None:
        self.lines.add(mark_line(self._cluster.clock(), "watch_interrupted", resource=resource, why=why[:300]))

    def _back(self, resource: str, silent_s: float) -> None:
        self.lines.add(
            mark_line(self._cluster.clock(), "watch_resumed", resource=resource, silent_s=round(silent_s, 3))
        )

    async def _close(self) -> None:
        """Read what only the living deployment can tell; what takes too long is missing, and said so."""
        namespace, name = self._subject["namespace"], self._subject["name"]
        try:
            async with asyncio.timeout(CLOSING_S):
                await collect(self._cluster, namespace, self._scope, self.lines.add)
                await collect_pod_logs(self._cluster, namespace, name, self.lines.add)
        except TimeoutError:
            why = f"the closing collection took longer than {CLOSING_S:.0f} s"
            self.lines.add(mark_line(self._cluster.clock(), "not_collected", what="the rest", why=why))
        except ProvisioningError as error:
            self.lines.add(mark_line(self._cluster.clock(), "not_collected", what="the rest", why=str(error)))

    @property
    def _title(self) -> str:
        return f"RayService {self._subject['namespace']}/{self._subject['name']}"


@asynccontextmanager
async def _together(work: list[Coroutine[Any, Any, None]]) -> AsyncIterator["asyncio.Task[Any]"]:
    """Run coroutines in the background; the task yielded ends only when one of them failed or all have ended."""
    tasks = [asyncio.create_task(one) for one in work]
    both = asyncio.ensure_future(_gathered(tasks))
    try:
        yield both
    finally:
        both.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(both, *tasks, return_exceptions=True)


async def _gathered(tasks: list["asyncio.Task[None]"]) -> None:
    await asyncio.gather(*tasks)
