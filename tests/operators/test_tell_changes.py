"""The alarm task on a real store: told once, in the run that makes it certain."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from operator_harness import context, run
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.core.level_notes import NoteKind
from airflow_llm_provisioning.core.result import PhaseResult
from airflow_llm_provisioning.decisions.acknowledge import acknowledge
from airflow_llm_provisioning.exceptions import ConfigurationError, TrialFailedError
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators import TellChanges


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    """Twenty nights near 1000 s, four near 1200 s, in the default store."""
    opened = open_store()
    for day in range(24):
        save(opened, day, 1000.0 + day % 3 + 200.0 * (day >= 20))
    yield opened
    opened.close()


def tell(day: int, **fields: Any) -> Any:
    return run(TellChanges(task_id="c", experiment="nightly", **fields), context(run_id=f"run-{day}"))


@pytest.mark.usefixtures("store")
def test_a_change_is_told_in_the_run_that_makes_it_certain() -> None:
    """The third slow night tells it, and the night after that it still stands; the second says nothing."""
    assert tell(21) == []
    (again,) = tell(23)
    assert (again["run_id"], again["again"]) == ("run-20", True)
    assert "still, and not acknowledged. Since 2026-01-21 (run-20) slower" in again["text"]
    (row,) = tell(22)
    assert not row["again"]
    assert (row["run_id"], row["recovered"]) == ("run-20", False)
    assert row["change_pct"] == pytest.approx(20, abs=0.5)
    assert "slower: 1001.0 to 1201.0 s" in row["text"]


@pytest.mark.usefixtures("store")
def test_it_fails_the_run_only_when_asked_and_not_for_a_wanted_change() -> None:
    """A new level that was declared is none to fail for."""
    with pytest.raises(TrialFailedError, match="slower"):
        run(TellChanges(task_id="c", experiment="nightly", fail_on_slower=True), context(run_id="run-22"))
    wanted = TellChanges(task_id="c", experiment="nightly", fail_on_slower=True, expected=["run-20"])
    assert run(wanted, context(run_id="run-22")) == []


@pytest.mark.usefixtures("store")
def test_a_run_that_measured_nothing_tells_nothing() -> None:
    """Its trials may all have failed: the judgement says so."""
    assert run(TellChanges(task_id="c", experiment="nightly"), context(run_id="another")) == []


CELL = "eks-plain/phi3-2025/static/baseline"


def test_an_acknowledged_change_does_not_alarm_again(store: ResultsStore) -> None:
    """Neither in the nights after nor in its own run when that is cleared; the run does not fail for it."""
    note = acknowledge(store, CELL, by="ada", why="The new driver is slower; a fix is on its way.")
    assert (note.run_id, note.kind, note.cell.short_name) == ("run-20", NoteKind.ACKNOWLEDGED, CELL)
    assert store.level_notes() == [note]
    assert [tell(day, fail_on_slower=True) for day in (22, 23)] == [[], []]


def test_a_further_change_and_a_recovery_alarm_all_the_same(store: ResultsStore) -> None:
    """Ten nights at the acknowledged level, then 1500 s, then the level of 1200 s again."""
    acknowledge(store, CELL, by="ada", why="known")
    for day in range(24, 42):
        slow = 1500.0 if 34 <= day < 38 else 1200.0
        save(store, day, slow + day % 3)
    (further,) = tell(36)
    assert (further["run_id"], further["recovered"], further["again"]) == ("run-34", False, False)
    assert tell(37)[0]["again"]
    (back,) = tell(40)
    assert (back["run_id"], back["recovered"]) == ("run-38", True)
    assert tell(41) == []


def test_a_declared_level_is_kept_for_every_reader(store: ResultsStore) -> None:
    """The file's entry names a date; the store then knows the run, once."""
    wanted = [{"since": "2026-01-21", "why": "another driver"}]
    assert tell(22, expected=wanted) == tell(23, expected=wanted) == []
    (note,) = store.level_notes()
    assert (note.run_id, note.kind, note.why) == ("run-20", NoteKind.EXPECTED, "another driver")
    assert tell(23) == []


@pytest.mark.parametrize(
    ("cell", "fields", "told"),
    [
        (CELL, {"why": " "}, "says who gives it and why"),
        (CELL, {"by": ""}, "says who gives it and why"),
        (CELL[:-1], {}, f"did you mean '{CELL}'"),
        (CELL, {"run_id": "run-19"}, "No change of .* begins at DAG run 'run-19'"),
        (CELL, {"origin": "measured"}, "There is no history of"),
    ],
)
def test_only_a_change_that_exists_is_acknowledged(
    store: ResultsStore, cell: str, fields: dict[str, Any], told: str
) -> None:
    """And never without a name and a reason."""
    with pytest.raises(ConfigurationError, match=told):
        acknowledge(store, cell, **{"by": "ada", "why": "known"} | fields)
    assert store.level_notes() == []


def test_without_an_open_alarm_there_is_nothing_to_acknowledge(store: ResultsStore) -> None:
    """The second time it is known already."""
    acknowledge(store, CELL, by="ada", why="known")
    with pytest.raises(ConfigurationError, match="has no open alarm"):
        acknowledge(store, CELL, by="ada", why="known")


@pytest.mark.usefixtures("store")
def test_an_expected_change_that_names_nothing_fails_the_task() -> None:
    """It is never taken for one that names something."""
    with pytest.raises(ConfigurationError, match="exactly one of since, run, digest"):
        tell(22, expected=[{"why": "because"}])


def test_a_phase_that_changed_without_the_total_is_told(results_db: Path) -> None:
    """The pull takes 60 s more and the load 60 s less, so the total says nothing."""
    opened = open_store()
    for day in range(24):
        more = 60.0 if day >= 20 else 0.0
        stages = {"worker_image_pull": 100.0 + more + day % 3, "model_load": 300.0 - more, "compile": 600.0}
        phases = tuple(PhaseResult(name, seconds, seconds, seconds) for name, seconds in stages.items())
        save(opened, day, sum(stages.values()), phases=phases)
    opened.close()
    rows = tell(22)
    assert [(row["phase"], row["phase_only"], row["run_id"]) for row in rows] == [
        ("model_load", True, "run-20"),
        ("worker_image_pull", True, "run-20"),
    ]
    assert "phase worker_image_pull: Since 2026-01-21 (run-20) slower: 101.0 to 161.0 s" in rows[1]["text"]
    assert tell(23) == []


def save(store: ResultsStore, day: int, total_s: float, **fields: Any) -> None:
    run_id = {"experiment": "nightly", "dag_id": "nightly", "run_id": f"run-{day}"}
    store.save_trial(
        a_result(f"t{day}", **run_id, opened_at=OPENED_AT + timedelta(days=day), total_s=total_s, **fields)
    )
