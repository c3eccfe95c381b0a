"""What dies while a trial runs leaves one row, one RayService at most, and nothing behind; the night goes on.

A real Airflow (api-server, scheduler with its workers, DAG processor, triggerer) against simulated clusters over HTTP,
at five virtual seconds a second. One start serves all claims; `cases` says what is done. `make chaos` runs more cases.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from cases import Night, lived_through

from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.trace import decode_trace

EVERYTHING = os.environ.get("LLM_PROVISIONING_CHAOS") == "all"
DAGS = {
    "worker": "chaos_night",
    "triggerer": "chaos_night",
    "user": "chaos_night",
    "closing": "chaos_closing",
    "cancelled": "chaos_cancelled",
    "restarted": "chaos_restarted",
}
SLOTS = {"closing": 3}

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(1500)]
only_in_full = pytest.mark.skipif(
    not EVERYTHING, reason="runs with LLM_PROVISIONING_CHAOS=all, as `make chaos` sets it"
)
every_cluster = pytest.mark.parametrize("cluster", sorted(DAGS))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """Live through all cases once; Airflow's logs are kept in the folder that is named first."""
    home = tmp_path_factory.mktemp("chaos")
    if EVERYTHING:
        home = Path(__file__).resolve().parents[2] / "build" / "chaos"
        shutil.rmtree(home, ignore_errors=True)
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {text}\n")
        sys.stdout.flush()

    say(f"logs and databases: {home}")
    # A polite kill unwinds as Ctrl-C does: Airflow's processes have sessions of their own and would outlive this one.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with lived_through(home, say, everything=EVERYTHING) as night:
            yield night
    finally:
        signal.signal(signal.SIGTERM, before)


@every_cluster
def test_every_trial_is_one_row(night: Night, cluster: str) -> None:
    """Each slot of each DAG run has one row, whatever happened in it; only a slot that was cancelled before it began
    has none.
    """
    rows = _rows(night, cluster)
    slots = [(row.run_id, row.slot) for row in rows]
    assert len(set(slots)) == len(slots)
    expected = {(run_id, slot) for run_id in night.runs[DAGS[cluster]] for slot in range(SLOTS.get(cluster, 2))}
    if cluster == "cancelled":
        expected -= {(night.runs["chaos_cancelled"][0], 1)}
    assert set(slots) == expected


@every_cluster
def test_no_trial_ever_had_two_rayservices(night: Night, cluster: str) -> None:
    """A watch from outside saw exactly one RayService of each trial, from the first instant to the last."""
    rows = _rows(night, cluster)
    assert sorted(night.clusters[cluster].of_each_trial().values()) == [1] * len(rows)


@every_cluster
def test_nothing_is_left(night: Night, cluster: str) -> None:
    """No RayService, RayCluster, pod, lock or node of any trial, and no open entry in the ledger."""
    _rows(night, cluster)
    assert night.clusters[cluster].left() == []
    assert [entry for entry in night.open_entries() if f"cluster:{cluster}/" in entry] == []


@every_cluster
def test_the_night_goes_on(night: Night, cluster: str) -> None:
    """The last trial on the cluster succeeded, from a cold start: it found no node of what was killed before it."""
    last = _rows(night, cluster)[-1]
    assert (last.status, last.start, last.reason) == (TrialStatus.SUCCEEDED, "cold", None)


def test_a_worker_killed_before_the_reply_attaches_again(night: Night) -> None:
    """SIGKILL after the create was carried out and before its reply: the second try finds the RayService of its own
    trial, and the trial is measured as if nothing had been.
    """
    first, second = _rows(night, "worker")
    task = night.task("chaos_night", "worker", 0, "apply")
    applied = night.airflow.xcom("chaos_night", night.runs["chaos_night"][0], "worker.trial_00.apply")
    assert (task["state"], applied["reattached"]) == ("success", True)
    assert task["try_number"] >= 2
    assert (first.status, first.start) == (TrialStatus.SUCCEEDED, "cold")
    assert first.total_s is not None
    assert second.total_s is not None
    # The recorder began when all was over: what the objects themselves say must be enough.
    assert first.total_s < 2 * second.total_s


