"""A trial's trace -> its row: what the analysis says, what each treatment says of itself, how it ended.

The one way from evidence to result: the teardown writes it, a replay computes it again.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.result import MilestoneResult, PhaseResult, TrialResult, TrialStatus
from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse_trace
from airflow_llm_provisioning.core.timing.timeline import Flag
from airflow_llm_provisioning.core.trace import TraceView, decode_trace
from airflow_llm_provisioning.core.treatments import known_treatments, not_declared
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.core.verdicts import Verdict, variant_image
from airflow_llm_provisioning.core.weight_sources import unpinned_inputs
from airflow_llm_provisioning.exceptions import ConfigurationError, TraceError

STATUS_OF: Final[Mapping[str, TrialStatus]] = {
    "ready": TrialStatus.SUCCEEDED,
    "timed_out": TrialStatus.TIMED_OUT,
    "failed": TrialStatus.FAILED,
    "aborted": TrialStatus.ABORTED,
    "no_capacity": TrialStatus.NO_CAPACITY,
    "over_budget": TrialStatus.OVER_BUDGET,
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a trace says of a trial: the analysis, and one verdict per treatment. Where the trial is not the planned one
    (another image, an acceleration that was not declared, an input that moves), one more says no, also of a baseline.
    """

    analysis: Analysis
    treatments: tuple[Verdict, ...]

    @property
    def applied(self) -> str:
        """`applied`, `not applied` or `unknown` for all treatments together; `none` where there is none."""
        values = {verdict.value for verdict in self.treatments}
        if not values:
            return "none"
        if "no" in values:
            return "not applied"
        return "applied" if values == {"yes"} else "unknown"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON, in an order that depends on the trace alone."""
        verdicts = [verdict.as_dict() for verdict in self.treatments]
        return self.analysis.as_dict() | {"applied": self.applied, "treatments": verdicts}


def judge_trace(chunks: Sequence[bytes], treatments: Iterable[str] | None = None) -> Judgement:
    """Judge a stored trace. `treatments`: names; None: those that the trace's own header lists."""
    treatments = None if treatments is None else tuple(treatments)
    if not any(chunks):
        reason = "No trace was recorded: the wait did not begin, or could not write."
        unseen = Analysis(outcome="unfinished", reason=reason, flags=(Flag("no_trace", reason),))
        return Judgement(unseen, tuple(Verdict(name, "unknown", (reason,)) for name in treatments or ()))
    analysis = analyse_trace(chunks, kept=partial(_kept, declared=treatments))
    try:
        view = TraceView(decode_trace(chunks).lines)
    except TraceError:
        names = list(treatments or ())
        return Judgement(analysis, tuple(Verdict(name, "unknown", ("There is no readable trace.",)) for name in names))
    names = _declared(view, treatments)
    return Judgement(analysis, (*_verified(view, names), *_objections(view, names)))


def _declared(view: TraceView, treatments: Iterable[str] | None) -> list[str]:
    """Return the treatments of a trial: as given, else as the trace's header lists them."""
    return list((PlannedFacts.of(view.trial).treatments or ()) if treatments is None else treatments)


def _kept(view: TraceView, declared: Collection[str] | None) -> dict[str, Verdict]:
    """Return what the declared treatments say of the things that they keep warm: kind -> verdict. Of two that keep the
    same kind, one that says yes is enough.
    """
    found: dict[str, Verdict] = {}
    names = _declared(view, declared)
    for name, item in known_treatments().items():
        if name not in names or not item.keeps_warm:
            continue
        try:
            said = item.kept(view)
        except Exception as error:  # noqa: BLE001 - code of other distributions
            said = Verdict(f"{name}_kept", "unknown", (_failure(error),))
        for kind in item.keeps_warm:
            if found.get(kind) is None or said.value == "yes":
                found[kind] = said
    return found


def _verified(view: TraceView, names: Collection[str]) -> Iterator[Verdict]:
    """Yield each treatment's own verdict. A treatment that this installation does not know is unknown, and so is one
    whose code raises: a trial must get its row.
    """
    for name, item in known_treatments().items():
        if name in names:
            try:
                yield item.verify(view)
            except Exception as error:  # noqa: BLE001 - code of other distributions
                yield Verdict(name, "unknown", (_failure(error),))
    for name in sorted(set(names) - set(known_treatments())):
        yield Verdict(name, "unknown", (f"This installation knows no treatment {name!r}, so nothing verified it.",))


