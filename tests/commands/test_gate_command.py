"""`llm-provisioning gate`: the exit code is the verdict, also into a closed pipe."""

import subprocess
import sys
from pathlib import Path

import pytest
from trial_builders import a_result

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.gateways.store.results import ResultsStore

ARM = "eks-plain/phi3-2025/static/baseline"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A run of eight trials at about 100 s, and an older one at 120 s."""
    found = f"sqlite:///{tmp_path / 'results.db'}"
    store = ResultsStore.open(found)
    for at in range(8):
        store.save_trial(a_result(f"new-{at}", run_id="new", total_s=100.0 + at))
        store.save_trial(a_result(f"old-{at}", run_id="old", total_s=120.0 + at))
    store.close()
    return found


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--max-seconds", "110"), 0),
        (("--max-seconds", "90"), 1),
        (("--max-seconds", "103.5"), 2),
        (("--against", "old", "--max-slower", "5%"), 0),
        (("--against", "missing"), 3),
        (("--max-serving-slower", "10"), 0),
        (("--max-seconds", "90", "--max-serving-slower", "10"), 1),
    ],
)
def test_the_exit_code_is_the_verdict(url: str, words: tuple[str, ...], code: int) -> None:
    """0 passes, 1 slower, 2 undecided, 3 not judged. Wrong arguments: test_wrong_arguments."""
    assert main(["gate", "--store", url, "--run", "new", "--arm", ARM, *words]) == code
    if "--against" not in words:
        assert main(["gate", "--store", url, "--run", "new", "--arm", ARM, "--format", "json", *words]) == code


def test_a_missing_store_or_name_is_not_judged(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the sentence names the nearest arm."""
    assert main(["gate", "--store", f"{tmp_path}/no.db", "--arm", ARM, "--max-seconds", "110"]) == 3
    assert main(["gate", "--store", url, "--run", "new", "--arm", ARM[:-1], "--max-seconds", "110"]) == 3
    assert f"did you mean {ARM!r}?" in capsys.readouterr().out


def test_a_closed_pipe_does_not_make_a_slower_arm_pass(url: str) -> None:
    """The reader of the sentence is gone before it is written."""
    words = [sys.executable, "-m", "airflow_llm_provisioning.cli", "gate", "--store", url, "--run", "new"]
    running = subprocess.Popen([*words, "--arm", ARM, "--max-seconds", "90"], stdout=subprocess.PIPE)  # noqa: S603 - our own command
    assert running.stdout is not None
    running.stdout.close()
    assert running.wait(timeout=120) == 1