def test_a_killed_triggerer_continues_the_wait(night: Night) -> None:
    """SIGKILL in mid-wait: the next triggerer waits with the original arguments, continues the trace, and the time
    that passed before counts.
    """
    first, _ = _rows(night, "triggerer")
    assert (first.status, first.start) == (TrialStatus.SUCCEEDED, "cold")
    task = night.task("chaos_night", "triggerer", 0, "wait")
    waited = night.airflow.xcom("chaos_night", night.runs["chaos_night"][0], "triggerer.trial_00.wait")
    applied = night.airflow.xcom("chaos_night", night.runs["chaos_night"][0], "triggerer.trial_00.apply")
    assert (task["state"], task["try_number"]) == ("success", 1)
    assert first.total_s is not None
    assert waited["waited_s"] > first.total_s
    lines = decode_trace(night.trace(first.trial_id)).lines
    headers = [line for line in lines if line.get("type") == "HEADER"]
    assert len(headers) >= 2
    assert {header["object"]["rayservice"]["uid"] for header in headers} == {applied["uid"]}
    assert {header["object"]["trial"]["trial_id"] for header in headers} == {first.trial_id}
    began_again = datetime.fromisoformat(headers[1]["received_at"])
    assert first.ready_at is not None
    assert datetime.fromisoformat(applied["applied_at"]) < began_again < first.ready_at


def test_a_wait_marked_failed_is_an_aborted_row(night: Night) -> None:
    """The user marks the waiting task failed: the teardown runs all the same, and the row says who ended it."""
    first, _ = _rows(night, "user")
    assert first.status is TrialStatus.ABORTED
    assert "ended from outside" in (first.reason or "")
    assert first.total_s is None
    assert night.task("chaos_night", "user", 0, "close")["state"] == "success"


@only_in_full
def test_a_killed_teardown_is_finished_by_its_next_try(night: Night) -> None:
    """SIGKILL after the delete, and in another trial between the row and the answer to the unlock: both rows stand
    as measured.
    """
    rows = _rows(night, "closing")
    assert [(row.status, row.start) for row in rows] == [(TrialStatus.SUCCEEDED, "cold")] * 3
    assert all(night.task("chaos_closing", "closing", slot, "close")["try_number"] >= 2 for slot in (0, 1))


@only_in_full
def test_a_killed_setup_opens_the_same_trial_again(night: Night) -> None:
    """SIGKILL after the lock was taken: the next try has it already, and there is one ledger entry and one row."""
    *_, last = _rows(night, "closing")
    assert night.task("chaos_closing", "closing", 2, "open")["try_number"] >= 2
    assert (last.slot, last.status) == (2, TrialStatus.SUCCEEDED)
    assert not last.trial_id.endswith(".2")


@only_in_full
def test_a_run_marked_failed_closes_its_trial(night: Night) -> None:
    """The user marks the whole DAG run failed: the trial under way is closed as aborted, and the next run is not
    disturbed.
    """
    aborted, *others = _rows(night, "cancelled")
    assert aborted.status is TrialStatus.ABORTED
    assert "ended from outside" in (aborted.reason or "")
    assert [row.status for row in others] == [TrialStatus.SUCCEEDED] * 2


@only_in_full
def test_a_killed_scheduler_continues_its_night(night: Night) -> None:
    """SIGKILL of the scheduler and of all its workers while a trial waits: after its restart both trials succeed."""
    assert [row.status for row in _rows(night, "restarted")] == [TrialStatus.SUCCEEDED] * 2


def _rows(night: Night, cluster: str) -> list[TrialResult]:
    if cluster not in night.clusters:
        pytest.skip(f"the case {cluster!r} runs with LLM_PROVISIONING_CHAOS=all, as `make chaos` sets it")
    return night.rows(cluster)
