"""Every format is read back: by its project's own reader where that is installed, else against its schema."""

import csv
import io
import json
import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.core.result import PhaseResult, TrialStatus
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.report.exports import FORMATS
from airflow_llm_provisioning.report.tables import results_rows

HOSTILE = 'a|b"c\\d\n<script>*'


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Five nights of three trials of two arms with phases. One trial failed; the workload's name is hostile."""
    found = f"sqlite:///{tmp_path_factory.mktemp('exports') / 'results.db'}"
    store = ResultsStore.open(found)
    for night in range(5):
        for at in range(3):
            for variant, total_s in (("baseline", 1000.5), ("fast_download", 700.25)):
                seconds = total_s + night + at
                phases = (
                    PhaseResult("worker_image_pull", 0.1 + 0.2, 0.3, 0.3),
                    PhaseResult("model_load", seconds, 1, 2),
                )
                store.save_trial(
                    a_result(
                        f"{variant}-{night}-{at}",
                        variant=variant,
                        run_id=f"night-{night}",
                        workload=HOSTILE,
                        opened_at=OPENED_AT + timedelta(days=night, minutes=at),
                        total_s=seconds,
                        completion_s=None if at else seconds + 2,
                        phases=phases,
                    )
                )
    store.save_trial(
        a_result("bad", run_id="night-4", workload=HOSTILE, status=TrialStatus.FAILED, total_s=None, reason="=cmd()")
    )
    store.close()
    return found


def export(url: str, form: str, tmp_path: Path, *words: str) -> bytes:
    out = tmp_path / f"results.{form}"
    assert main(["results", "--store", url, "--format", form, "--out", str(out), *words]) == 0
    assert out.stat().st_mode & 0o777 == 0o600
    return out.read_bytes()


@pytest.mark.parametrize("what", ["comparison", "trials", "phases"])
def test_parquet_gives_every_value_back(url: str, tmp_path: Path, what: str) -> None:
    """Bit for bit, missing ones included, read by pyarrow."""
    parquet = pytest.importorskip("pyarrow.parquet")
    store = ResultsStore.open_for_reading(url)
    rows = results_rows(store, what, {})
    store.close()
    back = parquet.read_table(io.BytesIO(export(url, "parquet", tmp_path, "--what", what))).to_pylist()
    assert back == rows
    assert [{name: type(value) for name, value in row.items()} for row in back] == [
        {name: type(value) for name, value in row.items()} for row in rows
    ]


