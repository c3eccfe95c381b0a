"""*Trial*: everything that is known of one trial, what decided its total, and how to compute it again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.floor import trial_floor
from airflow_llm_provisioning.core.lanes import Span, lanes, path
from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.report.bars import Bar, Segment, bar_chart, legend
from airflow_llm_provisioning.report.cost_section import cost_text, trial_cost
from airflow_llm_provisioning.report.evidence_sections import (
    phase_and_milestone_tables,
    replay_command,
    short_name,
    verdicts_and_flags,
)
from airflow_llm_provisioning.report.floor_section import arm_floor
from airflow_llm_provisioning.report.markup import Markup, element, folded, html, table
from airflow_llm_provisioning.report.phase_groups import GROUPS, UNSEPARATED, group_of
from airflow_llm_provisioning.report.results_sections import flat, origin_badge
from airflow_llm_provisioning.ui.airflow_dags import TaskOfTrial
from airflow_llm_provisioning.ui.layout import address, airflow_link, later, link, notice, section
from airflow_llm_provisioning.ui.views.results import simulated_note, status_badge

LEAD: Final = "One deployment: what decided its total, what it is known from, and how to compute it again."
_LANES: Final[Mapping[str, str]] = {"head": "Head pod", "worker": "Worker pod", "application": "Serve and engine"}


def trial_view(store: ResultsStore, trial: TrialResult, tasks: Sequence[TaskOfTrial] = ()) -> Markup:
    """Return the view of a trial that the user may see. `tasks`: whose logs Airflow has."""
    recorded = bool(store.trace(trial.trial_id))
    return html(
        [
            *simulated_note([trial], share="This trial"),
            _facts(trial, tasks),
            *_reason(trial),
            section("Where the time went", _phases(trial)),
            *_floor(trial),
            section("Can it be believed", list(verdicts_and_flags(trial))),
            section("What it cost", trial_cost(trial.cost), id="cost"),
            section("What blocked it", _blockers(trial, recorded=recorded), id="blockers"),
            section("What it is known from", _tables(trial)),
            section("Environment", _environment(trial)),
            section("Recording", _recording(trial, recorded=recorded)),
        ]
    )


def _facts(trial: TrialResult, tasks: Sequence[TaskOfTrial]) -> Markup:
    slot = trial.trial.slot
    stratum = trial.arm.stratum
    facts: list[tuple[str, Any]] = [
        ("Status", [status_badge(str(trial.status)), " ", origin_badge(trial.origin)]),
        ("Time to the ready endpoint", _total(trial)),
        ("First valid completion after", "not seen" if trial.completion_s is None else f"{trial.completion_s:.1f} s"),
        ("Cell", [short_name(trial), f", target {trial.trial.target}, workload {stratum.workload}"]),
        ("Treatments", ", ".join(trial.arm.treatments) or "none (baseline)"),
        ("Start", trial.start),
        ("Cost", cost_text(trial.cost)),
        ("Counts in comparisons", "yes" if trial.exclusion is None else f"no: {trial.exclusion}"),
        ("Opened", f"{trial.opened_at:%Y-%m-%d %H:%M:%S}"),
        ("DAG run", airflow_link(f"{slot.dag_id}, {slot.run_id}", "dags", slot.dag_id, "runs", slot.run_id)),
        ("Task logs", _logs(trial, tasks)),
        ("Experiment", link(slot.experiment, "results", experiment=slot.experiment, run=slot.run_id)),
    ]
    items = [element("div", [element("dt", name), element("dd", value)]) for name, value in facts]
    return element("dl", items, class_="facts")


def _logs(trial: TrialResult, tasks: Sequence[TaskOfTrial]) -> Any:
    """Return the ways to the logs of a trial's tasks; a task inside a group is named without it."""
    if not tasks:
        return "Airflow does not have its tasks any more"
    slot = trial.trial.slot
    links: list[Any] = []
    for task in tasks:
        mapped = ("mapped", str(task.map_index)) if task.map_index >= 0 else ()
        name = task.task_id.rpartition(".")[2]
        links += [", ", airflow_link(name, "dags", slot.dag_id, "runs", slot.run_id, "tasks", task.task_id, *mapped)]
    return links[1:]


