"""The recordings of real deployments: replay, export and import on the command line."""

import json
from pathlib import Path

import pytest

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.core.replay import replay
from airflow_llm_provisioning.core.trace_file import read_trace_file

# Totals by the receipts of the first and the last watch line, from section 4 of the recordings' README.
TOTALS_S = {"static": 47.62, "node-late": 67.43, "dynamic": 45.71, "failed": None}


@pytest.fixture(params=TOTALS_S)
def recording(request: pytest.FixtureRequest, recordings_folder: Path) -> Path:
    return recordings_folder / f"{request.param}.jsonl.gz"


def name_of(recording: Path) -> str:
    return recording.name.partition(".")[0]


def test_a_recording_replays_to_its_total(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 0, there is no earlier result, and the README's figure is inside the printed bounds."""
    assert cli.main(["replay", str(recording), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "computed"
    result, expected_s = told["result"], TOTALS_S[name_of(recording)]
    if expected_s is None:
        assert (result["total_s"], result["phases"]) == (None, [])
    else:
        assert result["total_low_s"] <= expected_s <= result["total_high_s"]
        assert result["total_s"] == pytest.approx(expected_s, abs=0.02)


def test_a_raw_recording_is_refused_and_its_redacted_copy_gives_the_same_numbers(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environment values are removed; the numbers do not change; the exported copy replays the same."""
    monkeypatch.setenv("LLM_PROVISIONING_STORE", f"sqlite:///{tmp_path}/s.db")
    assert cli.main(["trace", "import", str(recording)]) == 3
    assert cli.main(["trace", "import", str(recording), "--redact"]) == 0
    trial_id = capsys.readouterr().out.partition(":")[0]
    out = tmp_path / "out.jsonl.gz"
    assert cli.main(["trace", "export", trial_id, str(out)]) == 0
    assert replay(out.read_bytes()) == replay(recording.read_bytes())
    assert cli.main(["results"]) == 0
    assert "There are no results." in capsys.readouterr().out


def test_no_recording_looks_like_a_leak(recording: Path) -> None:
    """All findings in real output are values that redaction drops: the patterns raise no false alarm."""
    found = read_trace_file(recording.read_bytes())
    assert {finding.what for finding in found.findings} == {"a value that redaction drops"}
    assert found.cleaned().clean


def test_a_recording_with_its_result_is_the_same_later(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An earlier output is compared byte for byte."""
    earlier = tmp_path / "earlier.json"
    cli.main(["replay", str(recording), "--json"])
    earlier.write_text(capsys.readouterr().out, encoding="utf-8")
    assert cli.main(["replay", str(recording), "--against", str(earlier)]) == 0
    assert "the same, byte for byte" in capsys.readouterr().out


def test_a_recording_cut_in_the_middle_is_replayed_up_to_there(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A truncated recording is replayed up to its end, and the output says so."""
    cut = tmp_path / "cut.jsonl.gz"
    data = recording.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    assert cli.main(["replay", str(cut)]) == 0
    assert "computed up to the end of a truncated trace" in capsys.readouterr().out
