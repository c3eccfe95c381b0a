"""Rows that no trial of ours should leave, and that a store may hold: every table and export is written, and read."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.core.result import PhaseResult, TrialResult, TrialStatus
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.report.exports import FORMATS
from airflow_llm_provisioning.report.text_table import MOST_IN_CELL

FORMULA = '=HYPERLINK("http://x.example","y")'
LONG = f"{FORMULA} first {'x' * 140_000} last\n\r\x1b[31m\u202e\u2028|<script>"


def odd_rows() -> list[TrialResult]:
    """Formulas in every name, a reason of 140,000 characters, phases of some trials only, times that are none."""
    names = {"run_id": FORMULA, "dag_id": "@dag", "experiment": "+x", "workload": "-w", "variant": "=v", "region": "=r"}
    formulas = [
        a_result(
            f"{FORMULA}{at}", **names, target="\t=t", phases=(PhaseResult("=phase", 100.0 + at, 0.1, 0.1),) * (at % 2)
        )
        for at in range(6)
    ]
    letters = [a_result(f"\u00fc\u0301\U0001d4b3{at}", run_id="\u30e9\u202e", workload="w\0|`\n") for at in range(6)]
    failed = [a_result(f"f{at}", total_s=None, status=TrialStatus.FAILED, reason=LONG) for at in range(3)]
    times = [0.0, -5.0, 1e-300, float("nan"), float("inf"), float("-inf"), 1e15]
    totals = [replace(a_result(f"t{at}", closed_at=OPENED_AT), total_s=total_s) for at, total_s in enumerate(times)]
    return [*formulas, *letters, *failed, *totals]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    found = f"sqlite:///{tmp_path_factory.mktemp('odd') / 'results.db'}"
    store = ResultsStore.open(found)
    store.save_trials([])
    store.save_trials(odd_rows())
    store.close()
    return found


TABLES = ("comparison", "trials", "phases", "percentiles", "runs", "cost", "capacity", "precision")


def text_of(url: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["results", "--store", url, *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("what", TABLES)
def test_every_table_is_written_in_every_form(url: str, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has no NaN and no infinity, CSV no formula and no cell that a reader refuses, a terminal no wall of text."""
    json.loads(text_of(url, capsys, "--what", what, "--format", "json"), parse_constant=pytest.fail)
    for row in csv.reader(io.StringIO(text_of(url, capsys, "--what", what, "--format", "csv"))):
        for cell in row:
            assert len(cell) < 32_767
            assert cell.lstrip()[:1] not in ("=", "@", "+") or not cell.strip()
    table = text_of(url, capsys, "--what", what)
    assert max(map(len, table.split()), default=0) <= MOST_IN_CELL
    text_of(url, capsys, "--what", what, "--format", "markdown")


def test_the_cause_at_the_end_of_a_long_reason_stays(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its middle is left out; JSON has all of it."""
    rows = csv.DictReader(io.StringIO(text_of(url, capsys, "--what", "trials", "--format", "csv")))
    (reason,) = {row["reason"] for row in rows if row["reason"]}
    assert reason.startswith("'=HYPERLINK")
    assert " ... " in reason
    assert " last" in reason
    rows_of_json = json.loads(text_of(url, capsys, "--what", "trials", "--format", "json"))
    assert max(len(row["reason"] or "") for row in rows_of_json) > 140_000


def test_otavas_file_is_calculated_by_no_spreadsheet(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of phases are its headings."""
    rows = list(csv.reader(io.StringIO(text_of(url, capsys, "--format", "otava-csv"))))
    assert "'=phase" in rows[0]
    assert not [cell for row in rows for cell in row if cell.lstrip()[:1] in ("=", "@", "+")]


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"csv", "json", "markdown"}))
def test_every_other_export_is_written(url: str, form: str, tmp_path: Path) -> None:
    """And OpenMetrics is read by Prometheus's own parser."""
    if form == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    assert main(["results", "--store", url, "--format", form, "--out", str(out)]) == 0
    if form == "openmetrics":
        assert list(text_string_to_metric_families(out.read_text(encoding="utf-8")))
