"""A whole trace -> everything that is said about its trial: milestones, phases, verdicts, flags, environment.

Never raises on a trace's content: what cannot be read is an outcome or a flag. The same trace gives the same result,
byte for byte, so that a stored number can be computed again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.fields import mapping, text
from airflow_llm_provisioning.core.instants import format_instant, microseconds, seconds
from airflow_llm_provisioning.core.timing.clocks import ALLOWANCE, Clocks
from airflow_llm_provisioning.core.timing.engine_logs import LogReading, read_logs
from airflow_llm_provisioning.core.timing.environment import environment_of
from airflow_llm_provisioning.core.timing.milestones import ENDPOINT_READY, SUBMITTED
from airflow_llm_provisioning.core.timing.phases import Phase, phases_to
from airflow_llm_provisioning.core.timing.pod_sources import gpu_resource
from airflow_llm_provisioning.core.timing.route import route_of
from airflow_llm_provisioning.core.timing.sources import read_sightings
from airflow_llm_provisioning.core.timing.timeline import Flag, Milestone, Timeline, build_timeline, span_between
from airflow_llm_provisioning.core.trace.format import OUTCOMES, Line, check_format, decode_trace
from airflow_llm_provisioning.core.trace.objects import container_statuses
from airflow_llm_provisioning.core.trace.view import TraceView
from airflow_llm_provisioning.core.verdicts import Verdict, cold_start, runtime_pip_seen
from airflow_llm_provisioning.exceptions import TraceError

# Marks that say we deleted the RayService ourselves.
DELETED_BY_US: Final = frozenset({"delete_started", "deleted_by_us"})

# Marks of the recorder about what it missed.
_GAPS: Final = frozenset({"not_recorded", "not_collected", "watch_interrupted", "cut_short"})


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
    found = (*flags, *_flags(view, clocks, logs, timeline), *timeline.flags)
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
        verdicts=(cold_start(view), runtime_pip_seen(view)),
        flags=tuple(dict.fromkeys(flags)),
        environment=environment_of(view),
        clocks=clocks.as_dict(),
        unknown_log_lines=logs.unknown_lines,
    )


def _outcome(view: TraceView, *, ready: bool) -> tuple[str, str | None]:
    said = view.end.get("outcome")
    if said in OUTCOMES:
        return text(said), text(view.end.get("reason")) or None
    if view.header:
        return "unfinished", "The recording stops without saying how the trial ended."
    if ready:
        return "ready", None
    return "unfinished", "The trace ends before the endpoint was ready and does not say why."


def _flags(view: TraceView, clocks: Clocks, logs: LogReading, timeline: Timeline) -> list[Flag]:
    flags = [*_trace_flags(view), *_deployment_flags(view, timeline)]
    flags += [
        Flag("clock", f"the clock of {clock} is off by {seconds(lead.likely):.1f} s")
        for clock, lead in clocks.leads.items()
        if lead.low > ALLOWANCE or lead.high < -ALLOWANCE
    ]
    flags += [
        Flag("contradiction", f"{count} stamps of the clock of {clock} lie impossibly long after they were received")
        for clock, count in clocks.odd.items()
    ]
    for note in logs.notes:
        kind, _, detail = note.partition(": ")
        flags.append(Flag(kind, detail))
    if view.end.get("outcome") == "ready" and timeline.get(ENDPOINT_READY) is None:
        flags.append(Flag("contradiction", "the trace ends as ready and shows no ready endpoint that can be believed"))
    return flags


def _trace_flags(view: TraceView) -> list[Flag]:
    flags = []
    if view.unreadable_lines:
        flags.append(Flag("unreadable_lines", f"{view.unreadable_lines} lines could not be used"))
    if view.origin not in ("measured", "simulated"):
        flags.append(Flag("origin", "the trace does not say whether it was measured or simulated"))
    flags += _gap_flags(view)
    if view.rayservice is None:
        flags.append(Flag("no_rayservice", "the RayService of this trial was never seen"))
    return flags


def _gap_flags(view: TraceView) -> list[Flag]:
    """Return what the recorder itself said it could not see, each kind once. NodeClaims exist only with Karpenter."""
    told: dict[str, list[str]] = {}
    for mark in view.marks():
        what = text(mark.detail.get("what") or mark.detail.get("resource"))
        if mark.name in _GAPS and what != "nodeclaims":
            told.setdefault(f"{mark.name} {what}", []).append(text(mark.detail.get("why")))
    return [
        Flag("gap", f"{what} ({len(why)} times, first: {why[0] or 'no reason given'})") for what, why in told.items()
    ]


def _deployment_flags(view: TraceView, timeline: Timeline) -> list[Flag]:
    service = view.rayservice
    if service is None:
        return []
    flags = []
    if len(view.rayclusters) > 1:
        names = ", ".join(cluster.name for cluster in view.rayclusters)
        flags.append(
            Flag("upgrade", f"the RayService made several RayClusters ({names}): the first to serve was analysed")
        )
    if len(view.applications) > 1:
        flags.append(Flag("applications", f"{len(view.applications)} applications were deployed; all must be running"))
    if view.workers and not any(gpu_resource(pod) for pod in view.workers):
        flags.append(Flag("no_gpu", "no worker asks for a GPU"))
    if not any(mapping(version.object.get("status")) for version in service.versions):
        flags.append(Flag("operator_silent", "the operator never wrote a status"))
    deleted = service.deleted
    finished = timeline.get(ENDPOINT_READY)
    if deleted and finished is None and not any(mark.name in DELETED_BY_US for mark in view.marks()):
        flags.append(Flag("deleted", "the RayService was deleted before it was ready, and not by this trial"))
    return [*flags, *_restart_flags(view)]


def _restart_flags(view: TraceView) -> list[Flag]:
    return [
        Flag("restart", f"container {status.get('name')} of {pod.name} was restarted {status['restartCount']} times")
        for pod in view.pods
        for status in container_statuses(pod.last)
        if isinstance(status.get("restartCount"), int) and status["restartCount"] > 0
    ]
