"""The processes of `make demo` and `make ui`: the simulator and a real Airflow, on 127.0.0.1, in their own folder.

All end with the caller: each runs in its own session, which is interrupted and then killed.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
DAGS: Final = ROOT / "airflow_llm_provisioning" / "example_dags"
EXPERIMENT: Final = DAGS / "experiments" / "simulated.yaml"
START_LIMIT_S: Final = 180.0
COMPONENTS: Final = (
    ("api-server",),
    ("scheduler", "--skip-serve-logs"),
    ("dag-processor",),
    ("triggerer", "--skip-serve-logs"),
)
# What makes an Airflow quick on a machine of two cores, by Airflow's settings.
CHEAP_PROCESSES: Final[Mapping[str, str]] = {
    # Parsing each file every 30 s, Airflow's default, takes a fifth of a core. A changed file is parsed at once.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    # Imports are six sevenths of a task's processor time.
    "AIRFLOW__LLM_PROVISIONING__PRELOAD": "True",
}


@dataclass(frozen=True)
class Airflow:
    """A running Airflow. `log`: the log file of its processes. `passwords`: the file of its users' passwords, where it
    asks for a login.
    """

    url: str
    log: Path
    processes: "tuple[subprocess.Popen[bytes], ...]"
    passwords: Path | None = None
    _tokens: list[str] = field(default_factory=list, repr=False)

    def alive(self) -> bool:
        """Return whether every component is running."""
        return all(process.poll() is None for process in self.processes)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout_s: float = 60) -> Any:
        """Return the JSON answer of its REST API, asked as an administrator."""
        request = urllib.request.Request(  # noqa: S310 - an http address of this program
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token()}"},
        )
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310
            return json.load(reply)

    def trigger(self, dag_id: str) -> str:
        """Start a DAG run when the DAG is known; return the run's id."""
        for _ in range(120):
            try:
                started = self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": {}})
                return str(started["dag_run_id"])
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise SystemExit(f"The DAG run was refused: {error.read().decode()}") from error
                time.sleep(1)
        raise SystemExit(f"Airflow does not know the DAG {dag_id}; see {self.log}")

    def password(self, user: str) -> str:
        """Return the password that Airflow's simple auth manager made for a user."""
        assert self.passwords is not None, "this Airflow has no login"  # noqa: S101 - only tests ask
        return str(json.loads(self.passwords.read_text(encoding="utf-8"))[user])

    def _token(self) -> str:
        """Log in once: a token is valid for a day."""
        if not self._tokens:
            self._tokens.append(self._login())
        return self._tokens[0]

    def _login(self) -> str:
        request: Any = f"{self.url}/auth/token"
        if self.passwords is not None:
            login = json.dumps({"username": "admin", "password": self.password("admin")}).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(request, method="POST", data=login, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            return str(json.load(reply)["access_token"])


@contextmanager
def simulator(
    home: Path, *, clouds: str, speed: float, seed: int, base_port: int = 0, experiment: Path = EXPERIMENT
) -> Iterator[dict[str, str]]:
    """Run the simulator; yield Airflow's environment variables for it, the experiment's file among them."""
    connections = home / "simulator.json"
    connections.unlink(missing_ok=True)
    command = [sys.executable, "-m", "airflow_llm_provisioning.cli", "simulator", str(experiment)]
    command += ["--clouds", clouds, "--speed", str(speed), "--seed", str(seed)]
    command += ["--base-port", str(base_port), "--connections", str(connections)]
    with _running(command, os.environ, home / "simulator.log") as process:
        _until(connections.exists, [process], home / "simulator.log", "the simulator")
        made: dict[str, str] = json.loads(connections.read_text(encoding="utf-8"))
        yield made | {"LLM_PROVISIONING_EXPERIMENT": str(experiment)}


@contextmanager
def airflow(
    home: Path, environment: Mapping[str, str], *, clouds: str, port: int = 0, users: str | None = None
) -> Iterator[Airflow]:
    """Run api-server, scheduler, DAG processor and triggerer; yield when all four are healthy. `users`: who may log in,
    as `name:role,...` with an admin of that name; None: no login, and everybody is an administrator.
    """
    port = port or _free_port()
    settings = dict(os.environ) | environment | airflow_settings(home, port) | {"LLM_PROVISIONING_CLOUDS": clouds}
    passwords: Path | None = None
    if users is not None:
        passwords = home / "airflow" / "simple_auth_manager_passwords.json.generated"
        settings |= {
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        }
    log = home / "airflow.log"
    command = str(Path(sys.prefix) / "bin" / "airflow")
    # Four processes instead of `standalone`, whose memory and log servers are not needed on one machine.
    with ExitStack() as components:
        with _running([command, "db", "migrate"], settings, log) as migration:
            migration.wait(timeout=START_LIMIT_S)
        processes = tuple(
            components.enter_context(_running([command, *component], settings, log)) for component in COMPONENTS
        )
        running = Airflow(f"http://127.0.0.1:{port}", log, processes, passwords)
        _until(lambda: _healthy(running.url), processes, log, "Airflow")
        yield running


def airflow_settings(home: Path, port: int) -> dict[str, str]:
    """Return the settings of this Airflow: its own folder, this machine only, no login, few processes."""
    return {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        # There are many short threads; without this setting glibc keeps a memory arena for each.
        "MALLOC_ARENA_MAX": "2",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(_free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(_free_port()),
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        # Airflow starts its command by name.
        "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONWARNINGS": "ignore",
        "NO_PROXY": "127.0.0.1",
        **CHEAP_PROCESSES,
    }


def results_file(home: Path) -> Path:
    """Return the results store of the Airflow in this folder."""
    return home / "airflow" / "llm_provisioning" / "results.db"


def remember_store(home: Path) -> None:
    """Let `llm-provisioning results` of this Python environment read the store of the Airflow in this folder."""
    from airflow_llm_provisioning.commands.stored import DEMO_STORE

    (Path(sys.prefix) / DEMO_STORE).write_text(f"{results_file(home)}\n", encoding="utf-8")


def interrupt_on_signals() -> None:
    """Make SIGTERM and a closed terminal end this program like Ctrl-C.

    Its children have their own sessions and would otherwise outlive it. SIGINT is set too: a shell's background job
    ignores it, and its children would inherit that.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _running(command: list[str], environment: Mapping[str, str], log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        # After an interrupt, Airflow's components end their children too.
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=15)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=15)


def _until(ready: Any, processes: "Sequence[subprocess.Popen[bytes]]", log: Path, what: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not ready():
        if any(process.poll() is not None for process in processes) or time.monotonic() > deadline:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""
            raise SystemExit(f"{what} did not start; the end of {log}:\n{tail}")
        time.sleep(0.3)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5) as reply:  # noqa: S310
            parts = json.load(reply)
    except (OSError, ValueError, urllib.error.URLError):
        return False
    return all(
        (parts.get(name) or {}).get("status") == "healthy" for name in ("scheduler", "triggerer", "dag_processor")
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
