"""Analyses a whole trace: milestones, phases, verdicts, flags and environment.

The content of a trace never raises an exception: unreadable content becomes an outcome or a flag. The same trace gives
the same result, byte for byte, so a stored number can be computed again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_llm_provisioning.core.blockers import INITIALIZING_TIMEOUT, LastBlocked, last_blocked
from airflow_llm_provisioning.core.capacity import WAITED_S, Capacity, capacity_of
from airflow_llm_provisioning.core.fields import dig, text
from airflow_llm_provisioning.core.instants import format_instant, microseconds, seconds
from airflow_llm_provisioning.core.result import WAITED_FOR_CAPACITY
from airflow_llm_provisioning.core.serving_speed import ServingSpeed
from airflow_llm_provisioning.core.timing.absences import absence_flags, bounded_by_absences
from airflow_llm_provisioning.core.timing.causal_order import causal_order_of
from airflow_llm_provisioning.core.timing.clocks import Clocks
from airflow_llm_provisioning.core.timing.engine_logs import LogReading, read_logs
from airflow_llm_provisioning.core.timing.environment import environment_of
from airflow_llm_provisioning.core.timing.milestones import ENDPOINT_READY, SUBMITTED
from airflow_llm_provisioning.core.timing.node_overlap import nodes_in_parallel
from airflow_llm_provisioning.core.timing.phases import Phase, phases_to
from airflow_llm_provisioning.core.timing.sources import read_observations
from airflow_llm_provisioning.core.timing.speed_marks import speed_of
from airflow_llm_provisioning.core.timing.timeline import Flag, Milestone, Timeline, build_timeline, span_between
from airflow_llm_provisioning.core.timing.trial_flags import DELETED_BY_US, flags_of
from airflow_llm_provisioning.core.trace.format import OUTCOMES, Line, check_format, decode_trace
from airflow_llm_provisioning.core.trace.view import TraceView
from airflow_llm_provisioning.core.verdicts import Kept, Verdict, cold_start, runtime_pip_seen
from airflow_llm_provisioning.exceptions import TraceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """The result of one trace.

    `outcome`: the outcome of the trace's END line (`ready`, `timed_out`, `failed`, `aborted`); `unfinished` without an
    END line; `unreadable` for data that this version cannot read as a trace. A foreign recording has neither header nor
    END line; it is `ready` if its endpoint became ready, and `failed` if what blocked it last cannot pass by itself.
    `no_capacity` in place of `timed_out`, `failed` and `unfinished` where the last that kept it from being ready was
    refused capacity. `capacity`: what was refused and for how long was waited; None without a refusal.
    `speed`: how fast the model wrote once it served; None where no answers of two lengths were timed.
    `blocked`: what blocked it last, in sentences, where the trace has no END line. `origin`: `measured`, `simulated`,
    or None if the trace does not state it. `total_us`: exact time from submission to the first ready endpoint; None if
    it is unknown. The `phases` sum to it. `clocks`: offset of each clock from the recorder's clock in seconds.
    """

    outcome: str
    reason: str | None = None
    blocked: str | None = None
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
    capacity: Capacity | None = None
    speed: ServingSpeed | None = None

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
        """When the first endpoint was ready; None if that is unknown."""
        return self._at(ENDPOINT_READY) if self.total_us is not None else None

    @property
    def start(self) -> str:
        """`cold`, `warm` or `unknown`, as in the trial's row."""
        value = next((verdict.value for verdict in self.verdicts if verdict.claim == "cold_start"), "unknown")
        return {"yes": "cold", "no": "warm"}.get(value, "unknown")

    def milestone(self, name: str) -> Milestone | None:
        """Return one milestone, or None if it was not observed."""
        return next((item for item in self.milestones if item.name == name), None)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON. The order depends on the trace alone."""
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
            "clocks": {clock: dict(offset) for clock, offset in self.clocks.items()},
            "unknown_log_lines": self.unknown_log_lines,
            **({"capacity": self.capacity.as_dict()} if self.capacity else {}),
            **({"speed": self.speed.as_dict()} if self.speed else {}),
        }

    def _at(self, name: str) -> datetime | None:
        found = self.milestone(name)
        return found.at if found else None


KeptOf = Callable[[TraceView], Kept]


def _nothing_kept(_: TraceView) -> Kept:
    return {}


def analyse_trace(data: bytes | Iterable[bytes], *, kept: KeptOf = _nothing_kept) -> Analysis:
    """Analyse a stored trace's bytes (or its stored chunks, in order). `kept`: what the trial found old on purpose."""
    try:
        decoded = decode_trace(data)
    except TraceError as error:
        return Analysis(outcome="unreadable", reason=str(error), flags=(Flag("unreadable", str(error)),))
    flags = [Flag("cut", decoded.cut)] if decoded.cut else []
    if decoded.unreadable_lines:
        flags.append(Flag("unreadable_lines", f"{decoded.unreadable_lines} lines are not valid trace lines"))
    return analyse(decoded.lines, flags, kept=kept)


