"""The comparison of *Results*: of one DAG run, or of the newest ones together. It is loaded after the page, because it
reads every trial that it compares.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.decisions.cost import cost_table
from airflow_llm_provisioning.decisions.floor import floors
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.gateways.store.pages import RunRow
from airflow_llm_provisioning.report import wording
from airflow_llm_provisioning.report.bars import legend
from airflow_llm_provisioning.report.cost_section import cost_section
from airflow_llm_provisioning.report.effects_section import effects_sections
from airflow_llm_provisioning.report.evidence_sections import short_name
from airflow_llm_provisioning.report.floor_section import floor_sections
from airflow_llm_provisioning.report.markup import Markup, element, folded, html, table
from airflow_llm_provisioning.report.results_sections import cloud_sections, compared_rows, overview
from airflow_llm_provisioning.ui.layout import section, trial_link
from airflow_llm_provisioning.ui.views.results import PAGE_SIZE, RUNS_COMPARED, Wanted, nothing_found, simulated_note

# A comparison of more trials would take longer than a reader waits for it.
MOST_COMPARED: Final = 1000


def comparison_view(store: ResultsStore, readable: frozenset[str], wanted: Wanted) -> Markup:
    """Return the comparison of the wanted run, or of the newest ones. `readable`: the DAGs that may be shown."""
    asked = wanted.selection(readable)
    if not wanted.run:
        asked = replace(asked, run_id=_newest(store.queries.runs(asked, limit=RUNS_COMPARED).rows))
    compared = store.queries.measured(asked, phases=True)
    if not compared:
        return nothing_found(wanted)
    rows = compared_rows(compared)
    parts = [
        *simulated_note(compared),
        overview(rows),
        legend(),
        *cloud_sections(compared, rows),
        *effects_sections(compared),
        *floor_sections(floors(store, asked, compared)),
        section("Cost and payback", cost_section(cost_table(store, asked, compared)), id="cost"),
        section("Not counted", _not_counted(compared)),
        folded("How to read it", [element("p", text) for text in wording.READING.split("\n\n")]),
    ]
    return html(parts)


def _newest(runs: Sequence[RunRow]) -> tuple[str, ...]:
    """Return the newest runs that are compared together: at least one, and not more trials than a page can hold."""
    kept: list[str] = []
    trials = 0
    for run in runs:
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