def test_parquet_without_its_library_is_one_sentence(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the extra and the other formats."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert main(["results", "--store", url, "--format", "parquet"]) == 2
    assert "Parquet needs pyarrow: install airflow-llm-provisioning[parquet]" in capsys.readouterr().err


def test_markdown_is_one_table_whatever_a_name_holds(url: str, tmp_path: Path) -> None:
    """Every line has the same number of cells; markup in a name is none."""
    lines = export(url, "markdown", tmp_path).decode().splitlines()
    cells = [line.replace("\\|", "").count("|") for line in lines]
    assert len(lines) == 2 + 2
    assert len(set(cells)) == 1
    assert "---:" in lines[1]
    assert "<script>" not in "\n".join(lines).replace("\\<script\\>", "")


def test_openmetrics_is_read_by_prometheus(url: str, tmp_path: Path) -> None:
    """Its own parser, which is strict: families, units, escapes, end. A value that is missing has no sample."""
    text = export(url, "openmetrics", tmp_path).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == {
        "llm_provisioning_start_seconds",
        "llm_provisioning_reduction_ratio",
        "llm_provisioning_trials",
    }
    starts = families["llm_provisioning_start_seconds"]
    assert (starts.type, starts.unit) == ("gauge", "seconds")
    medians = {s.labels["variant"]: s.value for s in starts.samples if s.labels["value"] == "median"}
    assert medians == {"baseline": 1003.5, "fast_download": 703.25}
    assert {s.labels["workload"] for s in starts.samples} == {HOSTILE}
    (saved,) = [s for s in families["llm_provisioning_reduction_ratio"].samples if s.labels["value"] == "estimate"]
    assert saved.value == pytest.approx(0.2987, abs=0.001)


def test_otava_reads_the_nights_of_one_cell(url: str, tmp_path: Path) -> None:
    """What its importer needs: an instant, a branch, and a number in every row of a metric."""
    export(url, "otava-csv", tmp_path)
    rows = nights(tmp_path)
    branches = {row["branch"] for row in rows}
    assert len(branches) == 2
    one = [row for row in rows if "/fast_download " in row["branch"]]
    assert [float(row["total_s"]) for row in one] == [701.25 + night for night in range(5)]
    assert [datetime.fromisoformat(row["time"]).tzinfo is not None for row in one] == [True] * 5
    assert {row["worker_image_pull"] for row in one} == {str(0.1 + 0.2)}


def test_otavas_own_importer_reads_it(url: str, tmp_path: Path) -> None:
    """Where it is installed: it pins another numpy than this project's dependencies, so it is in no extra."""
    importer = pytest.importorskip("otava.importer")
    config, selector = pytest.importorskip("otava.test_config"), pytest.importorskip("otava.data_selector")
    export(url, "otava-csv", tmp_path)
    chosen = selector.DataSelector()
    chosen.branch = next(line["branch"] for line in nights(tmp_path) if "/fast_download " in line["branch"])
    chosen.since_time = datetime.fromisoformat("2025-01-01T00:00:00+00:00")
    metrics = [config.CsvMetric("total_s", -1, 1.0, "total_s")]
    asked = config.CsvTestConfig("cell", str(tmp_path / "results.otava-csv"), metrics=metrics, attributes=["run_id"])
    series = importer.CsvImporter().fetch_data(asked, chosen)
    assert series.data["total_s"] == [701.25 + night for night in range(5)]


def nights(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.otava-csv").open(newline="") as file:
        return list(csv.DictReader(file))


LABELS = r"^\|[^|]+:[^|]*\|(,\|[^|]+:[^|]*\|)*$"
SAMPLE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["metric", "value", "unit", "timestamp", "test", "run_uri", "sample_uri", "labels"],
    "properties": {
        "metric": {"type": "string"}, "value": {"type": "number"}, "unit": {"type": "string"},
        "timestamp": {"type": "number"}, "test": {"type": "string"}, "product_name": {"type": "string"},
        "official": {"type": "boolean"}, "owner": {"type": "string"}, "run_uri": {"type": "string"},
        "sample_uri": {"type": "string"}, "labels": {"type": "string", "pattern": LABELS},
    },
}  # fmt: skip


def test_perfkit_has_a_sample_for_each_number_of_each_trial(url: str, tmp_path: Path) -> None:
    """As its publisher writes them; ids are unique, and what was not measured has no sample."""
    samples = [json.loads(line) for line in export(url, "perfkit-ndjson", tmp_path).decode().splitlines()]
    for sample in samples:
        jsonschema.validate(sample, SAMPLE)
    assert len(samples) == 30 * 3 + 10
    assert len({sample["sample_uri"] for sample in samples}) == len(samples)
    assert len({sample["run_uri"] for sample in samples}) == 5
    assert {sample["value"] for sample in samples if sample["metric"] == "Phase worker_image_pull"} == {0.1 + 0.2}


_STATISTICS: dict[str, Any] = {
    "type": "object",
    "required": ["units", "mean"],
    "properties": {
        "units": {"enum": ["s", "ms"]},
        "mean": {"type": "number"},
        "stddev": {"type": "number", "minimum": 0},
    },
}
REPORT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "run", "results"],
    "properties": {
        "version": {"const": "0.2.1"},
        "run": {
            "type": "object",
            "additionalProperties": False,
            "required": ["uid"],
            "properties": {
                **{name: {"type": "string"} for name in ("uid", "eid", "cid", "pid", "user", "description")},
                "keywords": {"type": "array", "items": {"type": "string"}},
                "time": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {name: {"type": "string"} for name in ("start", "end", "duration")},
                },
            },
        },
        "results": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "observability": {
                    "type": "object",
                    "required": ["deployment_startup_time"],
                    "additionalProperties": _STATISTICS,
                }
            },
        },
    },
}


def test_llm_d_has_a_report_for_each_arm(url: str, tmp_path: Path) -> None:
    """Against the fields of its schema 0.2.1: what is forbidden there, and what must be there."""
    reports = list(yaml.safe_load_all(export(url, "llm-d", tmp_path)))
    assert len(reports) == 2
    for report in reports:
        jsonschema.validate(report, REPORT)
        assert datetime.fromisoformat(report["run"]["time"]["start"]).tzinfo is not None
    times = [report["results"]["observability"]["deployment_startup_time"] for report in reports]
    assert {round(one["p50"], 2) for one in times} == {1003.5, 703.25}
    assert math.isclose(times[0]["mean"], times[0]["p50"])


@pytest.mark.parametrize("form", sorted(set(FORMATS) - {"parquet"}))
def test_an_empty_store_is_an_empty_file_and_no_error(tmp_path: Path, form: str) -> None:
    """Of every format."""
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    ResultsStore.open(empty).close()
    export(empty, form, tmp_path)


def test_a_format_of_trials_takes_no_other_table(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It would look as if the phases were in it."""
    assert main(["results", "--store", url, "--format", "llm-d", "--what", "phases"]) == 2
    assert "writes trials, not --what phases" in capsys.readouterr().err


def test_a_formula_is_a_text_in_csv(url: str, tmp_path: Path) -> None:
    """As before; and JSON has it as it is."""
    assert "'=cmd()" in export(url, "csv", tmp_path, "--what", "trials").decode()
    rows = json.loads(export(url, "json", tmp_path, "--what", "trials"))
    assert any(row["reason"] == "=cmd()" for row in rows)