def analyse(lines: Iterable[Line], flags: Iterable[Flag] = (), *, kept: KeptOf = _nothing_kept) -> Analysis:
    """Analyse a trace's lines. `flags`: problems of the lines that are already known. `kept`: as `analyse_trace`."""
    taken = list(lines)
    try:
        check_format(taken)
    except TraceError as error:
        return Analysis(outcome="unreadable", reason=str(error), flags=(*flags, Flag("unreadable", str(error))))
    view = TraceView(taken)
    clocks = Clocks(view)
    created = view.rayservice.created if view.rayservice else None
    logs = read_logs(view.logs, created.at if created else None)
    observations = bounded_by_absences(view, read_observations(view, logs))
    order = causal_order_of(view, logs, observations)
    timeline = build_timeline(observations, clocks, order)
    found = (*flags, *flags_of(view, clocks, logs, timeline), *timeline.flags, *absence_flags(view, timeline))
    verdicts = tuple(
        v for v in (cold_start(view, kept(view)), runtime_pip_seen(view), nodes_in_parallel(timeline)) if v
    )
    return _result(view, taken, timeline, phases_to(timeline, order), clocks, logs, found, verdicts)


def _result(
    view: TraceView,
    lines: Sequence[Line],
    timeline: Timeline,
    phases: tuple[Phase, ...],
    clocks: Clocks,
    logs: LogReading,
    flags: tuple[Flag, ...],
    verdicts: tuple[Verdict, ...],
) -> Analysis:
    start, end = timeline.get(SUBMITTED), timeline.get(ENDPOINT_READY)
    completed = timeline.get("first_completion")
    total = (end.at - start.at) if start and end and phases else None
    low, high = span_between(start, end) if start and end and total is not None else (None, None)
    last = _last_blocked(view, lines) if total is None else None
    outcome, reason = _outcome(view, last, ready=total is not None)
    capacity = _capacity(view, lines, last, outcome, end.latest_at if end and total is not None else None)
    if capacity is not None and capacity.ended:
        outcome, reason = "no_capacity", f"No capacity: {capacity.told}{f' {reason}' if reason else ''}"
    elif capacity is not None and capacity.waited_s >= WAITED_S:
        flags = (*flags, Flag(WAITED_FOR_CAPACITY, capacity.told))
    return Analysis(
        outcome=outcome,
        reason=reason,
        capacity=capacity,
        blocked=last.told or None if last and not view.end else None,
        origin=view.origin,
        setup=("dynamic" if view.dynamic else "static") if view.rayservice else None,
        milestones=tuple(timeline.milestones.values()),
        phases=phases,
        total_us=microseconds(total) if total is not None else None,
        total_low_s=seconds(min(low, total)) if low is not None and total is not None else None,
        total_high_s=seconds(max(high, total)) if high is not None and total is not None else None,
        completion_s=seconds(completed.at - start.at) if completed and start else None,
        verdicts=verdicts,
        flags=tuple(dict.fromkeys(flags)),
        environment=environment_of(view),
        clocks=clocks.as_dict(),
        unknown_log_lines=logs.unknown_lines,
        speed=speed_of(view),
    )


def _deleted_by_us_first(view: TraceView) -> bool:
    """Return whether this trial deleted the RayService before the recording ended. The recorder reads only the cluster,
    so it reports such a deletion as a failure.
    """
    service, ended_at = view.rayservice, view.ended_at
    if service is None or not service.deleted or ended_at is None:
        return False
    return any(mark.name in DELETED_BY_US and mark.at <= ended_at for mark in view.marks())


def _last_blocked(view: TraceView, lines: Sequence[Line]) -> LastBlocked | None:
    service = view.rayservice
    if service is None:
        return None
    return last_blocked(lines, service.name, text(dig(service.last, "metadata", "namespace")), service.uid)


def _capacity(
    view: TraceView, lines: Sequence[Line], last: LastBlocked | None, outcome: str, ready_at: datetime | None
) -> Capacity | None:
    """Return what the recording says about capacity. It ended the trial if pods had no node at the end because of it,
    and nothing that stays blocked the deployment beside it. KubeRay's own time limit is no cause of its own.
    """
    kinds = {one.kind for one in last.blockers} if last else set()
    stays = {one.kind for one in last.blockers if not one.passes and one.reason != INITIALIZING_TIMEOUT} if last else {}
    taken_away = outcome == "failed" and last is not None and last.deleted
    can_end = outcome in ("timed_out", "failed") or (outcome == "unfinished" and not view.header)
    ended = can_end and bool(kinds & {"capacity", "quota"}) and not stays and not taken_away
    return capacity_of(view, lines, until=ready_at or (last.at if last else None), ended=ended)


def _outcome(view: TraceView, last: LastBlocked | None, *, ready: bool) -> tuple[str, str | None]:
    stated = view.end.get("outcome")
    if stated == "failed" and _deleted_by_us_first(view):
        return "unfinished", "The trial's teardown deleted the RayService while it was still being recorded."
    if stated == "timed_out" and ready and not view.marks("endpoint_ready_seen"):
        return stated, "The wait ended at its time limit and had not seen the endpoint, which the recording contains."
    if stated in OUTCOMES:
        return text(stated), text(view.end.get("reason")) or None
    if ready and not view.header:
        return "ready", None
    blocked = f" {last.told}" if last and last.told else ""
    if view.header:
        return "unfinished", f"The recording ends without an END line, so the end of the trial is unknown.{blocked}"
    if last and last.final:
        return "failed", last.told
    if last and last.deleted:
        return "unfinished", f"The RayService was deleted before its endpoint was ready.{blocked}"
    return (
        "unfinished",
        f"The trace ends before the endpoint was ready{blocked and '.'}{blocked or ' and gives no reason.'}",
    )
