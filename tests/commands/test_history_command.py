"""`llm-provisioning history` on a real store: the nights of a cell, and the change with its phase and cause."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.core.result import PhaseResult
from airflow_llm_provisioning.gateways.store.results import ResultsStore


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Twenty nights at 1000 s and four at 1200 s, whose image has another digest and takes longer to pull."""
    found = f"sqlite:///{tmp_path / 'results.db'}"
    store = ResultsStore.open(found)
    for day in range(24):
        slow = day >= 20
        pull_s = (800.0 if slow else 600.0) + day % 3
        phases = (
            PhaseResult("worker_image_pull", pull_s, pull_s, pull_s),
            PhaseResult("model_load", 400.0, 400.0, 400.0),
        )
        digest = "sha256:new" if slow else "sha256:old"
        at = OPENED_AT + timedelta(days=day)
        store.save_trial(
            a_result(
                f"night-{day}",
                run_id=f"run-{day}",
                total_s=pull_s + 400.0,
                phases=phases,
                opened_at=at,
                environment={"worker": {"image": "an/image", "image_digest": digest}},
            )
        )
    store.close()
    return found


def test_a_change_is_one_sentence(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the night, the seconds, the phase with its share, and the digest."""
    assert main(["history", "--store", url]) == 0
    out = capsys.readouterr().out
    assert "eks-plain / phi3-2025 / static / baseline (simulated): 24 nights" in out
    assert "Since 2026-01-21 (run-20) slower: 1001.0 to 1201.0 s (+20.0 %); most in worker_image_pull" in out
    assert "Changed in that night: image digest: sha256:old, now sha256:new." in out


def test_a_wanted_change_is_not_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The history begins anew, and says when it can tell again."""
    assert main(["history", "--store", url, "--expected", "run-20"]) == 0
    out = capsys.readouterr().out
    assert "slower" not in out
    assert "A change can be told in 8 more nights." in out


def test_a_wanted_change_at_a_run_that_does_not_exist_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It would change nothing, and the alarm it was meant for would be told."""
    assert main(["history", "--store", url, "--expected", "run-2O"]) == 2
    told = capsys.readouterr().err
    assert "--expected: The results store has no DAG run 'run-2O'" in told
    assert "Allowed are a date as 2026-12-01, an instant, the id of a DAG run and an image digest" in told


def test_json_holds_every_night_and_phase(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For other programs: nothing is rounded away."""
    assert main(["history", "--store", url, "--format", "json"]) == 0
    (cell,) = json.loads(capsys.readouterr().out)
    assert len(cell["nights"]) == 24
    (change,) = cell["changes"]
    assert change["phases"][0]["name"] == "worker_image_pull"
    assert change["phases"][0]["share"] == pytest.approx(1.0, abs=0.02)
    assert (cell["nights_until"], change["recovered"]) == (8, False)


def test_no_trials_are_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty store says so."""
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    ResultsStore.open(url).close()
    assert main(["history", "--store", url]) == 0
    assert "no comparable trials" in capsys.readouterr().out


def test_an_alarm_is_acknowledged_and_the_history_says_by_whom(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In a sentence and for other programs; the second time there is no alarm to acknowledge."""
    words = ["history", "--store", url, "--acknowledge", "eks-plain/phi3-2025/static/baseline", "--by", "ada"]
    assert main([*words, "--why", "the new image is larger"]) == 0
    assert "the level since run-20 is acknowledged by ada" in capsys.readouterr().out
    assert main(["history", "--store", url]) == 0
    assert "Acknowledged by ada on" in capsys.readouterr().out
    assert main(["history", "--store", url, "--format", "json"]) == 0
    (cell,) = json.loads(capsys.readouterr().out)
    assert (cell["open_alarm"], cell["changes"][0]["acknowledged"]["why"]) == (None, "the new image is larger")
    assert main([*words, "--why", "again"]) == 2
    assert main(words) == 2


def test_an_acknowledgement_creates_no_store(tmp_path: Path) -> None:
    """A mistyped path is refused."""
    words = ["--acknowledge", "a/b/c/d", "--by", "ada", "--why", "x"]
    assert main(["history", "--store", str(tmp_path / "no.db"), *words]) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_expected_change_may_be_a_date_and_no_nonsense(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first night of that day begins the new level."""
    assert main(["history", "--store", url, "--expected", "2026-01-21", "--phases"]) == 0
    assert "slower" not in capsys.readouterr().out
    assert main(["history", "--store", url, "--phases"]) == 0
    assert "Phase worker_image_pull: Since 2026-01-21" in capsys.readouterr().out
    assert main(["history", "--store", url, "--expected", ""]) == 2
