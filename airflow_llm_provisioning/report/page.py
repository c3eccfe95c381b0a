"""The HTML report: one file that opens offline, with everything that a reader needs to trust or reject the numbers.

Reads the results store and optional sweep data only.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from airflow_llm_provisioning import __version__
from airflow_llm_provisioning.core.comparison import excluded
from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.origin import is_simulated
from airflow_llm_provisioning.core.result import Preparation, TrialResult
from airflow_llm_provisioning.decisions.cost import cost_table
from airflow_llm_provisioning.decisions.floor import floors
from airflow_llm_provisioning.gateways.private_files import write_private
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.gateways.store.selection import Selection
from airflow_llm_provisioning.report import wording
from airflow_llm_provisioning.report.bars import legend
from airflow_llm_provisioning.report.contents import anchor, contents
from airflow_llm_provisioning.report.cost_section import cost_section
from airflow_llm_provisioning.report.effects_section import effects_sections
from airflow_llm_provisioning.report.evidence_sections import evidence_section
from airflow_llm_provisioning.report.floor_section import floor_sections
from airflow_llm_provisioning.report.markup import Markup, element, html
from airflow_llm_provisioning.report.results_sections import (
    cloud_sections,
    compared_rows,
    environment_section,
    excluded_section,
    overview,
    preparations_section,
)
from airflow_llm_provisioning.report.sweep_section import sweep_section

# A trial's evidence takes some ten kilobytes of a page.
MOST_SHOWN: Final = 500
# DAG runs whose ids are written out.
MOST_NAMED: Final = 10
TITLE: Final = "How fast an LLM comes up on cloud Kubernetes"


def write_report(
    path: Path, store: ResultsStore, selection: Selection | Mapping[str, Any], *, sweep: Mapping[str, Any] | None
) -> None:
    """Write the report of the trials of a selection, or whose columns equal its values. Raises MissingExtraError
    without [report].

    The tables count all trials. Evidence is shown of the newest `MOST_SHOWN`.
    """
    wanted = Selection.equal(selection)
    measured = store.queries.measured(wanted, phases=True)
    trials = _newest(store, measured)
    head = list(_introduction(measured, trials, sweep))
    main = [
        *_compared(measured),
        *effects_sections(measured),
        *floor_sections(floors(store, wanted, measured)),
        _section("Not counted", excluded_section(trials, reasons=excluded(measured))),
        *_cost(store, wanted, measured),
        _section("Preparation", [element("p", wording.PREPARATION), preparations_section(_prepared(store, trials))]),
        *_sweep(sweep),
        _section("Environment", environment_section(trials)),
        _section("Every trial and its evidence", [element("p", wording.EVIDENCE), evidence_section(trials)]),
        _section("How to read it", [element("p", text) for text in wording.READING.split("\n\n")]),
        element("footer", f"airflow-llm-provisioning {__version__}"),
    ]
    write_private(path, _document([*head, contents(main), *main]))


def _newest(store: ResultsStore, measured: Sequence[Measured]) -> list[TrialResult]:
    """Return the newest trials with their evidence, the oldest of them first."""
    return store.trials_of([trial.trial_id for trial in measured[-MOST_SHOWN:]])


def _prepared(store: ResultsStore, trials: Sequence[TrialResult]) -> list[Preparation]:
    """Return the preparations that the trials used.

    For each step of their targets: the last one before the last trial that created something, and the last one that
    reused it. Targets are prepared in another DAG run than the trials.
    """
    targets = {item.trial.target for item in trials}
    last_at = max((trial.closed_at for trial in trials), default=None)
    known = [
        item for item in store.preparations() if item.target in targets and last_at and item.prepared_at <= last_at
    ]
    return list({(item.target, item.verb, item.reused): item for item in known}.values())


def _document(main: Sequence[Markup]) -> str:
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    head = [
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        element("title", TITLE),
        element("style", Markup(style)),
    ]
    page = element("html", [element("head", head), element("body", element("main", list(main)))], lang="en")
    return f"<!doctype html>\n{page}\n"


def _introduction(
    measured: Sequence[Measured], trials: Sequence[TrialResult], sweep: Mapping[str, Any] | None
) -> Iterator[Markup]:
    yield element("h1", TITLE)
    n = len(measured)
    simulated = sum(is_simulated(trial.arm.stratum.origin) for trial in measured)
    if simulated:
        share = "Every trial" if simulated == n else f"{simulated} of {n} trials"
        text = [element("strong", "SIMULATED"), f" {share} on this page ran on a simulator. {wording.SIMULATED}"]
        yield element("p", text, class_="alarm", role="note")
    if not trials:
        yield element("p", "There are no results for this selection.")
        return
    yield element("p", _summary(measured, trials), class_="lead")
    if n > len(trials):
        told = f"The tables count all {n} trials. What is said of single trials is said of the newest {len(trials)}."
        yield element("p", told, class_="quiet")
    if sweep is None and simulated:
        yield element("p", wording.NO_SWEEP, class_="quiet")


def _summary(measured: Sequence[Measured], trials: Sequence[TrialResult]) -> str:
    first, last = measured[0].opened_at, max(trial.closed_at for trial in trials)
    names = ", ".join(sorted({item.trial.slot.experiment for item in trials}))
    found = sorted({item.run[1] for item in measured})
    runs = f"DAG run {', '.join(found)}" if len(found) <= MOST_NAMED else f"{len(found)} DAG runs"
    when = f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC in the clusters' time"
    return f"Experiment {names}; {len(measured)} trials, {when}. {runs}."


def _compared(measured: Sequence[Measured]) -> Iterator[Markup]:
    if not measured:
        return
    rows = compared_rows(measured)
    yield overview(rows)
    yield element("p", wording.COMPARED)
    yield legend()
    yield from cloud_sections(measured, rows)


def _cost(store: ResultsStore, wanted: Selection, measured: Sequence[Measured]) -> Iterator[Markup]:
    if measured:
        yield _section("Cost and payback", cost_section(cost_table(store, wanted, measured)))


def _sweep(sweep: Mapping[str, Any] | None) -> Iterator[Markup]:
    if sweep is not None:
        label = element("p", [element("strong", "SIMULATED"), f" {wording.SWEEP}"], class_="alarm", role="note")
        yield _section("Influence of the assumptions", [label, sweep_section(sweep)])


def _section(title: str, content: Any) -> Markup:
    return element("section", [element("h2", title), html(content)], id=anchor(title))
