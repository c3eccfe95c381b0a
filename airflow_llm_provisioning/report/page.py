"""The HTML report: one file that opens offline, with everything that a reader needs to trust or reject the numbers.

Reads the results store and optional sweep data only.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from airflow_llm_provisioning import __version__
from airflow_llm_provisioning.core.result import Preparation, TrialResult
from airflow_llm_provisioning.gateways.private_files import write_private
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.report import wording
from airflow_llm_provisioning.report.bars import legend
from airflow_llm_provisioning.report.evidence_sections import evidence_section
from airflow_llm_provisioning.report.markup import Markup, element, html
from airflow_llm_provisioning.report.results_sections import (
    SIMULATED,
    cloud_sections,
    environment_section,
    excluded_section,
    overview,
    preparations_section,
)
from airflow_llm_provisioning.report.sweep_section import sweep_section

TITLE: Final = "How fast an LLM comes up on cloud Kubernetes"


def write_report(
    path: Path, store: ResultsStore, selection: Mapping[str, Any], *, sweep: Mapping[str, Any] | None
) -> None:
    """Write the report of the trials whose columns equal the selection. Raises MissingExtraError without [report]."""
    trials = store.trials(**selection)
    main = [
        *_introduction(trials, sweep),
        *([overview(trials), *_phases_intro(), *cloud_sections(trials)] if trials else []),
        _section("Not counted", excluded_section(trials)),
        _section("Preparation", [element("p", wording.PREPARATION), preparations_section(_prepared(store, trials))]),
        *_sweep(sweep),
        _section("Environment", environment_section(trials)),
        _section("Every trial and its evidence", [element("p", wording.EVIDENCE), evidence_section(trials)]),
        _section("How to read it", [element("p", text) for text in wording.READING.split("\n\n")]),
        element("footer", f"airflow-llm-provisioning {__version__}"),
    ]
    write_private(path, _document(main))


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


def _introduction(trials: Sequence[TrialResult], sweep: Mapping[str, Any] | None) -> Iterator[Markup]:
    yield element("h1", TITLE)
    simulated = sum(trial.origin == SIMULATED for trial in trials)
    if simulated:
        share = "Every trial" if simulated == len(trials) else f"{simulated} of {len(trials)} trials"
        text = [element("strong", "SIMULATED"), f" {share} on this page ran on a simulator. {wording.SIMULATED}"]
        yield element("p", text, class_="alarm", role="note")
    if not trials:
        yield element("p", "There are no results for this selection.")
        return
    yield element("p", _summary(trials), class_="lead")
    if sweep is None and simulated:
        yield element("p", wording.NO_SWEEP, class_="quiet")


def _summary(trials: Sequence[TrialResult]) -> str:
    first, last = min(trial.opened_at for trial in trials), max(trial.closed_at for trial in trials)
    names = ", ".join(sorted({item.trial.slot.experiment for item in trials}))
    runs = ", ".join(sorted({item.trial.slot.run_id for item in trials}))
    when = f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC in the clusters' time"
    return f"Experiment {names}; {len(trials)} trials, {when}. DAG run {runs}."


def _phases_intro() -> Iterator[Markup]:
    yield element("p", wording.COMPARED)
    yield legend()


def _sweep(sweep: Mapping[str, Any] | None) -> Iterator[Markup]:
    if sweep is not None:
        label = element("p", [element("strong", "SIMULATED"), f" {wording.SWEEP}"], class_="alarm", role="note")
        yield _section("Influence of the assumptions", [label, sweep_section(sweep)])


def _section(title: str, content: Any) -> Markup:
    return element("section", [element("h2", title), html(content)])
