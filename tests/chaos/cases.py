"""What is done to Airflow while trials run, each case on a cluster of its own; then everything is left to itself.

A case acts and waits for what it needs to act again; what must hold afterwards is claimed in `test_recovery`.
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

PATIENCE_S: Final = 240.0
FINISHED: Final = ("success", "failed")
Say = Callable[[str], None]


@dataclass
class Night:
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
        """Return what a slot's `open` returned."""
        task_id = f"{cluster}.trial_{slot:02d}.open"
        found: dict[str, Any] = self.airflow.xcom(dag_id, self.runs[dag_id][-1], task_id)
        return found

    def until_finished(self, dag_id: str) -> None:
        """Wait until the DAG's latest run has ended."""
        run_id = self.runs[dag_id][-1]
        until(lambda: self.airflow.run_state(dag_id, run_id) in FINISHED, 2 * PATIENCE_S, f"{dag_id} {run_id} ended")

    def until_recording(self, dag_id: str, cluster: str, slot: int = 0) -> str:
        """Wait until a slot's wait is in the triggerer and its trace has begun; return the trial's id."""

        def state() -> str:
            return str(self.task(dag_id, cluster, slot, "wait")["state"])

        until(lambda: state() in ("deferred", *FINISHED), PATIENCE_S, f"{cluster}'s wait is deferred")
        if state() != "deferred":
            raise RuntimeError(f"the wait on {cluster} is {state()} before anything happened to it")
        trial_id = str(self.trial(dag_id, cluster, slot)["trial_id"])
        until(lambda: self.trace(trial_id), PATIENCE_S, f"{cluster} is recorded")
        return trial_id

    def trace(self, trial_id: str) -> list[bytes]:
        """Return the chunks of a trial's trace."""
        store = self.airflow.store()
        try:
            return store.trace(trial_id)
        finally:
            store.close()

    def rows(self, cluster: str) -> list[TrialResult]:
        """Return the rows of a cluster's trials, in the order they were opened."""
        store = self.airflow.store()
        try:
            return store.trials(cluster=cluster)
        finally:
            store.close()

    def open_entries(self) -> list[str]:
        """Return what the ledger holds open."""
        store = self.airflow.store()
        try:
            return [f"{entry.place} {entry.name}" for entry in store.ledger.open_entries()]
        finally:
            store.close()


def kill_worker_before_the_reply(night: Night, came: Callable[[], bool]) -> None:
    """The create has reached the API server, its reply has not come back, and the worker dies."""
    until(came, PATIENCE_S, "the create came")
    night.airflow.kill_worker(night.task("chaos_night", "worker", 0, "apply"))
    night.say("worker: killed between the create and its reply")


def mark_wait_failed(night: Night) -> None:
    """The user marks the waiting task failed."""
    night.until_recording("chaos_night", "user")
    run_id = night.runs["chaos_night"][-1]
    path = f"/api/v2/dags/chaos_night/dagRuns/{run_id}/taskInstances/user.trial_00.wait"
    night.airflow.call("PATCH", path, {"new_state": "failed"})
    night.say("user: the wait was marked failed")


def kill_triggerer(night: Night) -> None:
    """The triggerer dies in mid-wait and comes back."""
    night.until_recording("chaos_night", "triggerer")
    night.airflow.kill("triggerer")
    night.say("triggerer: killed in mid-wait")
    night.airflow.start("triggerer")


def mark_wait_then_kill_triggerer(night: Night) -> None:
    """One after the other: a wait that its user gives up must not have ended while its triggerer was away."""
    mark_wait_failed(night)
    kill_triggerer(night)


