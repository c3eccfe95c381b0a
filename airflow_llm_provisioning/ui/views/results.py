"""*Results*: the comparison of a selection, the phases of its arms, and its trials, a page at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.gateways.store.page_queries import PageKey, Selection, TrialPage
from airflow_llm_provisioning.report import wording
from airflow_llm_provisioning.report.bars import legend
from airflow_llm_provisioning.report.evidence_sections import short_name
from airflow_llm_provisioning.report.markup import Markup, element, folded, html, table
from airflow_llm_provisioning.report.results_sections import (
    SIMULATED,
    cloud_sections,
    excluded_section,
    origin_badge,
    overview,
)
from airflow_llm_provisioning.ui.layout import address, choice, notice, section, trial_link

# A comparison of more trials would take longer than a reader waits for a page.
MOST_COMPARED: Final = 300
PAGE_SIZE: Final = 50
LEAD: Final = "How long deployments took from submission to the ready endpoint, and what each variant saves."
_TRIALS: Final = {
    "trial": "trial",
    "opened": "opened",
    "cell": "cell",
    "status": "status",
    "total_s": "time (s)",
    "bounds": "bounds",
    "start": "start",
    "why": "not counted because",
    "origin": "origin",
}


def results_view(store: ResultsStore, selection: Selection, before: PageKey | None) -> Markup:
    """Return the view of a selection. Without an experiment, it is that of the newest trial."""
    newest = store.pages.newest(selection)
    if newest is None:
        return notice(_nothing(selection))
    if selection.experiment is None:
        slot = newest.trial.slot
        selection = Selection(
            dag_ids=selection.dag_ids,
            experiment=slot.experiment,
            dag_id=selection.dag_id,
            run_id=selection.run_id,
            target=selection.target,
        )
    compared = store.pages.with_phases(selection, MOST_COMPARED)
    page = store.pages.page(selection, PAGE_SIZE, before)
    names = [
        name
        for name in store.pages.names("experiment")
        if store.pages.newest(Selection(dag_ids=selection.dag_ids, experiment=name)) is not None
    ]
    return html(
        [
            _form(selection, names, compared),
            *([] if before else _comparison(compared, limited=len(compared) == MOST_COMPARED)),
            section("Trials", trials_table(page, selection), id="trials"),
        ]
    )


def trials_table(page: TrialPage, selection: Selection) -> Markup:
    """Return one page of trials, and the way to the older ones."""
    rows = [_trial_row(trial) for trial in page.trials]
    grid = table(_TRIALS, rows, "The newest first")
    if page.next is None:
        return html([grid, element("p", "These are the oldest trials of this selection.", class_="quiet")])
    older = address(
        "results",
        experiment=selection.experiment,
        dag=selection.dag_id,
        run=selection.run_id,
        target=selection.target,
        before=page.next.opened_at.isoformat(),
        after=page.next.trial_id,
    )
    return html([grid, element("p", element("a", "Older trials", href=f"{older}#trials", class_="button"))])


def status_badge(status: str) -> Markup:
    """Return how a trial ended: green only for success."""
    kind = "good" if status == "succeeded" else "bad"
    return element("span", status.replace("_", " "), class_=f"badge status {kind}")


def simulated_note(trials: Sequence[TrialResult], share: str = "") -> list[Markup]:
    """Return the label without which no simulated figure is shown."""
    simulated = sum(trial.origin == SIMULATED for trial in trials)
    if not simulated:
        return []
    counted = "Every trial" if simulated == len(trials) else f"{simulated} of {len(trials)} trials"
    text = [element("strong", "SIMULATED"), f" {share or f'{counted} compared here'} ran on a simulator. "]
    text.append(wording.SIMULATED)
    return [element("p", text, class_="alarm", role="note")]


def _comparison(compared: Sequence[TrialResult], *, limited: bool) -> list[Markup]:
    scope = f"Compared: the newest {len(compared)} trials of this selection." if limited else ""
    return [
        *simulated_note(compared),
        *([element("p", f"{scope} Choose a DAG run to compare only its trials.", class_="quiet")] if scope else []),
        overview(compared),
        legend(),
        *cloud_sections(compared),
        section("Not counted", excluded_section(compared, link=lambda trial: trial_link(trial.trial_id))),
        folded("How to read it", [element("p", text) for text in wording.READING.split("\n\n")]),
    ]


def _form(selection: Selection, experiments: Sequence[str], compared: Sequence[TrialResult]) -> Markup:
    runs = dict.fromkeys(trial.trial.slot.run_id for trial in reversed(compared))
    if selection.run_id:
        runs.setdefault(selection.run_id)
    chosen: list[Any] = [
        choice("experiment", "Experiment", {name: name for name in experiments}, selection.experiment),
        choice("run", "DAG run", {"": "all"} | {run: run for run in runs}, selection.run_id),
        element("button", "Show", type="submit"),
    ]
    return element("form", chosen, method="get", action="results", class_="filters")


def _trial_row(trial: TrialResult) -> Mapping[str, Any]:
    known = trial.total_low_s is not None and trial.total_high_s is not None
    return {
        "trial": trial_link(trial.trial_id),
        "opened": f"{trial.opened_at:%Y-%m-%d %H:%M}",
        "cell": short_name(trial),
        "status": status_badge(str(trial.status)),
        "total_s": trial.total_s,
        "bounds": f"{trial.total_low_s:.1f} to {trial.total_high_s:.1f}" if known else None,
        "start": trial.start,
        "why": trial.exclusion,
        "origin": origin_badge(trial.origin),
    }


def _nothing(selection: Selection) -> str:
    if selection.experiment or selection.run_id or selection.dag_id or selection.target:
        return "There are no trials of this selection that you may see."
    return (
        "There are no trials yet that you may see. Prepare the targets (DAG prepare_targets), then start a trial from "
        "Targets."
    )
