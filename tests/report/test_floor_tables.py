"""Floors on the command line, in the report and on the page: the same sentences, and every number with its source."""

import json
from pathlib import Path
from typing import Any

import pytest
from result_builders import a_trial

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.ui.views.trial import trial_view

PULLED = 'Pod p: Successfully pulled image "a" in 250s (250s including waiting). Image size: 10000000000 bytes.'
COLD = {"claim": "cold_start", "value": "yes", "evidence": [PULLED]}


def deployed(trial_id: str, **values: Any) -> Any:
    """A trial whose recording tells the size of its image."""
    return a_trial(trial_id, verdicts=[COLD], run_id="run-1", dag_id="nightly", **values)


@pytest.fixture
def store(tmp_path: Path) -> ResultsStore:
    """Three trials of the baseline, and three faster ones."""
    found = ResultsStore.open(f"sqlite:///{tmp_path / 'results.db'}")
    for at in range(3):
        found.save_trial(deployed(f"slow-{at}"))
        found.save_trial(deployed(f"fast-{at}", variant="improved", factor=0.5))
    return found


def told(text: str) -> str:
    return " ".join(text.split())


def test_the_table_says_how_far_above_its_floor_each_step_is(
    store: ResultsStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In sentences for people and in columns for programs; the floor of the whole path beside the best total only."""
    store.close()
    url = f"sqlite:///{tmp_path / 'results.db'}"
    assert main(["results", "--store", url, "--what", "floor"]) == 0
    out = told(capsys.readouterr().out)
    assert "The next 100 s are to be had in: image pull (up to 464 s)" in out
    assert "weights 32 to 80x" in out
    assert out.count("Floor of the whole cold path: 48 to 212 s; improved takes") == 1
    assert main(["results", "--store", url, "--what", "floor", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    weights = next(row for row in rows if (row["step"], row["variant"]) == ("weights", "baseline"))
    assert (weights["kind"], weights["decided_by"]) == ("physical", "network link")
    assert "g6.4xlarge" in weights["floor_source"]
    assert next(row for row in rows if row["step"] == "operator")["floor_low_s"] is None


def test_the_report_has_them(store: ResultsStore, tmp_path: Path) -> None:
    """With the origin, the sources, and the best arm of every stratum."""
    pytest.importorskip("altair")
    store.close()
    out = tmp_path / "report.html"
    assert main(["report", "--store", f"sqlite:///{tmp_path / 'results.db'}", "--out", str(out)]) == 0
    page = told(out.read_text())
    assert "Distance to the floor" in page
    assert "(simulated), best arm improved: Floor of the whole cold path" in page
    assert "gp3" in page


def test_the_page_shows_the_floor_of_one_trial(store: ResultsStore) -> None:
    """Also of a trial that does not count; nothing of one without phases."""
    store.save_trial(deployed("warm", start="warm"))
    store.save_trial(deployed("none", phases={}, total_s=None, total_low_s=None, total_high_s=None))
    warm, none = store.trial("warm"), store.trial("none")
    assert warm is not None
    assert none is not None
    assert "above the floor" in str(trial_view(store, warm))
    assert "above the floor" not in str(trial_view(store, none))
    store.close()


def test_the_facts_of_an_arm_that_pulled_nothing_are_those_of_its_stratum(store: ResultsStore) -> None:
    """An image that was on the disk has no pull: its size is the baseline's. Of another stratum it is not taken."""
    from airflow_llm_provisioning.decisions.floor import floors
    from airflow_llm_provisioning.gateways.store.selection import Selection

    plain = a_trial("there", variant="snapshot", verdicts=[], run_id="run-1", dag_id="nightly")
    store.save_trial(plain)
    store.save_trial(a_trial("elsewhere", cloud="gke", verdicts=[], run_id="run-1", dag_id="nightly"))
    found = {item.path.arm.label: item for item in floors(store, Selection())}
    assert found[plain.arm.label].cold is not None
    assert found[next(label for label in found if label.startswith("gke"))].cold is None
    store.close()