def kill_closing(night: Night, deleted: Callable[[], bool]) -> None:
    """A teardown dies with its worker after the delete, the next trial's alone after the row was written; then a setup
    dies with its worker once it has the lock.
    """
    cluster = night.clusters["closing"]

    def state_of(task: str, slot: int) -> str:
        return str(night.task("chaos_closing", "closing", slot, task)["state"])

    until(deleted, PATIENCE_S, "the RayService is deleted")
    night.airflow.kill_worker(night.task("chaos_closing", "closing", 0, "close"))
    night.say("closing: killed after the delete")
    until(lambda: state_of("apply", 1) == "success", PATIENCE_S, "the next trial is under way")
    unlocked = cluster.hold("delete:leases")
    until(unlocked, PATIENCE_S, "the lock is given back")
    night.airflow.kill_task(night.task("chaos_closing", "closing", 1, "close"))
    night.say("closing: killed before the answer to the unlock")
    locked = cluster.hold("create:leases")
    until(locked, PATIENCE_S, "the next trial has the lock")
    night.airflow.kill_worker(night.task("chaos_closing", "closing", 2, "open"))
    night.say("closing: the next trial's setup was killed")


def cancel_the_run(night: Night) -> None:
    """The user marks the whole DAG run failed, and starts another one."""
    night.until_recording("chaos_cancelled", "cancelled")
    run_id = night.runs["chaos_cancelled"][-1]
    night.airflow.call("PATCH", f"/api/v2/dags/chaos_cancelled/dagRuns/{run_id}", {"state": "failed"})
    night.say("cancelled: the DAG run was marked failed")
    until(lambda: night.rows("cancelled"), PATIENCE_S, "the cancelled trial has its row")
    night.begin("chaos_cancelled")
    night.until_finished("chaos_cancelled")


def kill_scheduler(night: Night) -> None:
    """The scheduler dies with all its workers, and comes back."""
    night.until_recording("chaos_restarted", "restarted")
    night.airflow.kill("scheduler")
    night.say("restarted: the scheduler and its workers were killed")
    night.airflow.start("scheduler")


@contextmanager
def lived_through(home: Path, say: Say, *, everything: bool) -> Iterator[Night]:
    """Run the night with its cases (`everything`: all of them) and yield it when all DAG runs have ended.

    `home`: a new folder for logs and databases.
    """
    # Name -> cloud and virtual seconds the engine needs: a wait killed in the middle must still be one afterwards.
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
        # Nobody answers there: the model's pinned revision serves.
        airflow = stack.enter_context(AirflowComponents(home, connections | {"HF_ENDPOINT": "http://127.0.0.1:9"}))
        night = Night(airflow, clusters, say)
        _live_through(night, everything=everything)
        say(_described(night))
        yield night


def _live_through(night: Night, *, everything: bool) -> None:
    began = time.monotonic()
    night.say("Airflow is up")
    created = night.clusters["worker"].hold("create:rayservices")
    night.begin("chaos_night")
    cases: list[Callable[[], None]] = [
        lambda: kill_worker_before_the_reply(night, created),
        lambda: mark_wait_then_kill_triggerer(night),
    ]
    _side_by_side(cases)
    night.until_finished("chaos_night")
    night.say(f"the night is over after {time.monotonic() - began:.0f} s")
    if not everything:
        return
    deleted = night.clusters["closing"].hold("delete:rayservices")
    night.begin("chaos_closing")
    night.begin("chaos_cancelled")
    _side_by_side([lambda: kill_closing(night, deleted), lambda: cancel_the_run(night)])
    night.until_finished("chaos_closing")
    night.begin("chaos_restarted")
    kill_scheduler(night)
    night.until_finished("chaos_restarted")
    night.say(f"all is over after {time.monotonic() - began:.0f} s")


def _side_by_side(cases: list[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(len(cases)) as pool:
        for done in [pool.submit(case) for case in cases]:
            done.result()


def _described(night: Night) -> str:
    lines = []
    for name, cluster in night.clusters.items():
        for row in night.rows(name):
            total = "-" if row.total_s is None else f"{row.total_s:.1f} s"
            lines.append(f"{name:10} slot {row.slot} {row.status:10} {total:>9} {row.start:8} {row.reason or ''}")
            lines += [f"{'':10}   {flag}" for flag in row.flags]
        lines.append(f"{name:10} RayServices {json.dumps(cluster.of_each_trial())}, left: {cluster.left()}")
    return "\n".join([*lines, f"open ledger entries: {night.open_entries()}"])