def _total(trial: TrialResult) -> Any:
    if trial.total_s is None:
        return "it never became ready"
    bounds = ""
    if trial.total_low_s is not None and trial.total_high_s is not None:
        bounds = f" (between {trial.total_low_s:.1f} and {trial.total_high_s:.1f} s)"
    return [element("strong", f"{trial.total_s:.1f} s"), bounds]


def _reason(trial: TrialResult) -> Iterator[Markup]:
    if trial.reason:
        yield notice(
            [element("strong", "Why: "), trial.reason], "alarm" if str(trial.status) != "succeeded" else "note"
        )


def _phases(trial: TrialResult) -> Any:
    found = lanes(trial)
    if not trial.phases and not any(found.values()):
        return element("p", "No phases are recorded for this trial.")
    bars = [Bar("Deciding path", [_segment(span) for span in path(trial)], _seconds(trial.total_s))]
    bars += [
        Bar(title, [_segment(span) for span in found[lane]], _seconds(found[lane][-1].end_s))
        for lane, title in _LANES.items()
        if found.get(lane)
    ]
    spans = [*path(trial), *(span for of_lane in found.values() for span in of_lane)]
    used = [group for group in (*GROUPS, UNSEPARATED) if any(group_of(span.phase) == group for span in spans)]
    text = (
        "The first row is the path that the ready endpoint waited for; its phases sum to the total. Below it is all "
        "that was seen, head and worker side by side: strong where it decided, pale where it ran beside and delayed "
        "nothing."
    )
    return [element("p", text), bar_chart(bars, "Phases, in seconds after the submission"), legend(used), _off(found)]


def _floor(trial: TrialResult) -> Iterator[Markup]:
    found = trial_floor(trial)
    if found is not None:
        yield section("Distance to the floor", arm_floor(found), id="floor")


def _tables(trial: TrialResult) -> Markup:
    tables = list(phase_and_milestone_tables(trial))
    return folded("Phases and milestones with their bounds and sources", tables) if tables else element("p", "Nothing.")


def _off(found: Mapping[str, Sequence[Span]]) -> Markup:
    rows = [
        {
            "phase": span.phase,
            "group": group_of(span.phase).title,
            "start_s": span.start_s,
            "end_s": span.end_s,
            "took": span.end_s - span.start_s,
            "decided": "decided" if span.decided else "ran beside",
        }
        for spans in found.values()
        for span in spans
    ]
    columns = {
        "phase": "phase",
        "group": "",
        "start_s": "from (s)",
        "end_s": "to (s)",
        "took": "took (s)",
        "decided": "",
    }
    return folded("All phases as a table", table(columns, rows)) if rows else html("")


def _segment(span: Span) -> Segment:
    took = f"{span.phase}: {span.end_s - span.start_s:.1f} s"
    label = took if span.decided else f"{took}, ran beside the deciding path"
    return Segment(span.start_s, span.end_s, group_of(span.phase).colour, label, faint=not span.decided)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} s"


def _blockers(trial: TrialResult, *, recorded: bool) -> Markup:
    if not recorded:
        return element("p", "There is no recording, so what blocked it is not known.")
    return later(address("trial/blockers", id=trial.trial_id), "Reading the recording ...")


def _environment(trial: TrialResult) -> Markup:
    rows = [{"name": name, "value": value} for name, value in flat(trial.environment)]
    if not rows:
        return element("p", "Nothing of its environment was observed.")
    return folded("What it ran on", table({"name": "fact", "value": "observed"}, rows))


def _recording(trial: TrialResult, *, recorded: bool) -> Markup:
    if not recorded:
        return element("p", "This trial has a row but no recording: its wait did not begin, or could not write.")
    files = [
        element(
            "a", "Download the trace", href=address("trial/trace", id=trial.trial_id), class_="button", download=""
        ),
        " ",
        element(
            "a",
            "Download the replayable file",
            href=address("trial/replayable", id=trial.trial_id),
            class_="button",
            download="",
        ),
    ]
    text = (
        "The trace is what the cluster said, as it was recorded. The replayable file also holds the row and its "
        "analysis, so that a replay elsewhere says whether it computes the same."
    )
    return html([element("p", text), element("p", files), replay_command(trial)])
