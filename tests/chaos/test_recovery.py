"""After a process died during a trial there is one row and at most one RayService, nothing is left, and later trials
run.

A real Airflow (api-server, scheduler with its workers, DAG processor, triggerer) on simulated clusters over HTTP, at
five virtual seconds per second. One start serves all claims; `cases` contains the disturbances. `make chaos` runs more
cases.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from airflow_components import ended_by_sigterm
from cases import ChaosRun, run_with_cases

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
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosRun]:
    """Run all cases once; the first folder contains Airflow's logs."""
    home = tmp_path_factory.mktemp("chaos")
    if EVERYTHING:
        home = Path(__file__).resolve().parents[2] / "build" / "chaos"
        shutil.rmtree(home, ignore_errors=True)
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {text}\n")
        sys.stdout.flush()

    say(f"logs and databases: {home}")
    with ended_by_sigterm(), run_with_cases(home, say, everything=EVERYTHING) as run:
        yield run


@every_cluster
def test_every_trial_is_one_row(run: ChaosRun, cluster: str) -> None:
    """Each slot of each DAG run has one row. Only a slot that was cancelled before its start has none."""
    rows = _rows(run, cluster)
    slots = [(row.trial.slot.run_id, row.trial.slot.number) for row in rows]
    assert len(set(slots)) == len(slots)
    expected = {(run_id, slot) for run_id in run.runs[DAGS[cluster]] for slot in range(SLOTS.get(cluster, 2))}
    if cluster == "cancelled":
        expected -= {(run.runs["chaos_cancelled"][0], 1)}
    assert set(slots) == expected


@every_cluster
def test_no_trial_had_two_rayservices(run: ChaosRun, cluster: str) -> None:
    """A watch from outside observed exactly one RayService per trial."""
    rows = _rows(run, cluster)
    assert sorted(run.clusters[cluster].of_each_trial().values()) == [1] * len(rows)


@every_cluster
def test_nothing_is_left(run: ChaosRun, cluster: str) -> None:
    """There is no RayService, RayCluster, pod, lock or node of any trial, and no open entry in the ledger."""
    _rows(run, cluster)
    assert run.clusters[cluster].left() == []
    assert [entry for entry in run.open_entries() if f"cluster:{cluster}/" in entry] == []


@every_cluster
def test_later_trials_succeed(run: ChaosRun, cluster: str) -> None:
    """The last trial on the cluster succeeded from a cold start: no node of a killed trial was left."""
    last = _rows(run, cluster)[-1]
    assert (last.status, last.start, last.reason) == (TrialStatus.SUCCEEDED, "cold", None)


def test_a_worker_killed_before_the_reply_attaches_again(run: ChaosRun) -> None:
    """After SIGKILL between the create and its reply, the second try finds the RayService of its trial, and the trial
    is measured normally.
    """
    first, second = _rows(run, "worker")
    task = run.task("chaos_night", "worker", 0, "apply")
    applied = run.airflow.xcom("chaos_night", run.runs["chaos_night"][0], "worker.trial_00.apply")
    assert (task["state"], applied["reattached"]) == ("success", True)
    assert task["try_number"] >= 2
    assert (first.status, first.start) == (TrialStatus.SUCCEEDED, "cold")
    assert first.total_s is not None
    assert second.total_s is not None
    # The recorder began when everything had happened: the objects alone must be sufficient.
    assert first.total_s < 2 * second.total_s


def test_a_killed_triggerer_continues_the_wait(run: ChaosRun) -> None:
    """After SIGKILL during the wait, the next triggerer waits with the original arguments and continues the trace; the
    time before counts.
    """
    first, _ = _rows(run, "triggerer")
    assert (first.status, first.start) == (TrialStatus.SUCCEEDED, "cold")
    task = run.task("chaos_night", "triggerer", 0, "wait")
    waited = run.airflow.xcom("chaos_night", run.runs["chaos_night"][0], "triggerer.trial_00.wait")
    applied = run.airflow.xcom("chaos_night", run.runs["chaos_night"][0], "triggerer.trial_00.apply")
    assert (task["state"], task["try_number"]) == ("success", 1)
    assert first.total_s is not None
    assert waited["waited_s"] > first.total_s
    lines = decode_trace(run.trace(first.trial_id)).lines
    headers = [line for line in lines if line.get("type") == "HEADER"]
    assert len(headers) >= 2
    assert {header["object"]["rayservice"]["uid"] for header in headers} == {applied["uid"]}
    assert {header["object"]["trial"]["trial_id"] for header in headers} == {first.trial_id}
    began_again = datetime.fromisoformat(headers[1]["received_at"])
    assert first.ready_at is not None
    assert datetime.fromisoformat(applied["applied_at"]) < began_again < first.ready_at


def test_a_wait_marked_failed_is_an_aborted_row(run: ChaosRun) -> None:
    """After the user marks the waiting task failed, the teardown runs, and the row names the reason."""
    first, _ = _rows(run, "user")
    assert first.status is TrialStatus.ABORTED
    assert "ended from outside" in (first.reason or "")
    assert first.total_s is None
    assert run.task("chaos_night", "user", 0, "close")["state"] == "success"


@only_in_full
def test_a_killed_teardown_is_finished_by_its_next_try(run: ChaosRun) -> None:
    """After SIGKILL following the delete, and in another trial between the row and the reply to the unlock, both rows
    contain the measurement.
    """
    rows = _rows(run, "closing")
    assert [(row.status, row.start) for row in rows] == [(TrialStatus.SUCCEEDED, "cold")] * 3
    assert all(run.task("chaos_closing", "closing", slot, "close")["try_number"] >= 2 for slot in (0, 1))


@only_in_full
def test_a_killed_setup_opens_the_same_trial_again(run: ChaosRun) -> None:
    """After SIGKILL with the lock held, the next try holds the lock, and there is one ledger entry and one row."""
    *_, last = _rows(run, "closing")
    assert run.task("chaos_closing", "closing", 2, "open")["try_number"] >= 2
    assert (last.trial.slot.number, last.status) == (2, TrialStatus.SUCCEEDED)
    assert not last.trial_id.endswith(".2")


@only_in_full
def test_a_run_marked_failed_closes_its_trial(run: ChaosRun) -> None:
    """After the user marks the whole DAG run failed, the current trial is closed as aborted, and the next run is not
    disturbed.
    """
    aborted, *others = _rows(run, "cancelled")
    assert aborted.status is TrialStatus.ABORTED
    assert "ended from outside" in (aborted.reason or "")
    assert [row.status for row in others] == [TrialStatus.SUCCEEDED] * 2


@only_in_full
def test_a_killed_scheduler_continues_its_dag_run(run: ChaosRun) -> None:
    """After SIGKILL of the scheduler and all its workers during a wait, both trials succeed after the restart."""
    assert [row.status for row in _rows(run, "restarted")] == [TrialStatus.SUCCEEDED] * 2


def _rows(run: ChaosRun, cluster: str) -> list[TrialResult]:
    if cluster not in run.clusters:
        pytest.skip(f"the case {cluster!r} runs with LLM_PROVISIONING_CHAOS=all, as `make chaos` sets it")
    return run.rows(cluster)
