"""The trials that run now, on SQLite and on PostgreSQL: added, changed, replaced by their results."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from trial_builders import a_planned_trial, a_result

from airflow_llm_provisioning.core.progress import Expected
from airflow_llm_provisioning.core.result import MilestoneResult, TrialStatus
from airflow_llm_provisioning.core.running import begun, news
from airflow_llm_provisioning.gateways.store import ResultsStore

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)


class Clock:
    """A clock that is set by hand."""

    now = AT

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[ResultsStore]:
    opened = ResultsStore.open(database_url, clock=clock)
    yield opened
    opened.close()


def begin(store: ResultsStore, trial_id: str, at: datetime = AT, **changes: Any) -> None:
    """Add a running trial."""
    expected = Expected(n=8, total_s=700.0, low_s=650.0, high_s=720.0)
    trial = a_planned_trial(trial_id, **changes)
    store.progress.begin(begun(trial, "open", task_id="open", at=at, expected=expected))


def test_a_running_trial_reads_back_as_it_was_told(store: ResultsStore, clock: Clock) -> None:
    """With what its arm usually takes; a change has the time of the store's clock and no secret."""
    begin(store, "t-1")
    clock.now = AT + timedelta(minutes=3)
    told = news("wait", "worker image pull", "Pod a: denied; password=hunter2secret", 192.5, task_id="wait")
    store.progress.change("t-1", told)
    (found,) = store.progress.running()
    assert store.progress.of("t-1") == found
    assert (found.step, found.phase, found.task_id, found.elapsed_s) == ("wait", "worker image pull", "wait", 192.5)
    assert (found.expected_s, found.expected_low_s, found.expected_high_s, found.expected_n) == (700.0, 650.0, 720.0, 8)
    assert (found.opened_at, found.updated_at) == (AT, clock.now)
    assert found.label == a_planned_trial("t-1").arm.label
    assert "hunter2secret" not in str(found.as_dict())
    assert found.as_dict()["updated_at"] == clock.now.isoformat()


def test_the_newest_come_first_and_only_of_the_dags_asked_for(store: ResultsStore) -> None:
    """A reader may see some DAGs only; none is not all."""
    begin(store, "t-1", dag_id="one")
    begin(store, "t-2", AT + timedelta(hours=1), dag_id="two")
    assert [one.trial_id for one in store.progress.running()] == ["t-2", "t-1"]
    assert [one.trial_id for one in store.progress.running(["one"])] == ["t-1"]
    assert store.progress.running([]) == []


def test_a_result_replaces_the_running_trial_and_a_late_write_does_not_bring_it_back(store: ResultsStore) -> None:
    """What is not deleted still runs; a thread that writes after the end changes nothing."""
    begin(store, "t-1")
    store.save_trial(a_result("t-1", status=TrialStatus.NOT_DELETED))
    assert store.progress.of("t-1") is not None
    store.save_trial(a_result("t-1"))
    store.progress.change("t-1", news("wait", "late", None, 1.0))
    assert store.progress.running() == []


def test_a_trial_that_is_opened_again_begins_anew_and_forgotten_ones_go(store: ResultsStore, clock: Clock) -> None:
    """A row of a trial whose last task never ran is removed after a week without news."""
    begin(store, "t-1")
    store.progress.change("t-1", news("wait", "worker image pull", "blocked", 99.0))
    begin(store, "t-1")
    assert [(one.step, one.blocker) for one in store.progress.running()] == [("open", None)]
    clock.now = AT + timedelta(days=8)
    begin(store, "t-2")
    assert [one.trial_id for one in store.progress.running()] == ["t-2"]


def test_what_is_expected_comes_from_the_arms_comparable_trials(store: ResultsStore) -> None:
    """Failed trials and other arms do not count; a pull's median comes from the milestones."""
    for number, total_s in enumerate((100.0, 200.0, 400.0)):
        pull = [("worker.pull_started", 10.0), ("worker.pull_finished", 10.0 + total_s / 10)]
        stones = [
            MilestoneResult(name, AT, AT + timedelta(seconds=second), "event") for name, second in pull
        ]  # fmt: skip
        store.save_trial(a_result(f"t-{number}", total_s=total_s, milestones=stones))
    store.save_trial(a_result("t-8", total_s=9000.0, status=TrialStatus.FAILED))
    store.save_trial(a_result("t-9", total_s=5.0, variant="improved"))
    arm = a_planned_trial("t-0").arm.key
    found = store.progress.expected(arm, image_bytes=7)
    assert (found.n, found.total_s, found.low_s, found.high_s) == (3, 200.0, 100.0, 400.0)
    assert found.spans == {"worker image pull": 20.0}
    assert found.image_bytes == 7
    assert store.progress.expected("no such arm") == Expected()


def test_texts_of_any_length_and_character_are_kept(store: ResultsStore) -> None:
    """A cluster's sentence never keeps a row from being written."""
    begin(store, "t-1")
    store.progress.change("t-1", news("wait", "x" * 5000, "y\x00\ud800" * 5000, 1.0))
    found = store.progress.of("t-1")
    assert found is not None
    assert len(found.phase) <= 250
    assert found.blocker is not None
    assert len(found.blocker) <= 500
