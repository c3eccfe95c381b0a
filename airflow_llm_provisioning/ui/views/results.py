"""*Results*: the comparison of a selection, the phases of its arms, and its trials, a page at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.origin import is_simulated
from airflow_llm_provisioning.decisions.cost import cost_table
from airflow_llm_provisioning.decisions.floor import floors
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.gateways.store.pages import Page, RunRow
from airflow_llm_provisioning.gateways.store.selection import Selection, TrialKey
from airflow_llm_provisioning.report import wording
from airflow_llm_provisioning.report.bars import legend
from airflow_llm_provisioning.report.cost_section import cost_section
from airflow_llm_provisioning.report.effects_section import effects_sections
from airflow_llm_provisioning.report.evidence_sections import short_name
from airflow_llm_provisioning.report.floor_section import floor_sections
from airflow_llm_provisioning.report.markup import Markup, element, folded, html, table
from airflow_llm_provisioning.report.results_sections import (
    cloud_sections,
    compared_rows,
    origin_badge,
    overview,
)
from airflow_llm_provisioning.ui.layout import address, choice, notice, section, trial_link

# A comparison of more trials would take longer than a reader waits for a page.
RUNS_COMPARED: Final = 10
MOST_COMPARED: Final = 1000
RUNS_OFFERED: Final = 30
# A list of more names could not be read by anybody, and would make the page large.
MOST_NAMES: Final = 200
PAGE_SIZE: Final = 50
NEWEST: Final = f"the newest {RUNS_COMPARED} together"
LEAD: Final = "How long deployments took from submission to the ready endpoint, and what each variant saves."
_TRIALS: Final = {
    "trial": "trial",
    "opened": "opened",
    "cell": "cell",
    "status": "status",
    "total_s": "time (s)",
    "bounds": "bounds",
    "start": "start",
    "exclusion": "not counted because",
    "origin": "origin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a reader asked for. None: not asked. `before`: the key of the last trial of the page before."""

    experiment: str | None = None
    dag: str | None = None
    run: str | None = None
    target: str | None = None
    before: TrialKey | None = None


def results_view(store: ResultsStore, readable: frozenset[str], wanted: Wanted) -> Markup:
    """Return the view. `readable`: the DAGs whose trials may be shown. Without an experiment, it is the newest one."""
    asked = Selection(
        dag_ids=readable, experiment=wanted.experiment, dag_id=wanted.dag, run_id=wanted.run, target=wanted.target
    )
    newest = store.queries.newest_run(asked)
    if newest is None:
        return notice(_nothing(wanted))
    if wanted.experiment is None and wanted.run is None and wanted.target is None:
        wanted = replace(wanted, experiment=newest.experiment.split(",")[0])
        asked = replace(asked, experiment=wanted.experiment)
    page = store.queries.trials_page(asked, limit=PAGE_SIZE, before=wanted.before)
    runs = store.queries.runs(replace(asked, run_id=None), limit=RUNS_OFFERED).rows
    experiments = store.queries.names("experiment", Selection(dag_ids=readable), most=MOST_NAMES)
    return html(
        [
            _form(wanted, experiments, runs),
            *([] if wanted.before else _comparison(store, asked, runs)),
            section("Trials", trials_table(page, wanted), id="trials"),
        ]
    )


def trials_table(page: Page[dict[str, Any]], wanted: Wanted) -> Markup:
    """Return one page of trials, and the way to the older ones."""
    grid = table(_TRIALS, [_trial_row(row) for row in page.rows], "The newest first")
    if page.next is None:
        return html([grid, element("p", "These are the oldest trials of this selection.", class_="quiet")])
    older = address(
        "results",
        experiment=wanted.experiment,
        dag=wanted.dag,
        run=wanted.run,
        target=wanted.target,
        before=str(page.next),
    )
    return html([grid, element("p", element("a", "Older trials", href=f"{older}#trials", class_="button"))])


def status_badge(status: str) -> Markup:
    """Return how a trial ended: green only for success."""
    kind = "good" if status == "succeeded" else "bad"
    return element("span", status.replace("_", " "), class_=f"badge status {kind}")


