"""The alarm task on a real store: told once, in the run that makes it certain."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from operator_harness import context, run
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.connections import open_store
from airflow_llm_provisioning.exceptions import TrialFailedError
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.operators import TellChanges


@pytest.fixture
def store(results_db: Path) -> Iterator[ResultsStore]:
    """Twenty nights near 1000 s, four near 1200 s, in the default store."""
    opened = open_store()
    for day in range(24):
        at, slow = OPENED_AT + timedelta(days=day), 200.0 * (day >= 20)
        opened.save_trial(
            a_result(
                f"t{day}",
                experiment="nightly",
                dag_id="nightly",
                run_id=f"run-{day}",
                opened_at=at,
                total_s=1000.0 + day % 3 + slow,
            )
        )
    yield opened
    opened.close()


@pytest.mark.usefixtures("store")
def test_a_change_is_told_in_the_run_that_makes_it_certain() -> None:
    """The third slow night tells it; the nights before and after say nothing."""
    told = {
        day: run(TellChanges(task_id="c", experiment="nightly"), context(run_id=f"run-{day}")) for day in (21, 22, 23)
    }
    assert (told[21], told[23]) == ([], [])
    (row,) = told[22]
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
