"""Records one RayService's deployment from a cluster, and returns when and how it ended.

`recording.subject_watch` watches what belongs to the trial, `core.readiness` decides whether the deployment is ready or
failed, and this module how the wait ends. One coroutine per trial, many in one triggerer. Only Serve's REST interface
is polled, and no copy of an object is kept.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.budget import POLL_S, Meter
from airflow_llm_provisioning.core.instants import format_instant, parse_instant
from airflow_llm_provisioning.core.progress import LiveProgress, Snapshot
from airflow_llm_provisioning.core.ready_instant import Instant
from airflow_llm_provisioning.core.trace import Line, end_line, mark_line
from airflow_llm_provisioning.gateways.kubernetes import Cluster
from airflow_llm_provisioning.gateways.recording.background import first, in_background
from airflow_llm_provisioning.gateways.recording.completion_probe import CompletionProbe
from airflow_llm_provisioning.gateways.recording.evidence import EVIDENCE_S, collect_evidence
from airflow_llm_provisioning.gateways.recording.lines import Lines, Sink
from airflow_llm_provisioning.gateways.recording.outcome import Outcome, outcome_of
from airflow_llm_provisioning.gateways.recording.previous_recording import PreviousRecording
from airflow_llm_provisioning.gateways.recording.progress import Progress
from airflow_llm_provisioning.gateways.recording.subject_watch import SubjectWatch

__all__ = ["Outcome", "record"]

log = logging.getLogger(__name__)

# Kubelets and controllers send their events in the background, so late events are awaited for this long after the end.
LATE_CLUSTER_S: Final = 2.0
TICK_S: Final = 1.0
# At the limit: how long the first answers of an endpoint may take that was ready before it.
ANSWER_CLUSTER_S: Final = 120.0
ANSWER_REAL_S: Final = 10.0
# What was read last is judged within moments.
SETTLED_S: Final = 0.1


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
        return outcome_of(previous)
    lines = Lines(sink, [header, *(() if previous.lines else marks)], previous.lines)
    live = live or LiveProgress(since or cluster.clock())
    progress = Progress(subject["namespace"], subject["name"], subject["uid"], generation, graces, since, owner, live)
    watch = SubjectWatch(cluster, subject, lines, previous, progress, meter)
    recording = _Recording(cluster, subject, lines, completion, previous, progress, watch)
    recording.keeps_trace, recording.evidence_s = keeps_trace, evidence_s
    recording.on_told = on_told
    try:
        outcome = await recording.run(deadline_at)
        recording.tell()
        recording.lines.add(end_line(cluster.clock(), outcome.outcome, outcome.reason))
    finally:
        # A cancelled recording still has lines that exist nowhere else.
        await asyncio.shield(recording.lines.final_flush())
    return outcome


class _Recording:
    def __init__(
        self,
        cluster: Cluster,
        subject: Mapping[str, str],
        lines: Lines,
        completion: Mapping[str, Any] | None,
        previous: PreviousRecording,
        progress: Progress,
        watch: SubjectWatch,
    ) -> None:
        self.lines = lines
        self._previous = previous
        self._cluster = cluster
        self._subject = subject
        self._completion = completion
        self._progress = progress
        self._watch = watch
        self._began_at = cluster.clock()
        self.keeps_trace, self.evidence_s = True, EVIDENCE_S
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
        self._watch.restore()
        if not await self._watch.begin():
            if self._progress.ready and (self._completion is None or self._previous.marked_at("first_completion")):
                completed = self._previous.instant("first_completion", "possible_since")
                return Outcome("ready", None, self._progress.ready, completed)
            return Outcome("failed", f"{self._title} does not exist (any more): it was deleted or replaced.")
        async with in_background(self._watch.watchers()) as watching:
            outcome = await self._ending(watching, deadline_at)
            if outcome.completion is not None and self._probe is not None and self.keeps_trace:
                # After the end: it is no part of the time that is measured.
                await self._probe.measure_speed(self._watch.add_mark)
            await self._close(ready=outcome.outcome == "ready")
        if outcome.outcome != "ready" and outcome.reason:
            # The logs of the engine are read last, and often only they hold the cause.
            outcome = replace(outcome, reason=self._progress.with_cause(outcome.reason))
        return outcome

    async def _ending(self, watching: "asyncio.Task[Any]", deadline_at: datetime) -> Outcome:
        """Return the outcome: by readiness, by a valid completion or by time; raise an error that ended the watches."""
        probe = self._probe = self._completion_probe()
        deciding = asyncio.create_task(self._decide(probe, deadline_at))
        metering = asyncio.create_task(self._used_up())
        try:
            left_s = self._cluster.real_seconds((deadline_at - self._cluster.clock()).total_seconds())
            done = await first({deciding, watching, metering}, left_s)
            if not done:
                await self._watch.look()
                done = await first({deciding, watching}, self._answer_s(probe))
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
        self._progress.tick(self._cluster.clock())
        return Outcome("timed_out", self._unfinished(probe), self._progress.ready)

    async def _used_up(self) -> str:
        """Return why the trial's budget is used up, as soon as it is; never without a budget."""
        meter = self._watch.meter
        while meter is None or (told := meter.over(self._cluster.clock())) is None:
            await self._cluster.sleep(POLL_S)
        return told

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
        return CompletionProbe(self._cluster, self._subject["namespace"], self._watch.scope, self._completion)

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
        answer = asyncio.create_task(probe.first_valid(self._watch.add_mark, self._possible_since(ready)))
        failed = asyncio.create_task(self._until(lambda: self._progress.failure is not None))
        try:
            await asyncio.wait({answer, failed}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return Outcome("ready", None, ready, answer.result())
            return Outcome("failed", self._progress.failure, ready)
        finally:
            answer.cancel()
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
        """Return when the condition holds. It is checked after every line that can change it, and when time alone can:
        at the end of a grace period, and when a line about the deployment is due.
        """
        while not holds():
            self._watch.news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._watch.news.wait()
            self._progress.tick(self._cluster.clock())
            self.tell()

    def _pause_s(self) -> float | None:
        """Return how many real seconds may pass until the next look, however fast a simulated clock is; None: any."""
        now = self._cluster.clock()
        look_at = self._progress.next_look_at(now)
        return None if look_at is None else max(TICK_S, self._cluster.real_seconds((look_at - now).total_seconds()))

    def _unfinished(self, probe: CompletionProbe | None) -> str:
        if self._progress.ready_at is None or probe is None:
            return f"{self._title} had no ready endpoint at the time limit; it was {self._progress.status}"
        return (
            f"{self._title} had a ready endpoint at {format_instant(self._progress.ready_at)} and no valid completion "
            f"until the time limit; the last answer was: {probe.flaw}."
        )

    async def _close(self, *, ready: bool) -> None:
        """Collect what only the running deployment can provide. Without a trace it only explains a failure."""
        if not self.keeps_trace and ready:
            return
        late_s = LATE_CLUSTER_S if self.keeps_trace else 0.0
        await asyncio.gather(
            collect_evidence(
                self._cluster, self._subject, self._watch.scope, self._watch.add_explanation, limit_s=self.evidence_s
            ),
            self._watch.catch_up(),
            self._cluster.sleep(late_s),
        )

    @property
    def _title(self) -> str:
        return f"RayService {self._subject['namespace']}/{self._subject['name']}"
