"""Records one RayService's deployment from a cluster, and returns when and how it ended.

The recorder decides what belongs to a trial and keeps watching it (`kubernetes.follow`, `recording/`); `core.readiness`
decides whether the deployment is ready or failed. One coroutine per trial, many in one triggerer. Only Serve's REST
interface is polled, and no copy of an object is kept.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core import trace
from airflow_llm_provisioning.core.budget import POLL_S, Meter
from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.instants import format_instant, parse_instant
from airflow_llm_provisioning.core.progress import LiveProgress, Snapshot
from airflow_llm_provisioning.core.ready_instant import Instant
from airflow_llm_provisioning.core.trace import Line, end_line, mark_line
from airflow_llm_provisioning.exceptions import ForbiddenError, ProvisioningError
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.kubernetes.errors import NotFoundError
from airflow_llm_provisioning.gateways.kubernetes.follow import Listener, ObservedVersion, follow
from airflow_llm_provisioning.gateways.recording.completion_probe import CompletionProbe
from airflow_llm_provisioning.gateways.recording.evidence import EVIDENCE_S, collect_evidence
from airflow_llm_provisioning.gateways.recording.lines import Lines, Sink
from airflow_llm_provisioning.gateways.recording.previous_recording import PreviousRecording
from airflow_llm_provisioning.gateways.recording.progress import Progress
from airflow_llm_provisioning.gateways.recording.ray_api import poll_serve
from airflow_llm_provisioning.gateways.recording.scope import EVENTS, Scope

log = logging.getLogger(__name__)

# Without these resources there is nothing to wait for. A missing other resource is marked in the trace.
ESSENTIAL: Final = frozenset({"rayservices", "endpointslices"})
# Events of nodes and node claims, which have no namespace, are stored in this namespace.
CLUSTER_EVENTS_NAMESPACE: Final = "default"
# Kubelets and controllers send their events in the background, so late events are awaited for this long after the end.
LATE_CLUSTER_S: Final = 2.0
TICK_S: Final = 1.0
# At the limit: how long the last look may take, and the first answers of an endpoint that was ready before it.
LAST_LOOK_S: Final = 30.0
ANSWER_CLUSTER_S: Final = 120.0
ANSWER_REAL_S: Final = 10.0
# What was read last is judged within moments.
SETTLED_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a recording. `reason`: one sentence, None for `ready`.

    `endpoint`, `completion`: when the endpoint was ready and the first valid completion was there, with bounds (cluster
    time): as they were received, or, if nothing watched at that moment, as the stamps of the cluster bound them.
    """

    outcome: trace.Outcome
    reason: str | None = None
    endpoint: Instant | None = None
    completion: Instant | None = None

    @property
    def endpoint_ready_at(self) -> datetime | None:
        """When the endpoint was ready, at the latest."""
        return self.endpoint.latest_at if self.endpoint else None

    @property
    def first_completion_at(self) -> datetime | None:
        """When the first valid completion was there, at the latest."""
        return self.completion.latest_at if self.completion else None


