"""The disturbances of Airflow while trials run, each on its own cluster.

A case acts and waits for what it needs for its next action. `test_recovery` checks the result.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from airflow_components import AirflowComponents, until
from cluster_in_background import kubernetes_connection
from watched_cluster import WatchedCluster

from airflow_llm_provisioning.core.result import TrialResult

TIMEOUT_S: Final = 240.0
FINISHED: Final = ("success", "failed")
# Virtual seconds of an engine's start in a trial to which nothing happens.
UNDISTURBED_S: Final = 2.0
Say = Callable[[str], None]


@dataclass
class ChaosRun:
    """Clusters, Airflow, and the DAG runs on them, by DAG."""

    airflow: AirflowComponents
    clusters: Mapping[str, WatchedCluster]
    say: Say
    runs: dict[str, list[str]] = field(default_factory=dict)

    def begin(self, dag_id: str) -> str:
        """Start a DAG run."""
        run_id = self.airflow.trigger(dag_id)
        self.runs.setdefault(dag_id, []).append(run_id)
        return run_id

    def task(self, dag_id: str, cluster: str, slot: int, task: str) -> dict[str, Any]:
        """Return a task instance of a slot in the DAG's latest run."""
        return self.airflow.task(dag_id, self.runs[dag_id][-1], f"{cluster}.trial_{slot:02d}.{task}")

    def trial(self, dag_id: str, cluster: str, slot: int) -> dict[str, Any]:
        """Return the result of a slot's `open` task."""
        task_id = f"{cluster}.trial_{slot:02d}.open"
        found: dict[str, Any] = self.airflow.xcom(dag_id, self.runs[dag_id][-1], task_id)
        return found

    def until_finished(self, dag_id: str) -> None:
        """Wait until the DAG's latest run has ended."""
        run_id = self.runs[dag_id][-1]
        until(lambda: self.airflow.run_state(dag_id, run_id) in FINISHED, 2 * TIMEOUT_S, f"{dag_id} {run_id} ended")

    def until_recording(self, dag_id: str, cluster: str, slot: int = 0) -> str:
        """Wait until a slot's wait is in the triggerer and its trace has begun; return the trial's id."""

        def state() -> str:
            return str(self.task(dag_id, cluster, slot, "wait")["state"])

        until(lambda: state() in ("deferred", *FINISHED), TIMEOUT_S, f"{cluster}'s wait is deferred")
        if state() != "deferred":
            raise RuntimeError(f"the wait on {cluster} is {state()} before anything happened to it")
        trial_id = str(self.trial(dag_id, cluster, slot)["trial_id"])
        until(lambda: self.trace(trial_id), TIMEOUT_S, f"{cluster} is recorded")
        return trial_id

    def trace(self, trial_id: str) -> list[bytes]:
        """Return the chunks of a trial's trace."""
        store = self.airflow.store()
        try:
            return store.trace(trial_id)
        finally:
            store.close()

    def rows(self, cluster: str) -> list[TrialResult]:
        """Return the rows of a cluster's trials, in the order of their opening."""
        store = self.airflow.store()
        try:
            return store.trials(cluster=cluster)
        finally:
            store.close()

    def open_entries(self) -> list[str]:
        """Return the open entries of the ledger."""
        store = self.airflow.store()
        try:
            return [f"{entry.place} {entry.name}" for entry in store.ledger.open_entries()]
        finally:
            store.close()


def quicken_the_next_slot(run: ChaosRun, cluster: str) -> None:
    """When the disturbed trial's wait is over, let the engines of the cluster's next trial start at once."""
    over = (*FINISHED, "upstream_failed")
    until(
        lambda: run.task("chaos_night", cluster, 0, "wait")["state"] in over, 2 * TIMEOUT_S, f"{cluster}'s wait is over"
    )
    run.clusters[cluster].start_engines_in(UNDISTURBED_S)


def kill_worker_before_the_reply(run: ChaosRun, arrived: Callable[[], bool]) -> None:
    """Kill the worker when its create request has reached the API server and before the reply."""
    until(arrived, TIMEOUT_S, "the create arrived")
    run.airflow.kill_worker(run.task("chaos_night", "worker", 0, "apply"))
    run.say("worker: killed between the create and its reply")


def mark_wait_failed(run: ChaosRun) -> None:
    """Mark the waiting task failed."""
    run.until_recording("chaos_night", "user")
    run_id = run.runs["chaos_night"][-1]
    path = f"/api/v2/dags/chaos_night/dagRuns/{run_id}/taskInstances/user.trial_00.wait"
    run.airflow.call("PATCH", path, {"new_state": "failed"})
    run.say("user: the wait was marked failed")


def kill_triggerer(run: ChaosRun) -> None:
    """Kill the triggerer during the wait and restart it."""
    run.until_recording("chaos_night", "triggerer")
    run.airflow.kill("triggerer")
    run.say("triggerer: killed in mid-wait")
    run.airflow.start("triggerer")


def mark_wait_then_kill_triggerer(run: ChaosRun) -> None:
    """Mark a wait failed, then kill its triggerer: a wait must not end while its triggerer is away."""
    mark_wait_failed(run)
    kill_triggerer(run)
    for cluster in ("user", "triggerer"):
        quicken_the_next_slot(run, cluster)