def simulated_note(trials: Sequence[Measured], share: str = "") -> list[Markup]:
    """Return the label without which no simulated figure is shown."""
    simulated = sum(is_simulated(trial.arm.stratum.origin) for trial in trials)
    if not simulated:
        return []
    counted = "Every trial" if simulated == len(trials) else f"{simulated} of {len(trials)} trials"
    text = [element("strong", "SIMULATED"), f" {share or f'{counted} compared here'} ran on a simulator. "]
    text.append(wording.SIMULATED)
    return [element("p", text, class_="alarm", role="note")]


def _comparison(store: ResultsStore, asked: Selection, runs: Sequence[RunRow]) -> list[Markup]:
    """Return the comparison of one run, or of the newest ones."""
    chosen = asked if asked.run_id else replace(asked, run_id=_newest(runs))
    compared = store.queries.measured(chosen, phases=True)
    rows = compared_rows(compared)
    return [
        *simulated_note(compared),
        overview(rows),
        legend(),
        *cloud_sections(compared, rows),
        *effects_sections(compared),
        *floor_sections(floors(store, chosen, compared)),
        section("Cost and payback", cost_section(cost_table(store, chosen, compared)), id="cost"),
        section("Not counted", _not_counted(compared)),
        folded("How to read it", [element("p", text) for text in wording.READING.split("\n\n")]),
    ]


def _newest(runs: Sequence[RunRow]) -> tuple[str, ...]:
    """Return the newest runs that are compared together: at least one, and not more trials than a page can hold."""
    kept: list[str] = []
    trials = 0
    for run in runs[:RUNS_COMPARED]:
        trials += run.trials
        if kept and trials > MOST_COMPARED:
            break
        kept.append(run.run_id)
    return tuple(kept)


def _not_counted(compared: Sequence[Measured]) -> Markup:
    rows = [
        {"trial": trial_link(one.trial_id), "cell": short_name(one), "why": one.exclusion, "total_s": one.total_s}
        for one in compared
        if one.exclusion is not None
    ]
    if not rows:
        return element("p", f"None: all {len(compared)} trials were cold, verified and became ready.")
    shown = rows[:PAGE_SIZE]
    more = [element("p", f"And {len(rows) - len(shown)} more.")] if len(rows) > len(shown) else []
    columns = {"trial": "trial", "cell": "cell", "why": "not counted because", "total_s": "time (s)"}
    return html([table(columns, shown), *more])


def _form(wanted: Wanted, experiments: Sequence[str], runs: Sequence[RunRow]) -> Markup:
    names = dict.fromkeys([*experiments, *([wanted.experiment] if wanted.experiment else [])])
    every = {} if wanted.experiment else {"": "any"}
    listed = {run.run_id: f"{run.last_at:%Y-%m-%d %H:%M}, {run.run_id} ({run.trials})" for run in runs}
    if wanted.run:
        listed.setdefault(wanted.run, wanted.run)
    chosen: list[Any] = [
        choice("experiment", "Experiment", every | {name: name for name in names}, wanted.experiment),
        choice("run", "DAG run", {"": NEWEST} | listed, wanted.run),
        *(
            [choice("target", "Target", {"": "any", wanted.target: wanted.target}, wanted.target)]
            if wanted.target
            else []
        ),
        element("button", "Show", type="submit"),
    ]
    return element("form", chosen, method="get", action="results", class_="filters")


def _trial_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    known = row["total_low_s"] is not None and row["total_high_s"] is not None
    return {
        "trial": trial_link(row["trial_id"]),
        "opened": f"{datetime.fromisoformat(row['opened_at']):%Y-%m-%d %H:%M}",
        "cell": f"{row['cloud']} {row['setup']} {row['variant']}",
        "status": status_badge(row["status"]),
        "total_s": row["total_s"],
        "bounds": f"{row['total_low_s']:.1f} to {row['total_high_s']:.1f}" if known else None,
        "start": row["start"],
        "exclusion": row["exclusion"],
        "origin": origin_badge(row["origin"]),
    }


def _nothing(wanted: Wanted) -> str:
    if wanted != Wanted():
        return "There are no trials of this selection that you may see."
    return (
        "There are no trials yet that you may see. Prepare the targets (DAG prepare_targets), then start a trial from "
        "Targets."
    )
