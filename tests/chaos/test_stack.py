"""Trials on the distributed set-up of `make stack`: Celery workers, Postgres, Redis, two schedulers and triggerers.

The checks run one trial with one of each, and beside it the shipped DAG `reap`. `make stack-chaos` runs one trial for
each process that can die, and kills it while the trial is recorded.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_components import NOTICED_S, ended_by_sigterm, until
from cluster_in_background import kubernetes_connection
from databases import initdb, redis_program
from distributed_processes import ON_MACHINES_OF_THEIR_OWN, PROCESSES, Stack
from process_tree import descendants
from reaped import Reaped, ReapedBesideATrial, dags_folder
from reaped import settings as reaped_settings
from stack import Airflow
from watched_cluster import WatchedCluster

from airflow_llm_provisioning.core.result import TrialResult, TrialStatus
from airflow_llm_provisioning.core.trace import decode_trace
from airflow_llm_provisioning.gateways.store import ResultsStore

EVERYTHING = os.environ.get("LLM_PROVISIONING_CHAOS") == "stack"
DAG = "chaos_stack"
TIMEOUT_S = 600.0
FINISHED = ("success", "failed")
# The engine needs so many virtual seconds: a wait that is killed in the middle must still be waiting afterwards.
COMPILE_S = 150.0 if EVERYTHING else 2.0
DISTURBANCES = ("nothing", "worker", "triggerer", "scheduler", "redis", "postgres") if EVERYTHING else ("nothing",)
# The state of a listening socket, and 127.0.0.1, in /proc/net/tcp.
LISTENS, LOOPBACK = "0A", "0100007F"
# Processes of a worker that run tasks.
CONCURRENCY = 3
ONE_OF_EACH = frozenset(name for name in PROCESSES if name.endswith("-2"))

pytestmark = [
    pytest.mark.scheduler,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(
        initdb() is None or redis_program() is None,
        reason="no Postgres or Redis server: install the extra [stack]",
    ),
]
every_disturbance = pytest.mark.parametrize("disturbance", DISTURBANCES)


@dataclass
class StackRun:
    """The trials that ran, by what was done during each; `tasks`: states and hosts of each run's tasks."""

    stack: Stack
    cluster: WatchedCluster
    rows: dict[str, TrialResult] = field(default_factory=dict)
    traces: dict[str, list[bytes]] = field(default_factory=dict)
    tasks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    open_entries: list[str] = field(default_factory=list)
    reaped: Reaped | None = None

    def store(self) -> ResultsStore:
        """Open the results store, in Postgres."""
        found = json.loads(self.stack.environment()["AIRFLOW_CONN_LLM_PROVISIONING_RESULTS"])
        place = f"{found['host']}:{found['port']}/{found['schema']}"
        return ResultsStore.open(f"postgresql+psycopg2://{found['login']}:{found['password']}@{place}")

    def wait_task(self, run_id: str) -> dict[str, Any]:
        """Return the task that waits for the endpoint."""
        found: dict[str, Any] = self.call(f"/dagRuns/{run_id}/taskInstances/stack.trial_00.wait")
        return found

    def call(self, path: str) -> Any:
        """Return an answer about the DAG; the api-server may be without its database for moments."""
        airflow: Airflow = self.stack.airflow()
        ends = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return airflow.call("GET", f"/api/v2/dags/{DAG}{path}")
            except OSError:
                if time.monotonic() > ends:
                    raise
                time.sleep(1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackRun]:
    """Run one trial after the other, each with its disturbance."""
    home = tmp_path_factory.mktemp("stack")
    if EVERYTHING:
        home = Path(__file__).resolve().parents[2] / "build" / "stack-chaos"
        shutil.rmtree(home, ignore_errors=True)
    with ended_by_sigterm(), WatchedCluster("stack", "eks", compile_s=COMPILE_S) as cluster:
        settings = {
            "AIRFLOW_CONN_CHAOS_STACK": kubernetes_connection(cluster.cluster.url),
            **reaped_settings(dags_folder(home)),
            # No server listens there, so the model's pinned revision is used.
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(NOTICED_S),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(2 * NOTICED_S),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": str(NOTICED_S),
        }
        left_out = frozenset() if EVERYTHING else ONE_OF_EACH
        with Stack(home, settings=settings, left_out=left_out) as stack:
            found = StackRun(stack, cluster)
            store = found.store()
            reap = ReapedBesideATrial(cluster, stack.airflow(), store)
            _run_trial(found, "nothing", beside=reap.unpaused)
            found.reaped = reap.result(store)
            store.close()
            for disturbance in DISTURBANCES[1:]:
                _run_trial(found, disturbance)
            store = found.store()
            found.open_entries = [entry.name for entry in store.ledger.open_entries()]
            store.close()
            yield found