async def record(
    cluster: Cluster,
    subject: Mapping[str, str],
    *,
    sink: Sink,
    deadline_at: datetime,
    completion: Mapping[str, Any] | None,
    header: Line,
    generation: int | None = None,
    graces: Mapping[str, float | None] | None = None,
    since: datetime | None = None,
    owner: Mapping[str, str] | None = None,
    keeps_trace: bool = True,
    evidence_s: float = EVIDENCE_S,
    marks: Sequence[Line] = (),
    stored: Sequence[Line] = (),
    live: LiveProgress | None = None,
    on_told: Callable[[Snapshot], None] = lambda _: None,
    meter: Meter | None = None,
) -> Outcome:
    """Record until the endpoint is ready and has answered, the deployment has failed, or `deadline_at` (cluster time).

    `subject`: {namespace, name, uid}. `sink` is awaited with encoded trace lines every few seconds and at the end;
    lines that it refuses are passed again. `completion`: {path, body, expect_model}, or None if a ready endpoint is
    enough. `generation`: the applied one, and `since`: when it was submitted; an endpoint of an older one is not ready.
    `graces`: seconds by kind of blocker after which the wait ends early (`core.blockers.GRACE_S`). `header`: the
    trace's first line; `marks`: the next lines, about earlier steps (`apply_started`, ...).

    `meter`: of the trial's budget, which ends the wait when it is used up; None: no budget.
    `owner`: the label by which the RayService belongs to the caller (`core.ownership.ExpectedOwner`).
    `keeps_trace`: whether `sink` stores the lines; if not, nothing is collected after a ready end. `evidence_s`: real
    seconds for reading Ray's state and the logs after the end, while GPU nodes run on (`recording.evidence`). `live`:
    makes the log's lines while it waits; None: from `since` or now on. `on_told` is called whenever a line is logged.

    The cluster decides before the clock does: at the limit it is read once more, and an endpoint that was ready before
    by the cluster's stamps is ready, also if the recording begins after the limit.

    After a cancellation the recorded lines are stored and no END line is written. After a kill nothing is stored. With
    the `stored` lines of the same subject's trace the recording continues: it watches from the stored versions, stores
    none twice, and writes a mark about the resumption. For a trace that has ended, its outcome is returned. Raises
    ForbiddenError if RayServices or EndpointSlices may not be watched, and the errors of `sink` at the end.
    """
    previous = PreviousRecording(stored, subject["uid"])
    if previous.ended is not None:
        return _ended(previous)
    lines = Lines(sink, [header, *(() if previous.lines else marks)], previous.lines)
    live = live or LiveProgress(since or cluster.clock())
    progress = Progress(subject["namespace"], subject["name"], subject["uid"], generation, graces, since, owner, live)
    recording = _Recording(cluster, subject, lines, completion, previous, progress, (keeps_trace, evidence_s))
    recording.on_told = on_told
    recording.meter = meter
    try:
        outcome = await recording.run(deadline_at)
        recording.tell()
        recording.lines.add(end_line(cluster.clock(), outcome.outcome, outcome.reason))
    finally:
        # A cancelled recording still has lines that exist nowhere else.
        await asyncio.shield(recording.lines.final_flush())
    return outcome


def _ended(previous: PreviousRecording) -> Outcome:
    """Return the outcome of a recording whose process was killed after it had stored the END line."""
    end = previous.ended or {}
    return Outcome(
        end["outcome"],
        end.get("reason"),
        previous.instant("endpoint_ready_seen", "earliest_at"),
        previous.instant("first_completion", "possible_since"),
    )


