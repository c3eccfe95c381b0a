"""The evidence for each trial: phases, milestones with bounds and sources, verdicts with evidence, flags, and the
command that computes everything again.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.report.markup import Markup, element, html, table

Row = dict[str, Any]

_PHASES: Final = {"phase": "phase", "s": "seconds", "low_s": "at least", "high_s": "at most"}
_MILESTONES: Final = {
    "milestone": "milestone",
    "earliest_s": "earliest (s)",
    "latest_s": "latest (s)",
    "width_s": "width (s)",
    "source": "source",
}
_VERDICTS: Final = {"claim": "claim", "value": "verdict", "evidence": "evidence"}


def evidence_section(trials: Sequence[TrialResult]) -> Markup:
    """Return one foldable section per trial."""
    return html([_of_trial(trial) for trial in trials])


def trial_link(trial: TrialResult) -> Markup:
    """Return a trial's name as a link to its evidence."""
    return element("a", trial.trial_id, href=f"#{_anchor(trial)}")


def short_name(trial: Measured) -> str:
    """Return cloud, set-up and variant of a trial, for a line about this one trial."""
    stratum = trial.arm.stratum
    return f"{stratum.cloud} {stratum.setup} {trial.arm.variant}"


def _of_trial(trial: TrialResult) -> Markup:
    parts = [element("summary", _title(trial)), *evidence(trial), replay_command(trial)]
    return element("details", parts, id=_anchor(trial))


def _title(trial: TrialResult) -> str:
    cell = short_name(trial)
    if trial.total_s is None:
        return f"{trial.trial_id}: {cell}, {trial.status}"
    bounds = f" ({trial.total_low_s:.1f} to {trial.total_high_s:.1f})" if trial.total_low_s is not None else ""
    return f"{trial.trial_id}: {cell}, {trial.total_s:.1f} s{bounds}"


def evidence(trial: TrialResult) -> Iterator[Markup]:
    """Yield a trial's phases, milestones, verdicts and flags."""
    yield from phase_and_milestone_tables(trial)
    yield from verdicts_and_flags(trial)


def phase_and_milestone_tables(trial: TrialResult) -> Iterator[Markup]:
    """Yield the phases and the milestones with their bounds, as far as there are any."""
    if trial.phases:
        rows = [{"phase": p.name, "s": p.duration_s, "low_s": p.low_s, "high_s": p.high_s} for p in trial.phases]
        yield table(_PHASES, rows, "Phases of the deciding path; they sum to the total")
    if trial.milestones:
        zero = trial.submitted_at or min(milestone.earliest_at for milestone in trial.milestones)
        yield table(_MILESTONES, _milestones(trial, zero), "Milestones, in seconds after the submission")


def verdicts_and_flags(trial: TrialResult) -> Iterator[Markup]:
    """Yield the verdicts with their evidence, if there are any, and the flags."""
    if trial.verdicts:
        rows = [
            {"claim": v.get("claim"), "value": v.get("value"), "evidence": " ".join(map(str, v.get("evidence") or ()))}
            for v in trial.verdicts
        ]
        yield table(_VERDICTS, rows, "Verdicts")
    yield element("p", ["Flags: ", "; ".join(trial.flags) or "none", "."])


def _milestones(trial: TrialResult, zero: datetime) -> list[Row]:
    return [
        {
            "milestone": milestone.name,
            "earliest_s": (milestone.earliest_at - zero).total_seconds(),
            "latest_s": (milestone.latest_at - zero).total_seconds(),
            "width_s": (milestone.latest_at - milestone.earliest_at).total_seconds(),
            "source": milestone.source,
        }
        for milestone in sorted(trial.milestones, key=lambda milestone: (milestone.latest_at, milestone.earliest_at))
    ]


def replay_command(trial: TrialResult) -> Markup:
    """Return which code computed a trial, and how to compute it again."""
    by = f"Computed by {trial.analysis_version}. " if trial.analysis_version else ""
    command = element("code", f"llm-provisioning replay {trial.trial_id}")
    return element("p", [by, "Compute it again: ", command], class_="quiet")


def _anchor(trial: TrialResult) -> str:
    return f"trial-{trial.trial_id}"