def _run_trial(run: StackRun, disturbance: str, *, beside: Callable[[], None] = lambda: None) -> None:
    """Run one trial to its end. `beside`: what is begun while the trial waits."""
    run_id = run.stack.airflow().trigger(DAG)
    until(lambda: run.wait_task(run_id)["state"] in ("deferred", *FINISHED), TIMEOUT_S, "the wait is deferred")
    beside()
    began = time.monotonic()
    if disturbance != "nothing":
        assert run.wait_task(run_id)["state"] == "deferred"
        until(lambda: _recorded(run, run_id), TIMEOUT_S, "the trial is recorded")
        _DISTURB[disturbance](run, run_id)
    until(lambda: run.call(f"/dagRuns/{run_id}")["state"] in FINISHED, TIMEOUT_S, f"{run_id} has ended")
    run.tasks[disturbance] = run.call(f"/dagRuns/{run_id}/taskInstances")["task_instances"]
    store = run.store()
    (row,) = store.trials(run_id=run_id)
    run.rows[disturbance], run.traces[disturbance] = row, store.trace(row.trial_id)
    store.close()
    sys.stdout.write(
        f"{disturbance:10} {row.status} {row.total_s} s, {row.start}, flags {list(row.flags)}, "
        f"{time.monotonic() - began:.0f} s since the deferral\n"
    )
    sys.stdout.flush()


def _recorded(run: StackRun, run_id: str) -> bool:
    opened = run.call(f"/dagRuns/{run_id}/taskInstances/stack.trial_00.open/xcomEntries/return_value")["value"]
    store = run.store()
    try:
        return bool(store.trace(opened["trial_id"]))
    finally:
        store.close()


def _kill_triggerer(run: StackRun, _run_id: str) -> None:
    """Kill the triggerer that has the wait until the other one has it."""
    has, other = [name for name in PROCESSES if name.startswith("triggerer")]
    if not _watches(run, has):
        has, other = other, has
    assert _watches(run, has)
    run.stack.kill(has)
    until(lambda: _watches(run, other), TIMEOUT_S, f"the wait has moved to {other}")
    run.stack.start(has)


def _watches(run: StackRun, name: str) -> bool:
    """Return whether a process of the stack has a connection to the cluster."""
    port = int(run.cluster.cluster.url.rpartition(":")[2])
    return any(int(row[2].rpartition(":")[2], 16) == port for row in _sockets(run.stack.pid(name)))


def _sockets(process: int) -> list[list[str]]:
    """Return the lines of /proc/net/tcp and tcp6, as words, that belong to a process and what it started."""
    held = set()
    for pid in descendants(process):
        for entry in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                held.add(str(entry.readlink()))
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [words for words in map(str.split, lines) if f"socket:[{words[9]}]" in held]


def _kill_and_start(*names: str) -> Callable[[StackRun, str], None]:
    def disturb(run: StackRun, _run_id: str) -> None:
        for name in names:
            run.stack.kill(name)
        time.sleep(2)
        for name in names:
            run.stack.start(name)

    return disturb


_DISTURB: dict[str, Callable[[StackRun, str], None]] = {
    # Both, so that the one that would close the trial is among them.
    "worker": _kill_and_start("worker-1", "worker-2"),
    "triggerer": _kill_triggerer,
    "scheduler": _kill_and_start("scheduler-1"),
    "redis": _kill_and_start("redis"),
    "postgres": lambda run, _run_id: run.stack.restart("postgres"),
}


@every_disturbance
def test_a_trial_is_one_row_with_its_measurement(run: StackRun, disturbance: str) -> None:
    """In every case the trial was measured from a cold start to a valid completion."""
    row = run.rows[disturbance]
    assert (row.status, row.start, row.reason) == (TrialStatus.SUCCEEDED, "cold", None)
    assert row.total_s is not None


@every_disturbance
def test_a_disturbance_does_not_change_the_total(run: StackRun, disturbance: str) -> None:
    """The total is read from the cluster's stamps: it stays what it is without a disturbance."""
    undisturbed, total_s = run.rows["nothing"].total_s, run.rows[disturbance].total_s
    assert undisturbed is not None
    assert total_s == pytest.approx(undisturbed, rel=0.15)