def _objections(view: TraceView, declared: Collection[str]) -> Iterator[Verdict]:
    """Yield a no for each reason why a trial is not the trial it was planned as. Where the trace does not say what was
    planned, there is nothing to hold it against.
    """
    if not view.trial:
        return
    if (own := variant_image(view)).value == "no":
        yield own
    yield from _undeclared(view, declared)
    if moving := unpinned_inputs(view):
        yield Verdict("inputs_pinned", "no", moving)


def _undeclared(view: TraceView, declared: Collection[str]) -> Iterator[Verdict]:
    """Yield a no where the trial had an acceleration that it does not declare, and an unknown where a treatment's own
    code failed to tell: a trial must get its row.
    """
    found: list[str] = []
    failed: list[str] = []
    for item in not_declared(declared):
        try:
            found += [told] if (told := item.undeclared(view)) else []
        except Exception as error:  # noqa: BLE001 - code of other distributions
            failed.append(f"Whether {item.name!r} was there is not known: {_failure(error)}")
    if found or failed:
        yield Verdict("nothing_undeclared", "no" if found else "unknown", tuple(dict.fromkeys([*found, *failed])))


def _failure(error: Exception) -> str:
    """Return a sentence about a verdict that failed; of another distribution's the error says which one it is."""
    told = str(error).rstrip(".")
    return f"{told}." if isinstance(error, ConfigurationError) else f"It failed: {type(error).__name__}: {told}."


def trial_row(
    trial: Trial,
    judgement: Judgement,
    *,
    outcomes: Sequence[Mapping[str, Any]],
    wait_state: str | None,
    closed_at: datetime,
    flags: Sequence[str] = (),
    analysis_version: str | None = None,
) -> TrialResult:
    """Return the row of a trial. `analysis_version`: which code judged.

    `trial`: opened. `outcomes`: what its steps noted ({step, status, reason}). `wait_state`: Airflow's state of the
    waiting task, asked last: a task that failed and noted nothing was ended from outside.
    """
    analysis = judgement.analysis
    status, reason = _ended(analysis, outcomes, wait_state)
    opened = trial.opened
    if analysis.origin:
        trial = replace(trial, arm=trial.arm.seen_at(analysis.origin))
    return TrialResult(
        trial=trial,
        status=status,
        reason=reason,
        opened_at=opened.at if opened else closed_at,
        closed_at=closed_at,
        submitted_at=analysis.submitted_at,
        ready_at=analysis.ready_at,
        total_s=analysis.total_s,
        total_low_s=analysis.total_low_s,
        total_high_s=analysis.total_high_s,
        completion_s=analysis.completion_s,
        start=analysis.start,
        applied=judgement.applied,
        verdicts=tuple(verdict.as_dict() for verdict in (*analysis.verdicts, *judgement.treatments)),
        flags=(*(str(flag) for flag in analysis.flags), *flags),
        environment=dict(analysis.environment),
        phases=tuple(PhaseResult(p.name, p.duration_s, p.shortest_s, p.longest_s) for p in analysis.phases),
        milestones=tuple(MilestoneResult(m.name, m.earliest_at, m.latest_at, m.source) for m in analysis.milestones),
        analysis_version=analysis_version,
        capacity=analysis.capacity.as_dict() if analysis.capacity else None,
        speed=analysis.speed.as_dict() if analysis.speed else None,
    )


def _ended(
    analysis: Analysis, outcomes: Sequence[Mapping[str, Any]], wait_state: str | None
) -> tuple[TrialStatus, str | None]:
    """Return how the trial ended: as its trace says, else as a step noted, else as Airflow's state of the wait lets
    us think.
    """
    if analysis.outcome == "ready" and analysis.total_s is None:
        return TrialStatus.FAILED, "It was ready, but its total cannot be told from the trace: see the flags."
    if analysis.outcome in STATUS_OF:
        status = STATUS_OF[analysis.outcome]
        silent = f"The recording ended as {analysis.outcome} and names no reason."
        return status, analysis.reason or (None if status is TrialStatus.SUCCEEDED else silent)
    noted = next((item for item in reversed(outcomes) if item["status"] != TrialStatus.SUCCEEDED), None)
    if noted is not None:
        return TrialStatus(noted["status"]), f"{noted['step']}: {noted['reason']}"
    blocked = f" {analysis.blocked}" if analysis.blocked else ""
    if wait_state in ("failed", "skipped", "removed", "success"):
        return (
            TrialStatus.ABORTED,
            f"The wait was ended from outside (task state {wait_state}); no outcome was recorded.{blocked}",
        )
    return TrialStatus.FAILED, analysis.reason or "No step of the trial left a record of how it ended."