def kill_closing(run: ChaosRun, deleted: Callable[[], bool]) -> None:
    """Kill a teardown with its worker after the delete, the next trial's teardown after the row was written, and then a
    setup with its worker when it holds the lock.
    """
    cluster = run.clusters["closing"]

    def state_of(task: str, slot: int) -> str:
        return str(run.task("chaos_closing", "closing", slot, task)["state"])

    until(deleted, TIMEOUT_S, "the RayService is deleted")
    run.airflow.kill_worker(run.task("chaos_closing", "closing", 0, "close"))
    run.say("closing: killed after the delete")
    until(lambda: state_of("apply", 1) == "success", TIMEOUT_S, "the next trial is under way")
    unlocked = cluster.hold("delete:leases")
    until(unlocked, TIMEOUT_S, "the lock is given back")
    run.airflow.kill_task(run.task("chaos_closing", "closing", 1, "close"))
    run.say("closing: killed before the answer to the unlock")
    locked = cluster.hold("create:leases")
    until(locked, TIMEOUT_S, "the next trial has the lock")
    run.airflow.kill_worker(run.task("chaos_closing", "closing", 2, "open"))
    run.say("closing: the next trial's setup was killed")


def cancel_the_run(run: ChaosRun) -> None:
    """Mark the whole DAG run failed, and start another one."""
    run.until_recording("chaos_cancelled", "cancelled")
    run_id = run.runs["chaos_cancelled"][-1]
    run.airflow.call("PATCH", f"/api/v2/dags/chaos_cancelled/dagRuns/{run_id}", {"state": "failed"})
    run.say("cancelled: the DAG run was marked failed")
    until(lambda: run.rows("cancelled"), TIMEOUT_S, "the cancelled trial has its row")
    run.begin("chaos_cancelled")
    run.until_finished("chaos_cancelled")


def kill_scheduler(run: ChaosRun) -> None:
    """Kill the scheduler with all its workers, and restart it."""
    run.until_recording("chaos_restarted", "restarted")
    run.airflow.kill("scheduler")
    run.say("restarted: the scheduler and its workers were killed")
    run.airflow.start("scheduler")


@contextmanager
def run_with_cases(home: Path, say: Say, *, everything: bool) -> Iterator[ChaosRun]:
    """Run all DAGs with the cases (`everything`: all of them) and yield the state when all DAG runs have ended.

    `home`: a new folder for logs and databases.
    """
    # Name -> cloud and virtual seconds that the engine needs: a wait killed in the middle must still be waiting
    # afterwards.
    wanted: dict[str, tuple[str, float]] = {"worker": ("eks", 2), "triggerer": ("gke", 150), "user": ("aks", 60)}
    if everything:
        wanted |= {"closing": ("eks", 2), "cancelled": ("gke", 60), "restarted": ("aks", 100)}
    with ExitStack() as stack:
        clusters = {
            name: stack.enter_context(WatchedCluster(name, cloud, compile_s=compile_s))
            for name, (cloud, compile_s) in wanted.items()
        }
        connections = {
            f"AIRFLOW_CONN_CHAOS_{name.upper()}": kubernetes_connection(cluster.cluster.url)
            for name, cluster in clusters.items()
        }
        # No server listens there, so the model's pinned revision is used.
        airflow = stack.enter_context(AirflowComponents(home, connections | {"HF_ENDPOINT": "http://127.0.0.1:9"}))
        run = ChaosRun(airflow, clusters, say)
        _run_cases(run, everything=everything)
        say(_described(run))
        yield run


def _run_cases(run: ChaosRun, *, everything: bool) -> None:
    began = time.monotonic()
    run.say("Airflow is up")
    created = run.clusters["worker"].hold("create:rayservices")
    run.begin("chaos_night")
    cases: list[Callable[[], None]] = [
        lambda: kill_worker_before_the_reply(run, created),
        lambda: mark_wait_then_kill_triggerer(run),
    ]
    _side_by_side(cases)
    run.until_finished("chaos_night")
    run.say(f"the run is over after {time.monotonic() - began:.0f} s")
    if not everything:
        return
    deleted = run.clusters["closing"].hold("delete:rayservices")
    run.begin("chaos_closing")
    run.begin("chaos_cancelled")
    _side_by_side([lambda: kill_closing(run, deleted), lambda: cancel_the_run(run)])
    run.until_finished("chaos_closing")
    run.begin("chaos_restarted")
    kill_scheduler(run)
    run.until_finished("chaos_restarted")
    run.say(f"all is over after {time.monotonic() - began:.0f} s")


def _side_by_side(cases: list[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(len(cases)) as pool:
        for done in [pool.submit(case) for case in cases]:
            done.result()


def _described(run: ChaosRun) -> str:
    lines = []
    for name, cluster in run.clusters.items():
        for row in run.rows(name):
            total = "-" if row.total_s is None else f"{row.total_s:.1f} s"
            lines.append(
                f"{name:10} slot {row.trial.slot.number} {row.status:10} {total:>9} {row.start:8} {row.reason or ''}"
            )
            lines += [f"{'':10}   {flag}" for flag in row.flags]
        lines.append(f"{name:10} RayServices {json.dumps(cluster.of_each_trial())}, left: {cluster.left()}")
    return "\n".join([*lines, f"open ledger entries: {run.open_entries()}"])
