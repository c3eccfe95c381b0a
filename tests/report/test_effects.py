"""Effects of a factorial plan, as a table, as rows for programs, in the report and as the comparison logs them."""

import json
from itertools import product
from pathlib import Path

import pytest
from trial_builders import a_result

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.connections import DEFAULT_STORE, open_store
from airflow_llm_provisioning.decisions.compare import effects_told
from airflow_llm_provisioning.gateways.store import ResultsStore


def fill(store: ResultsStore) -> None:
    """Six sets of a full plan: `fast` costs 20 s alone and saves 40 s with `baked`, which saves 300 s."""
    for at in range(6):
        for held in product((0, 1), repeat=2):
            names = [name for name, on in zip(("fast", "baked"), held, strict=True) if on]
            total_s = 1000.0 - 300 * held[1] + held[0] * (-40 if held[1] else 20) + at
            row = {"experiment": "plan", "dag_id": "nightly", "run_id": "run-1"}
            variant = ".".join(names) or "baseline"
            store.save_trial(a_result(f"{variant}-{at}", variant=variant, treatments=names, total_s=total_s, **row))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with the plan."""
    found = f"sqlite:///{tmp_path / 'results.db'}"
    store = ResultsStore.open(found)
    fill(store)
    store.close()
    return found


NEED = "fast needs baked: without it +20.0 s (95%: +20.0 to +20.0), with it -40.0 s (95%: -40.0 to -40.0)."


def test_the_table_says_what_each_saves_and_which_needs_which(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds, per cent of the baseline, and the interval."""
    assert main(["results", "--store", url, "--what", "effects"]) == 0
    out = capsys.readouterr().out
    assert "-330.0 s, -32.9 % (95%: -330.0 to -330.0 s)" in out
    assert NEED in " ".join(out.split())
    assert main(["results", "--store", url, "--what", "effects", "--format", "json"]) == 0
    rows = {(row["effect"], row["of"]): row for row in json.loads(capsys.readouterr().out)}
    assert rows["alone", "fast"]["change_s"] == 20.0
    assert rows["interaction", "baked x fast"]["change_s"] == -60.0
    assert rows["last", "fast"]["origin"] == "simulated"


def test_the_report_has_them(url: str, tmp_path: Path) -> None:
    """With the label of what is simulated."""
    pytest.importorskip("altair")
    assert main(["report", "--store", url, "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "Effect of each treatment" in page
    assert NEED in page
    assert "workload phi3-2025: simulated; baseline 1002.5 s" in page


@pytest.mark.usefixtures("results_db")
def test_the_comparison_tells_them() -> None:
    """As its task logs them, beside the table; a run of another DAG has none."""
    store = open_store()
    fill(store)
    store.close()
    told = effects_told("plan", "run-1", DEFAULT_STORE, dag_id="nightly")
    assert (
        "eks / luna / us-west-2 / static / phi3-2025: interaction baked x fast: -60.0 s (95%: -60.0 to -60.0)" in told
    )
    assert told[-1].endswith(NEED)
    assert effects_told("plan", "run-1", DEFAULT_STORE, dag_id="another") == []
