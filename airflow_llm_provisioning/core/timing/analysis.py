"""A whole trace -> everything that is said about its trial: milestones, phases, verdicts, flags, environment.

Never raises on a trace's content: what cannot be read is an outcome or a flag. The same trace gives the same result,
byte for byte, so that a stored number can be computed again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.fields import text
from airflow_llm_provisioning.core.instants import format_instant, microseconds, seconds
from airflow_llm_provisioning.core.timing.clocks import Clocks
from airflow_llm_provisioning.core.timing.doubts import DELETED_BY_US, doubts_of
from airflow_llm_provisioning.core.timing.engine_logs import LogReading, read_logs
from airflow_llm_provisioning.core.timing.environment import environment_of
from airflow_llm_provisioning.core.timing.milestones import ENDPOINT_READY, SUBMITTED
from airflow_llm_provisioning.core.timing.node_overlap import nodes_in_parallel
from airflow_llm_provisioning.core.timing.phases import Phase, phases_to
from airflow_llm_provisioning.core.timing.route import route_of
from airflow_llm_provisioning.core.timing.sources import read_sightings
from airflow_llm_provisioning.core.timing.timeline import Flag, Milestone, Timeline, build_timeline, span_between
from airflow_llm_provisioning.core.trace.format import OUTCOMES, Line, check_format, decode_trace
from airflow_llm_provisioning.core.trace.view import TraceView
from airflow_llm_provisioning.core.verdicts import Verdict, cold_start, runtime_pip_seen
from airflow_llm_provisioning.exceptions import TraceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What a trace says.

    `outcome`: what the trace's END says (`ready`, `timed_out`, `failed`, `aborted`), `unfinished` without one; a
    foreign recording, with neither header nor END, is `ready` if its endpoint became so; `unreadable` if it is no trace
    this version reads. `origin`: `measured`, `simulated`, None where the trace does not say. `total_us`: submission to
    the first ready endpoint, exact; None where it cannot be told. `phases` sum to it. `clocks`: each clock's lead over
    the recorder's in seconds.
    """

    outcome: str
    reason: str | None = None
    origin: str | None = None
    setup: str | None = None
    milestones: tuple[Milestone, ...] = ()
    phases: tuple[Phase, ...] = ()
    total_us: int | None = None
    total_low_s: float | None = None
    total_high_s: float | None = None
    completion_s: float | None = None
    verdicts: tuple[Verdict, ...] = ()
    flags: tuple[Flag, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    clocks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unknown_log_lines: int = 0

    @property
    def total_s(self) -> float | None:
        """The total in seconds."""
        return None if self.total_us is None else self.total_us / 1_000_000

    @property
    def submitted_at(self) -> datetime | None:
        """When the RayService was submitted."""
        return self._at(SUBMITTED)

    @property
    def ready_at(self) -> datetime | None:
        """When the first endpoint was ready; None if that cannot be told."""
        return self._at(ENDPOINT_READY) if self.total_us is not None else None

    @property
    def start(self) -> str:
        """`cold`, `warm` or `unknown`, as a trial's row says it."""
        value = next((verdict.value for verdict in self.verdicts if verdict.claim == "cold_start"), "unknown")
        return {"yes": "cold", "no": "warm"}.get(value, "unknown")

    def milestone(self, name: str) -> Milestone | None:
        """Return one milestone, if it was seen."""
        return next((item for item in self.milestones if item.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON, in an order that depends on the trace alone."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "origin": self.origin,
            "setup": self.setup,
            "submitted_at": format_instant(self.submitted_at) if self.submitted_at else None,
            "ready_at": format_instant(self.ready_at) if self.ready_at else None,
            "total_s": self.total_s,
            "total_low_s": self.total_low_s,
            "total_high_s": self.total_high_s,
            "completion_s": self.completion_s,
            "start": self.start,
            "phases": [phase.as_dict() for phase in self.phases],
            "milestones": [milestone.as_dict() for milestone in self.milestones],
            "verdicts": [verdict.as_dict() for verdict in self.verdicts],
            "flags": [str(flag) for flag in self.flags],
            "environment": dict(self.environment),
            "clocks": {clock: dict(lead) for clock, lead in self.clocks.items()},
            "unknown_log_lines": self.unknown_log_lines,
        }

    def _at(self, name: str) -> datetime | None:
        found = self.milestone(name)
        return found.at if found else None


def analyse_trace(data: bytes | Iterable[bytes]) -> Analysis:
    """Analyse a stored trace's bytes (or its stored chunks, in order)."""
    try:
        decoded = decode_trace(data)
    except TraceError as error:
        return Analysis(outcome="unreadable", reason=str(error), flags=(Flag("unreadable", str(error)),))
    flags = [Flag("cut", decoded.cut)] if decoded.cut else []
    if decoded.unreadable_lines:
        flags.append(Flag("unreadable_lines", f"{decoded.unreadable_lines} lines are no lines of a trace"))
    return analyse(decoded.lines, flags)


def analyse(lines: Iterable[Line], flags: Iterable[Flag] = ()) -> Analysis:
    """Analyse a trace's lines. `flags`: what is already known to be wrong with them."""
    taken = list(lines)
    try:
        check_format(taken)
    except TraceError as error:
        return Analysis(outcome="unreadable", reason=str(error), flags=(*flags, Flag("unreadable", str(error))))
    view = TraceView(taken)
    clocks = Clocks(view)
    created = view.rayservice.created if view.rayservice else None
    logs = read_logs(view.logs, created.at if created else None)
    sightings = read_sightings(view, logs)
    route = route_of(view, logs, sightings)
    timeline = build_timeline(sightings, clocks, route)
    found = (*flags, *doubts_of(view, clocks, logs, timeline), *timeline.flags)
    return _result(view, timeline, phases_to(timeline, route), clocks, logs, found)


def _result(
    view: TraceView,
    timeline: Timeline,
    phases: tuple[Phase, ...],
    clocks: Clocks,
    logs: LogReading,
    flags: tuple[Flag, ...],
) -> Analysis:
    start, end = timeline.get(SUBMITTED), timeline.get(ENDPOINT_READY)
    completed = timeline.get("first_completion")
    total = (end.at - start.at) if start and end and phases else None
    low, high = span_between(start, end) if start and end and total is not None else (None, None)
    outcome, reason = _outcome(view, ready=total is not None)
    return Analysis(
        outcome=outcome,
        reason=reason,
        origin=view.origin,
        setup=("dynamic" if view.dynamic else "static") if view.rayservice else None,
        milestones=tuple(timeline.milestones.values()),
        phases=phases,
        total_us=microseconds(total) if total is not None else None,
        total_low_s=seconds(min(low, total)) if low is not None and total is not None else None,
        total_high_s=seconds(max(high, total)) if high is not None and total is not None else None,
        completion_s=seconds(completed.at - start.at) if completed and start else None,
        verdicts=tuple(v for v in (cold_start(view), runtime_pip_seen(view), nodes_in_parallel(timeline)) if v),
        flags=tuple(dict.fromkeys(flags)),
        environment=environment_of(view),
        clocks=clocks.as_dict(),
        unknown_log_lines=logs.unknown_lines,
    )


def _deleted_by_us_first(view: TraceView) -> bool:
    """Whether what the recorder saw end was our own doing: it cannot know, for it asks nobody but the cluster."""
    service, ended_at = view.rayservice, view.ended_at
    if service is None or not service.deleted or ended_at is None:
        return False
    return any(mark.name in DELETED_BY_US and mark.at <= ended_at for mark in view.marks())


def _outcome(view: TraceView, *, ready: bool) -> tuple[str, str | None]:
    said = view.end.get("outcome")
    if said == "failed" and _deleted_by_us_first(view):
        return "unfinished", "The trial's own teardown deleted it while it was still recorded."
    if said in OUTCOMES:
        return text(said), text(view.end.get("reason")) or None
    if view.header:
        return "unfinished", "The recording stops without saying how the trial ended."
    if ready:
        return "ready", None
    return "unfinished", "The trace ends before the endpoint was ready and does not say why."