class _Recording:
    def __init__(
        self,
        cluster: Cluster,
        subject: Mapping[str, str],
        lines: Lines,
        completion: Mapping[str, Any] | None,
        previous: PreviousRecording,
        progress: Progress,
        evidence: tuple[bool, float],
    ) -> None:
        self.lines = lines
        self._previous = previous
        self._cluster = cluster
        self._subject = subject
        self._completion = completion
        self._scope = Scope(subject)
        self._progress = progress
        self._keeps_trace, self._evidence_s = evidence
        self._began_at = cluster.clock()
        self._news = asyncio.Event()
        self.meter: Meter | None = None
        self._probe: CompletionProbe | None = None
        self.on_told: Callable[[Snapshot], None] = lambda _: None

    def tell(self) -> None:
        """Log the lines about the deployment that are due."""
        lines = self._progress.news()
        for line in lines:
            log.info("%s", line)
        if lines and self._progress.live is not None:
            self.on_told(self._progress.live.snapshot(self._cluster.clock()))

    async def run(self, deadline_at: datetime) -> Outcome:
        """Watch, decide, probe the completion, collect."""
        self._restore_state()
        if not await self._begin():
            if self._progress.ready and (self._completion is None or self._previous.marked_at("first_completion")):
                completed = self._previous.instant("first_completion", "possible_since")
                return Outcome("ready", None, self._progress.ready, completed)
            return Outcome("failed", f"{self._title} does not exist (any more): it was deleted or replaced.")
        async with _in_background(self._watchers()) as watching:
            outcome = await self._ending(watching, deadline_at)
            if outcome.completion is not None and self._probe is not None and self._keeps_trace:
                # After the end: it is no part of the time that is measured.
                await self._probe.measure_speed(self._add_mark)
            await self._close(ready=outcome.outcome == "ready")
        if outcome.outcome != "ready" and outcome.reason:
            # The logs of the engine are read last, and often only they hold the cause.
            outcome = replace(outcome, reason=self._progress.with_cause(outcome.reason))
        return outcome

    def _restore_state(self) -> None:
        """Restore the state of the previous recording: the owned objects and the progress of the deployment."""
        for item in self._previous.lines:
            received_at = parse_instant(item["received_at"])
            if received_at is None or item["resource"] == "trace":
                continue
            if item.get("type") in ("LISTED", "ADDED", "MODIFIED", "DELETED"):
                self._scope.add_owned(item["resource"], item["object"])
            self._progress.take(item, received_at)
            if self.meter is not None:
                self.meter.feed(item)
        if self._previous.lines:
            last = self._previous.lines[-1]["received_at"]
            self.lines.add(mark_line(self._cluster.clock(), "recording_resumed", last_received_at=last))
            if last_at := parse_instant(last):
                self._progress.absent_since(last_at)
            if self._progress.live is not None:
                self._progress.live.resumed()

    async def _begin(self) -> bool:
        """Read the RayService first: its uid and its age decide what belongs to it."""
        found = await self._cluster.get("rayservices", self._subject["name"], self._subject["namespace"])
        if found is None or dig(found, "metadata", "uid") != self._subject["uid"]:
            return False
        self._take("rayservices", ObservedVersion("LISTED", found, self._cluster.clock()))
        return True

    async def _ending(self, watching: "asyncio.Task[Any]", deadline_at: datetime) -> Outcome:
        """Return the outcome: by readiness, by a valid completion or by time; raise an error that ended the watches."""
        probe = self._probe = self._completion_probe()
        deciding = asyncio.create_task(self._decide(probe, deadline_at))
        metering = asyncio.create_task(self._used_up())
        try:
            left_s = self._cluster.real_seconds((deadline_at - self._cluster.clock()).total_seconds())
            done = await _first({deciding, watching, metering}, left_s)
            if not done:
                await self._look()
                done = await _first({deciding, watching}, self._answer_s(probe))
            if deciding in done:
                return deciding.result()
            if metering in done:
                return Outcome("over_budget", metering.result(), self._progress.ready)
            if watching in done:
                watching.result()
        finally:
            for task in (deciding, metering):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        return Outcome("timed_out", self._unfinished(probe), self._progress.ready)

    async def _used_up(self) -> str:
        """Return why the trial's budget is used up, as soon as it is; never without a budget."""
        while self.meter is None or (told := self.meter.over(self._cluster.clock())) is None:
            await self._cluster.sleep(POLL_S)
        return told

    async def _look(self) -> None:
        """Read once what decides, because the limit has passed: a watch may be late, interrupted or just begun."""
        namespace = self._subject["namespace"]
        lists = (("rayclusters", None), ("services", None), ("pods", "ray.io/cluster"), ("endpointslices", None))
        try:
            async with asyncio.timeout(LAST_LOOK_S):
                await self._begin()
                for resource, labels in lists:
                    found, _ = await self._cluster.list(resource, namespace, labels)
                    for item in found:
                        self._take(resource, ObservedVersion("LISTED", item, self._cluster.clock()))
        except (ProvisioningError, TimeoutError) as error:
            why = str(error) or f"no answer within {LAST_LOOK_S:.0f} s"
            self.lines.add(mark_line(self._cluster.clock(), "not_collected", what="the last look", why=why))

    def _answer_s(self, probe: CompletionProbe | None) -> float:
        """Return how long an endpoint that was ready in time may still take for its first answers: none was asked for
        before the limit, because the recording began late.
        """
        if self._progress.ready is None or probe is None or probe.answers:
            return SETTLED_S
        return max(ANSWER_REAL_S, self._cluster.real_seconds(ANSWER_CLUSTER_S))

    def _completion_probe(self) -> CompletionProbe | None:
        if self._completion is None:
            return None
        return CompletionProbe(self._cluster, self._subject["namespace"], self._scope, self._completion)

    async def _decide(self, probe: CompletionProbe | None, deadline_at: datetime) -> Outcome:
        await self._until(lambda: self._progress.ready is not None or self._progress.failure is not None)
        ready = self._progress.ready
        if ready is None:
            return Outcome("failed", self._progress.failure)
        if self._previous.marked_at("endpoint_ready_seen") is None:
            bounds = {"latest_at": format_instant(ready.latest_at)}
            bounds |= {"earliest_at": format_instant(ready.earliest_at)} if ready.earliest_at else {}
            self.lines.add(mark_line(self._cluster.clock(), "endpoint_ready_seen", **bounds))
        if ready.was_after(deadline_at):
            late_s = (ready.latest_at - deadline_at).total_seconds()
            return Outcome(
                "timed_out", f"{self._title} had a ready endpoint {late_s:.0f} s after the time limit.", ready
            )
        if probe is None:
            return Outcome("ready", None, ready)
        first = asyncio.create_task(probe.first_valid(self._add_mark, self._possible_since(ready)))
        failed = asyncio.create_task(self._until(lambda: self._progress.failure is not None))
        try:
            await asyncio.wait({first, failed}, return_when=asyncio.FIRST_COMPLETED)
            if first.done():
                return Outcome("ready", None, ready, first.result())
            return Outcome("failed", self._progress.failure, ready)
        finally:
            first.cancel()
            failed.cancel()

    def _possible_since(self, ready: Instant) -> datetime | None:
        """Return since when the model may have answered without being asked, None if it is asked at once."""
        seen_now = ready.watched and ready.latest_at >= self._began_at
        began_before = ready.earliest_at is not None and ready.earliest_at >= self._began_at
        if seen_now or (began_before and not self._previous.lines):
            return None
        asked_before = self._previous.lines if self._previous.marked_at("endpoint_ready_seen") else ()
        absent_at = parse_instant(asked_before[-1]["received_at"]) if asked_before else None
        known = [at for at in (ready.earliest_at, absent_at) if at is not None]
        return max(known, default=None)

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Return when the condition holds. It is checked after every line and every second, because failures need a
        grace period.
        """
        while not holds():
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._news.wait()
            self._progress.tick(self._cluster.clock())
            self.tell()

    def _unfinished(self, probe: CompletionProbe | None) -> str:
        if self._progress.ready_at is None or probe is None:
            return f"{self._title} had no ready endpoint at the time limit; it was {self._progress.status}"
        return (
            f"{self._title} had a ready endpoint at {format_instant(self._progress.ready_at)} and no valid completion "
            f"until the time limit; the last answer was: {probe.flaw}."
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
        known, listener = self._previous.known(resource, namespace), Listener(self._gap, self._back)
        try:
            async for seen in follow(
                self._cluster, resource, namespace, labels, fields, known=known, listener=listener
            ):
                self._take(resource, seen)
                del seen
        except (ForbiddenError, NotFoundError) as error:
            if resource in ESSENTIAL:
                raise
            log.warning("The trace will not contain %s: %s", resource, error)
            self.lines.add(mark_line(self._cluster.clock(), "not_recorded", what=resource, why=str(error)))

    def _take(self, resource: str, seen: ObservedVersion) -> None:
        if seen.type == "VANISHED":
            self._vanished(resource, seen)
            return
        if resource in EVENTS and seen.type == "DELETED":
            return  # an expired event is no information
        for admitted, version in self._scope.admit(resource, seen):
            kept = self.lines.add_seen(admitted, version)
            if kept is not None:
                self._progress.take(kept, version.received_at)
                if self.meter is not None:
                    self.meter.feed(kept)
            # Only what is the trial's own: a shared watch brings the objects of every other deployment too.
            self._news.set()

    def _vanished(self, resource: str, seen: ObservedVersion) -> None:
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

    def _add_mark(self, item: Line) -> None:
        if self._progress.live is not None:
            self._progress.live.take(self.lines.add(item), parse_instant(item["received_at"]) or self._cluster.clock())

    def _add_explanation(self, item: Line) -> None:
        self._progress.note(self.lines.add(item))

    def _gap(self, resource: str, why: str) -> None:
        self.lines.add(mark_line(self._cluster.clock(), "watch_interrupted", resource=resource, why=why[:300]))

    def _back(self, resource: str, silent_s: float) -> None:
        self.lines.add(
            mark_line(self._cluster.clock(), "watch_resumed", resource=resource, silent_s=round(silent_s, 3))
        )

    async def _close(self, *, ready: bool) -> None:
        """Collect what only the running deployment can provide. Without a trace it only explains a failure."""
        if not self._keeps_trace and ready:
            return
        late_s = LATE_CLUSTER_S if self._keeps_trace else 0.0
        await asyncio.gather(
            collect_evidence(
                self._cluster, self._subject, self._scope, self._add_explanation, limit_s=self._evidence_s
            ),
            self._cluster.sleep(late_s),
        )

    @property
    def _title(self) -> str:
        return f"RayService {self._subject['namespace']}/{self._subject['name']}"


async def _first(tasks: "set[asyncio.Task[Any]]", timeout_s: float) -> "set[asyncio.Task[Any]]":
    """Return the tasks that are done when the first one is, or after a time; none after that time."""
    return (await asyncio.wait(tasks, timeout=max(0.0, timeout_s), return_when=asyncio.FIRST_COMPLETED))[0]


@asynccontextmanager
async def _in_background(work: list[Coroutine[Any, Any, None]]) -> AsyncIterator["asyncio.Task[Any]"]:
    """Run coroutines in the background; the yielded task ends only when one of them failed or all have ended."""
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
