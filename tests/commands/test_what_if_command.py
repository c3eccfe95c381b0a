"""`llm-provisioning what-if`: what it prints, what it refuses, and what it holds against later trials."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from start_builders import a_deployment

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.gateways.store import ResultsStore


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with three trials of the baseline, and later three of the fast download."""
    found = f"sqlite:///{tmp_path / 'results.db'}"
    store = ResultsStore.open(found)
    for at in range(3):
        store.save_trial(a_deployment(f"plain-{at}", {"model_loaded": 6.0 + at}, run_id="run-1", dag_id="nightly"))
        fast = {"model_loaded": 6.0 + at, "weights_downloaded": 20.0}
        store.save_trial(
            a_deployment(
                f"fast-{at}",
                fast,
                variant="fast",
                treatments=["fast_download"],
                after_s=100_000,
                run_id="run-2",
                dag_id="nightly",
            )
        )
    store.close()
    return found


def test_it_predicts_with_what_it_rests_on(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The interval, each phase with its reason and source, the assumptions, and what to do."""
    assert main(["what-if", "made-up", "--store", url, "--add", "bake_packages"]) == 0
    out = capsys.readouterr().out
    assert "eks / luna / us-west-2 / static / phi3-2025 (simulated): bake_packages" in out
    assert "90 % of later totals between" in out
    assert "worker_runtime_env: 130.0 s, then 0.0 to 6.0 s (bake_packages [" in out
    assert "ai-on-eks" in out
    assert "It rests on: phases that no changed treatment touches take what they took" in out
    assert "Run it to know." in out


def test_trials_that_were_run_are_told_and_not_seen(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The prediction of a variant with trials is made without them."""
    assert main(["what-if", "made-up", "--store", url, "--add", "fast_download", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["prediction"]["frame"].endswith("baseline")
    assert len(row["run_s"]) == 3
    assert row["confidence"] == 0.9
    assert row["prediction"]["low_s"] < min(row["run_s"]) < max(row["run_s"]) < row["prediction"]["high_s"]


def test_what_cannot_be_predicted_is_said(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No prediction is no success; a wrong name is an error with the names that are there."""
    assert main(["what-if", "made-up", "--store", url, "--add", "gke_image_streaming"]) == 2
    assert "No prediction: Treatment 'gke_image_streaming' exists on gke" in capsys.readouterr().out
    assert main(["what-if", "made-up", "--store", url, "--drop", "bake_packages"]) == 2
    assert "bake_packages cannot be dropped: variant 'baseline' has no treatments" in capsys.readouterr().out
    assert main(["what-if", "made-up", "--store", url, "--variant", "fats", "--add", "bake_packages"]) == 2
    assert "No comparable trial of variant 'fats'" in capsys.readouterr().err
    assert main(["what-if", "made-up", "--store", url]) == 2
    assert "--add and --drop" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--add", "bake_packges"], "Treatment 'bake_packges' is unknown"),
        (["--add", ""], "Treatment '' is unknown"),
        (["--add", "bake_packages", "--drop", "bake_packages"], "bake_packages is both added and dropped"),
        (["--variant", "fast", "--add", "fast_download"], "fast_download cannot be added: variant 'fast' has it"),
        (["--add", "soci_parallel_pull", "--add", "bottlerocket_snapshot"], "cannot be had together. soci_parallel_p"),
        (["--add", "capacity_buffer", "--add", "early_node"], "cannot be had together. early_node and capacity_buffer"),
        (["--add", "optimization_level_0", "--add", "optimization_level_1"], "cannot be had together. The engine's"),
        (["--add", "shared_weights", "--add", "image_volume"], "cannot be had together."),
        (["--add", "weights_stream", "--add", "shared_weights"], "cannot be had together."),
    ],
)
def test_what_cannot_be_had_is_no_prediction(
    words: list[str], told: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number for a variant that no experiment may run would be made up: exit code 2 and the reason."""
    assert main(["what-if", "made-up", "--store", url, *words]) == 2
    out = capsys.readouterr().out
    assert f"No prediction: {told}" in out.replace("No prediction: these treatments ", "No prediction: ")
    assert "90 %" not in out


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (None, "it has no trial that became ready and has milestones"),
        ({"status": "failed", "total_s": None, "phases": ()}, "are left out of comparisons (failed: 3)"),
        ({"milestones": (), "phases": ()}, "it has no trial that became ready and has milestones"),
        ({"start": "warm"}, "its trials are left out of comparisons (start warm: 3)"),
    ],
)
def test_a_store_without_a_comparable_trial_says_why(
    fields: dict[str, Any] | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No trial, failed ones, no phases, warm ones: neither a prediction nor a check was made."""
    found = f"sqlite:///{tmp_path / 'results.db'}"
    store = ResultsStore.open(found)
    for at in range(3 if fields is not None else 0):
        store.save_trial(replace(a_deployment(f"t-{at}", {}), **(fields or {})))
    store.close()
    assert main(["what-if", "made-up", "--store", found, "--add", "bake_packages"]) == 2
    assert told in capsys.readouterr().err
    assert main(["what-if", "made-up", "--store", found, "--check"]) == 2
    assert "Nothing to check." in capsys.readouterr().out


def test_it_is_held_against_later_trials(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The errors are printed, and how many totals are inside."""
    assert main(["what-if", "made-up", "--store", url, "--check"]) == 0
    out = capsys.readouterr().out
    assert "3 of 3 later totals are inside their 90 % intervals." in out
    assert "3 later trials, 3 inside, the middle off by" in out
    assert "baseline: not predicted: no other arm has three trials that ended before" in out