@every_disturbance
def test_a_trace_is_of_one_trial(run: StackRun, disturbance: str) -> None:
    """Also a recording that two triggerers wrote is one trace with one end."""
    lines = decode_trace(run.traces[disturbance]).lines
    assert sum(line.get("type") == "END" for line in lines) == 1
    headers = [line for line in lines if line.get("type") == "HEADER"]
    assert len({header["object"]["trial"]["trial_id"] for header in headers}) == 1


def test_nothing_is_left(run: StackRun) -> None:
    """No object, lock or node of any trial, one RayService each, and no open entry in the ledger but that of the
    prepared object that has not expired.
    """
    assert run.reaped is not None
    assert run.cluster.left() == []
    assert sorted(run.cluster.of_each_trial().values()) == [1] * len(DISTURBANCES)
    assert run.open_entries == [run.reaped.kept]


def test_the_reaper_runs_every_ten_minutes_once_a_user_unpaused_it(run: StackRun) -> None:
    """Airflow has it paused, although it starts other DAGs unpaused, and does not run it. Unpaused, the scheduler runs
    it, and again ten minutes later.
    """
    reaped = run.reaped
    assert reaped is not None
    assert (reaped.before["is_paused"], reaped.early) == (True, 0)
    run_of_it = reaped.beside.run
    assert (run_of_it["run_type"], run_of_it["state"]) == ("scheduled", "success")
    this, following = (
        datetime.fromisoformat(at) for at in (run_of_it["run_after"], reaped.after["next_dagrun_run_after"])
    )
    assert following - this == timedelta(minutes=10)


def test_the_reaper_deletes_what_expired_once_no_trial_runs_and_nothing_else(run: StackRun) -> None:
    """One mapped task for each place, labelled by it. Beside a trial it leaves what the trial's place has; later it
    deletes what expired, and what has not expired and what is another owner's stay.
    """
    reaped = run.reaped
    assert reaped is not None
    for seen in (reaped.beside, reaped.later):
        tasks = [(task["task_id"], task["rendered_map_index"], task["state"]) for task in seen.tasks]
        assert sorted(tasks, key=str) == [
            ("places", None, "success"),
            ("reap_place", "cluster:stack", "success"),
            ("reap_place", "cluster:stack/default", "success"),
        ]
        assert {reaped.kept, reaped.foreign} <= set(seen.config_maps)
        assert reaped.kept in seen.open_entries
    assert [(item["kind"], item["name"]) for item in reaped.beside.deleted + reaped.later.deleted] == [
        ("ConfigMap", reaped.expired)
    ]
    assert reaped.expired not in reaped.later.config_maps
    assert reaped.expired not in reaped.later.open_entries


def test_a_trial_keeps_no_file_on_its_workers(run: StackRun) -> None:
    """Workers and triggerers have a folder each, as on machines of their own: only Airflow's settings are in it."""
    ran = [name for name in run.stack.names() if name.startswith(ON_MACHINES_OF_THEIR_OWN)]
    assert len(ran) >= len(ON_MACHINES_OF_THEIR_OWN)
    files = {path.name for name in ran for path in (run.stack.home / name).rglob("*") if path.is_file()}
    assert files == {"airflow.cfg"}


def test_everything_listens_on_this_machine_alone(run: StackRun) -> None:
    """Postgres, Redis, the api-server and each health check: their addresses are 127.0.0.1."""
    listening = [row for row in _sockets(os.getpid()) if row[3] == LISTENS]
    assert len(listening) >= len(("postgres", "redis", "api-server", "health of scheduler-1"))
    assert {row[1].partition(":")[0] for row in listening} == {LOOPBACK}


def test_a_celery_worker_forks_tasks_that_have_their_imports(run: StackRun) -> None:
    """Every process of the worker's pool has what `[llm_provisioning] preload` imports, before it runs a task."""
    mapped = {}
    for pid in descendants(run.stack.pid("worker-1"))[1:]:
        with suppress(FileNotFoundError, ProcessLookupError):
            mapped[pid] = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    # A task that has just ended has no memory any more.
    pool = {pid: files for pid, files in mapped.items() if files}
    assert len(pool) >= CONCURRENCY
    assert [pid for pid, files in pool.items() if "/aiohttp/_http_parser" not in files] == []
    log = (run.stack.home / "worker-1.log").read_text(encoding="utf-8", errors="replace")
    assert "is not preloaded" not in log
