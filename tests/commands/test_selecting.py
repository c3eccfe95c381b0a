"""Commands read only the trials that are asked for, and say what cannot be asked."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.gateways.store.results import ResultsStore


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Five nights on two clouds; a second DAG has runs of the same ids; one trial of the last night failed."""
    found = f"sqlite:///{tmp_path / 'results.db'}"
    store = ResultsStore.open(found)
    made = [
        a_result(
            f"{dag}-{night}-{cloud}",
            dag_id=dag,
            run_id=f"run-{night}",
            cloud=cloud,
            opened_at=OPENED_AT + timedelta(days=night, minutes=dag == "weekly"),
            total_s=1000.0 + night,
            status=TrialStatus.FAILED if (dag, night, cloud) == ("nightly", 4, "gke") else TrialStatus.SUCCEEDED,
            reason="quota" if (dag, night, cloud) == ("nightly", 4, "gke") else None,
        )
        for night in range(5)
        for cloud in ("eks", "gke")
        for dag in (("nightly", "weekly") if night == 2 else ("nightly",))
    ]
    store.save_trials(made)
    store.close()
    return found


def rows(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main([*words, "--format", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--newest",), ["nightly-4-eks", "nightly-4-gke"]),
        (("--where", "status=failed"), ["nightly-4-gke"]),
        (("--where", "dag=weekly"), ["weekly-2-eks", "weekly-2-gke"]),
        (("--run", "run-2", "--where", "dag=nightly", "--where", "cloud=eks"), ["nightly-2-eks"]),
        (("--since", "2026-01-04", "--until", "2026-01-05T00:00:00+00:00"), ["nightly-3-eks", "nightly-3-gke"]),
        (("--limit", "1"), ["nightly-4-gke"]),
        (("--where", "cloud=eks", "--where", "cloud=gke", "--limit", "2"), ["nightly-4-eks", "nightly-4-gke"]),
        (("--where", "cloud=aks"), []),
        (("--where", "experiment=made-up' OR 1=1 --"), []),
    ],
)
def test_trials_are_selected(
    url: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], names: list[str]
) -> None:
    """By the newest run, by values, by time, and by number; a value is never part of the SQL."""
    found = rows(capsys, "results", "--store", url, "--what", "trials", *words)
    assert [row["trial_id"] for row in found] == names


def test_the_runs_of_a_store_are_listed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest last, as in the other lists, with how their trials ended."""
    found = rows(capsys, "results", "--store", url, "--what", "runs", "--limit", "3")
    assert [(row["dag_id"], row["run_id"]) for row in found] == [
        ("weekly", "run-2"),
        ("nightly", "run-3"),
        ("nightly", "run-4"),
    ]
    assert (found[-1]["comparable"], found[-1]["ended"]) == (1, "1 failed, 1 succeeded")


def test_percentiles_are_a_table(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One row per arm, for people and for programs."""
    (eks, _) = rows(capsys, "results", "--store", url, "--what", "percentiles", "--where", "dag=nightly")
    assert (eks["n"], eks["p50_s"], eks["p99_s"]) == (5, 1002.0, pytest.approx(1003.96))
    assert main(["results", "--store", url, "--what", "percentiles"]) == 0
    assert "p90_s" in capsys.readouterr().out


def test_a_run_id_of_two_dags_is_refused_with_their_names(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two DAGs of one schedule give their runs the same id; their trials are not one run's."""
    assert main(["results", "--store", url, "--run", "run-2"]) == 2
    assert "2 DAGs have a run 'run-2': nightly, weekly. Choose one" in capsys.readouterr().err
    assert main(["results", "--store", url, "--run", "run-2", "--where", "dag=weekly"]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--where", "colour=red"),
        ("--where", "cloud"),
        ("--since", "soon"),
        ("--limit", "0"),
        ("--newest", "--run", "x"),
    ],
)
def test_what_cannot_be_asked_is_refused(url: str, words: tuple[str, ...]) -> None:
    """Exit code 2, never a table of something else."""
    try:
        code = main(["results", "--store", url, *words])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2


def test_a_history_is_cut_and_selected(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the arm's key; of many nights the newest are taken, and the text says so."""
    arm = rows(capsys, "results", "--store", url, "--newest")[0]["arm"]
    (cell,) = rows(
        capsys, "history", "--store", url, "--where", f"arm={arm}", "--where", "dag=nightly", "--nights", "3"
    )
    assert [night["run_id"] for night in cell["nights"]] == ["run-2", "run-3", "run-4"]
    assert main(["history", "--store", url, "--where", f"arm={arm}", "--nights", "3"]) == 0
    assert "the newest 3 nights" in capsys.readouterr().out


def test_the_reasons_of_many_failures_are_the_newest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A year of one failure does not fill the screen; the number is told."""
    url = f"sqlite:///{tmp_path / 'failed.db'}"
    store = ResultsStore.open(url)
    store.save_trials(
        [
            a_result(
                f"t{n:02d}",
                status=TrialStatus.FAILED,
                total_s=None,
                reason="quota",
                opened_at=OPENED_AT + timedelta(days=n),
            )
            for n in range(30)
        ]
    )
    store.close()
    (row,) = rows(capsys, "results", "--store", url)
    assert row["reasons"].startswith("t10: failed, quota; ")
    assert row["reasons"].endswith("t29: failed, quota; and 10 earlier ones")


def test_a_report_of_many_trials_counts_all_and_shows_the_newest(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables are those of the whole selection."""
    pytest.importorskip("altair")
    monkeypatch.setattr("airflow_llm_provisioning.report.page.MOST_SHOWN", 3)
    out = tmp_path / "report.html"
    assert main(["report", "--store", url, "--out", str(out), "--where", "dag=nightly"]) == 0
    page = out.read_text(encoding="utf-8")
    assert "The tables count all 10 trials" in page
    assert "5 of 5" in page
    assert "trial-nightly-4-eks" in page
    assert "trial-nightly-0-eks" not in page


@pytest.mark.parametrize("command", [["owned"], ["reap"], ["reap", "--yes"]])
def test_a_command_without_an_experiment_says_where_to_name_one(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a file nor the configuration names one: a sentence, no traceback."""
    monkeypatch.delenv("AIRFLOW__LLM_PROVISIONING__EXPERIMENT_FILE", raising=False)
    assert main(command) == 2
    assert "give its file, or set [llm_provisioning] experiment_file." in capsys.readouterr().err


def test_a_folder_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence does not say that a thing is missing which is there."""
    assert main(["results", "--store", str(tmp_path)]) == 2
    assert f"{tmp_path} is no file" in capsys.readouterr().err
