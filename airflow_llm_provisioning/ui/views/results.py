"""*Results*: the trials of a selection, a page at a time. Their comparison is loaded after the page (`comparison`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.origin import is_simulated
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.gateways.store.pages import Page, RunRow
from airflow_llm_provisioning.gateways.store.selection import Selection, TrialKey
from airflow_llm_provisioning.report import wording
from airflow_llm_provisioning.report.markup import Markup, element, html, table
from airflow_llm_provisioning.report.results_sections import origin_badge
from airflow_llm_provisioning.ui.layout import address, choice, later, notice, section, trial_link

RUNS_COMPARED: Final = 10
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

    def selection(self, readable: frozenset[str]) -> Selection:
        """Return the trials that were asked for, of the DAGs that may be shown."""
        return Selection(
            dag_ids=readable, experiment=self.experiment, dag_id=self.dag, run_id=self.run, target=self.target
        )


def results_view(store: ResultsStore, readable: frozenset[str], wanted: Wanted) -> Markup:
    """Return the view. `readable`: the DAGs whose trials may be shown. Without an experiment, it is the newest one."""
    asked = wanted.selection(readable)
    newest = store.queries.newest_run(asked)
    if newest is None:
        return nothing_found(wanted)
    if wanted.experiment is None and wanted.run is None and wanted.target is None:
        wanted = replace(wanted, experiment=newest.experiment.split(",")[0])
        asked = replace(asked, experiment=wanted.experiment)
    page = store.queries.trials_page(asked, limit=PAGE_SIZE, before=wanted.before)
    runs = store.queries.runs(replace(asked, run_id=None), limit=RUNS_OFFERED).rows
    experiments = store.queries.names("experiment", Selection(dag_ids=readable), most=MOST_NAMES)
    return html(
        [
            _form(wanted, experiments, runs),
            *([] if wanted.before else [_comparison(wanted)]),
            section("Trials", trials_table(page, wanted), id="trials"),
        ]
    )


def trials_table(page: Page[dict[str, Any]], wanted: Wanted) -> Markup:
    """Return one page of trials, and the way to the older ones."""
    grid = table(_TRIALS, [_trial_row(row) for row in page.rows], "The newest first")
    if page.next is None:
        return html([grid, element("p", "These are the oldest trials of this selection.", class_="quiet")])
    older = address("results", **_query(wanted), before=str(page.next))
    return html([grid, element("p", element("a", "Older trials", href=f"{older}#trials", class_="button"))])


def status_badge(status: str) -> Markup:
    """Return how a trial ended: green only for success."""
    kind = "good" if status == "succeeded" else "bad"
    return element("span", status.replace("_", " "), class_=f"badge status {kind}")


def nothing_found(wanted: Wanted) -> Markup:
    """Say that a selection has no trials."""
    if wanted != Wanted():
        return notice("There are no trials of this selection that you may see.")
    return notice(
        "There are no trials yet that you may see. Prepare the targets (DAG prepare_targets), then start a trial from "
        "Targets."
    )


def simulated_note(trials: Sequence[Measured], share: str = "") -> list[Markup]:
    """Return the label without which no simulated figure is shown."""
    simulated = sum(is_simulated(trial.arm.stratum.origin) for trial in trials)
    if not simulated:
        return []
    counted = "Every trial" if simulated == len(trials) else f"{simulated} of {len(trials)} trials"
    text = [element("strong", "SIMULATED"), f" {share or f'{counted} compared here'} ran on a simulator. "]
    text.append(wording.SIMULATED)
    return [element("p", text, class_="alarm", role="note")]


def _comparison(wanted: Wanted) -> Markup:
    return later(address("results/comparison", **_query(wanted)), "Comparing the trials ...", class_="tall")


def _query(wanted: Wanted) -> dict[str, str | None]:
    return {"experiment": wanted.experiment, "dag": wanted.dag, "run": wanted.run, "target": wanted.target}


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
