"""A real Airflow of separate processes, each of which can be killed and restarted; task states are read from its REST
API.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from databases import free_port
from process_tree import command_line, descendants, kill_tree, parent, processes
from stack import CHEAP_PROCESSES

from airflow_llm_provisioning.gateways.store.results import ResultsStore

ROOT: Final = Path(__file__).resolve().parents[2]
DAGS: Final = Path(__file__).parent / "dags"
BIN: Final = Path(sys.prefix) / "bin"
COMPONENTS: Final = ("api-server", "scheduler", "dag-processor", "triggerer")
START_LIMIT_S: Final = 180.0
# Dead workers and triggerers are detected after this many seconds; Airflow's defaults are 300 and 30. With lower values
# a busy machine's living processes would count as dead.
NOTICED_S: Final = 20


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process like Ctrl-C: what it started has sessions of its own and would outlive it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class AirflowComponents:
    """Airflow in its own folder. `connections`: environment variables for its connections to clusters."""

    def __init__(self, home: Path, connections: Mapping[str, str]) -> None:
        self.home = home
        self.results_file = home / "results.db"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = dict(os.environ) | _settings(home, port) | dict(connections)
        self._environment["AIRFLOW_CONN_LLM_PROVISIONING_RESULTS"] = json.dumps(
            {"conn_type": "sqlite", "host": str(self.results_file)}
        )
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            self._command("db", "migrate").wait(timeout=START_LIMIT_S)
            for component in COMPONENTS:
                self.start(component)
            until(self._healthy, START_LIMIT_S, f"Airflow is healthy; see {self.home}/*.log")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, component: str) -> None:
        """Start one component in its own session."""
        self._running[component] = self._command(component)

    def kill(self, component: str) -> None:
        """Kill one component and all its child processes with SIGKILL."""
        kill_tree(self._running.pop(component))

    def workers(self) -> list[int]:
        """Return the processes of the scheduler's workers and of the tasks that they run."""
        scheduler = self._running.get("scheduler")
        children = descendants(scheduler.pid)[1:] if scheduler else []
        return [pid for pid in children if command_line(pid).startswith("airflow worker -- ")]

    def kill_task(self, task: Mapping[str, Any]) -> None:
        """Kill the process group of a task instance; its worker stays alive and notices it."""
        os.killpg(_task_process(task), signal.SIGKILL)

    def kill_worker(self, task: Mapping[str, Any]) -> None:
        """Kill the worker of a task instance and the task's process group, so that no process reports the death."""
        child = _task_process(task)
        supervisor = parent(child)
        if not command_line(supervisor).startswith("airflow worker -- LocalExecutor"):
            raise RuntimeError(f"the parent of a task is no worker but {command_line(supervisor)!r}")
        # The supervisor first: it must not report the death of its child.
        os.kill(supervisor, signal.SIGKILL)
        os.killpg(child, signal.SIGKILL)

    def stop(self) -> None:
        """Stop all components."""
        for component in list(self._running):
            self.kill(component)

    def trigger(self, dag_id: str) -> str:
        """Start a DAG run when the DAG is known; return the run's id."""
        until(lambda: self._knows(dag_id), START_LIMIT_S, f"DAG {dag_id} is known")
        started = self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": {}})
        return str(started["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return a DAG run's state."""
        return str(self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Return a task instance: {id, state, try_number, ...}."""
        found: dict[str, Any] = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")
        return found

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return a task's result."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.call("GET", path)["value"]

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON answer of the REST API."""
        with urllib.request.urlopen(f"{self.url}/auth/token", timeout=60) as reply:  # noqa: S310 - our own http address
            token = json.load(reply)["access_token"]
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
            return json.load(reply)

    def store(self) -> ResultsStore:
        """Open its results store."""
        return ResultsStore.open(f"sqlite:///{self.results_file}")

    def _knows(self, dag_id: str) -> bool:
        try:
            self.call("GET", f"/api/v2/dags/{dag_id}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            wrong = self.call("GET", "/api/v2/importErrors")["import_errors"]
            if wrong:
                raise RuntimeError(f"A DAG file cannot be imported: {wrong[0]['stack_trace']}") from error
            return False
        return True

    def _command(self, *words: str) -> "subprocess.Popen[bytes]":
        with (self.home / f"{words[0]}.log").open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - our own program
                [str(BIN / "airflow"), *words],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _healthy(self) -> bool:
        dead = [name for name, process in self._running.items() if process.poll() is not None]
        if dead:
            raise RuntimeError(f"Airflow's {', '.join(dead)} ended by itself; see {self.home}/*.log")
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/monitor/health", timeout=10) as reply:  # noqa: S310
                parts = json.load(reply)
        except (OSError, ValueError):
            return False
        return all((parts.get(name) or {}).get("status") == "healthy" for name in ("scheduler", "triggerer"))


def until(holds: Callable[[], Any], limit_s: float, what: str) -> None:
    """Wait until a condition is true."""
    ends = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > ends:
            raise TimeoutError(f"waited {limit_s:.0f} s until {what}, in vain")
        time.sleep(0.25)


def _settings(home: Path, port: int) -> dict[str, str]:
    """Return the settings: its own folder, this machine only, no login, few processes, early detection of dead
    processes.
    """
    sections = {
        "API": {"HOST": "127.0.0.1", "PORT": port, "WORKERS": 1},
        "API_AUTH": {"JWT_SECRET": "made-up-secret-of-a-test-that-is-long-enough-for-every-hash-there-is"},
        "CORE": {
            "DAGS_FOLDER": DAGS,
            "LOAD_EXAMPLES": False,
            "DAGS_ARE_PAUSED_AT_CREATION": False,
            "SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
            "EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "PARALLELISM": 4,
        },
        "LOGGING": {"WORKER_LOG_SERVER_PORT": free_port(), "TRIGGER_LOG_SERVER_PORT": free_port()},
        "OPERATORS": {"DEFAULT_DEFERRABLE": True},
        "SCHEDULER": {
            "JOB_HEARTBEAT_SEC": 1,
            "SCHEDULER_IDLE_SLEEP_TIME": 0.5,
            "SCHEDULER_HEALTH_CHECK_THRESHOLD": NOTICED_S,
            "ORPHANED_TASKS_CHECK_INTERVAL": 5,
            "TASK_INSTANCE_HEARTBEAT_SEC": 2,
            "TASK_INSTANCE_HEARTBEAT_TIMEOUT": NOTICED_S,
            "TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 2,
            "TRIGGER_TIMEOUT_CHECK_INTERVAL": 2,
        },
        "TRIGGERER": {"JOB_HEARTBEAT_SEC": 1, "TRIGGERER_HEALTH_CHECK_THRESHOLD": NOTICED_S},
        "WORKERS": {"MIN_HEARTBEAT_INTERVAL": 1},
    }
    named = {
        f"AIRFLOW__{section}__{key}": str(value) for section, keys in sections.items() for key, value in keys.items()
    }
    return named | {
        "AIRFLOW_HOME": str(home / "airflow"),
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONWARNINGS": "ignore",
        "NO_PROXY": "127.0.0.1",
        **CHEAP_PROCESSES,
    }


def _task_process(task: Mapping[str, Any]) -> int:
    """Return the process, leader of its group, that runs a task instance (Airflow sets its title)."""
    title = f"airflow worker -- {task['id']}"
    (found,) = [pid for pid in processes() if command_line(pid).startswith(title)]
    return found
