"""The distributed Airflow of docker-compose.yaml as processes that can be killed and started again by their names.

Postgres and Redis, api-server, two schedulers, DAG processor, two triggerers, two Celery workers and the simulator, all
on 127.0.0.1.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from composed import BIN, compose, database_account, environment
from databases import Server, free_port, listens, postgres, redis
from process_tree import kill_tree
from stack import EXPERIMENT, ROOT, Airflow, say

START_LIMIT_S: Final = 300.0
# By name, as `kill` and `start` take them. Airflow's own log servers would listen on every interface.
PROCESSES: Final[Mapping[str, tuple[str, ...]]] = {
    "api-server": ("api-server",),
    "scheduler-1": ("scheduler", "--skip-serve-logs"),
    "scheduler-2": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer-1": ("triggerer", "--skip-serve-logs"),
    "triggerer-2": ("triggerer", "--skip-serve-logs"),
    "worker-1": ("celery", "worker", "--skip-serve-logs", "--concurrency=3", "--celery-hostname=worker-1@%h"),
    "worker-2": ("celery", "worker", "--skip-serve-logs", "--concurrency=3", "--celery-hostname=worker-2@%h"),
}
# Each has a folder of its own, so that nothing that one keeps in a file can be what another one needs.
ON_MACHINES_OF_THEIR_OWN: Final = ("worker-", "triggerer-")


class Stack:
    """The processes. Each can be killed and started again by its name; `postgres` and `redis` too.

    `extra`: further environment variables of Airflow's processes; `settings` wins over docker-compose.yaml.
    `simulated`: the clouds that the simulator runs; empty: no simulator. `left_out`: processes that are not started.
    """

    def __init__(
        self,
        home: Path,
        *,
        simulated: str = "",
        speed: float = 40.0,
        seed: int = 1,
        port: int = 0,
        settings: Mapping[str, str] = {},
        left_out: frozenset[str] = frozenset(),
    ) -> None:
        self.home = home
        self._simulated, self._speed, self._seed = simulated, speed, seed
        self._settings, self._left_out = settings, left_out
        self._port = port or free_port()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._servers: dict[str, Server] = {}
        self._environment: dict[str, str] = {}
        self._data: Path | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        try:
            self._start_all()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def airflow(self) -> Airflow:
        """Return its REST interface."""
        return Airflow(self.url, self.home / "api-server.log", tuple(self._running.values()))

    def environment(self) -> dict[str, str]:
        """Return the environment of its processes, for further programs."""
        return dict(self._environment)

    def names(self) -> list[str]:
        """Return what runs, by name."""
        return [*self._servers, *self._running]

    def pid(self, name: str) -> int:
        """Return the process id of one of Airflow's processes."""
        return self._running[name].pid

    def start(self, name: str) -> None:
        """Start one process."""
        if name in self._servers:
            self._servers[name].start()
            return
        self._run(name, [str(BIN / "airflow"), *PROCESSES[name]])

    def kill(self, name: str) -> None:
        """Kill one process and its children with SIGKILL."""
        if name in self._servers:
            self._servers[name].stop(signal.SIGKILL)
            return
        kill_tree(self._running.pop(name))

    def restart(self, name: str) -> None:
        """Stop a server as its administrator does, and start it again."""
        self._servers[name].stop()
        self._servers[name].start()

    def dead(self) -> list[str]:
        """Return what has ended by itself."""
        return [name for name, process in self._running.items() if process.poll() is not None] + [
            name for name, server in self._servers.items() if not server.alive()
        ]

    def stop(self) -> None:
        """Stop everything; the databases last."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        ends = time.monotonic() + 15
        while time.monotonic() < ends and any(process.poll() is None for process in self._running.values()):
            time.sleep(0.2)
        for name in list(self._running):
            self.kill(name)
        for server in reversed(self._servers.values()):
            server.stop()
        self._servers.clear()
        if self._data not in (None, self.home):
            shutil.rmtree(self._data, ignore_errors=True)

    def _start_all(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        user, password = database_account()
        say("Postgres and Redis ...")
        self._data = data_folder(self.home)
        self._servers["postgres"] = postgres(self._data / "postgres", user=user, password=password)
        self._servers["redis"] = redis(self._data / "redis")
        for server in self._servers.values():
            server.start()
        ports = {name: server.port for name, server in self._servers.items()} | {"api": self._port}
        self._environment = dict(os.environ) | environment(self.home, ports)
        self._make_secrets()
        self._make_databases(user, password, ports["postgres"])
        if self._simulated:
            self._start_simulator()
        self._environment |= self._settings
        say("Airflow's database ...")
        self._once("db-migrate", [str(BIN / "airflow"), "db", "migrate"])
        for name in PROCESSES:
            if name not in self._left_out:
                say(f"{name} ...")
                self.start(name)
            if name == "api-server":
                self._until(lambda: listens(self._port), "api-server")
        self._until(self._healthy, "Airflow")

    def _make_secrets(self) -> None:
        """Draw the secrets that the services share, in the files that docker-compose.yaml names."""
        folder = self.home / "secrets"
        folder.mkdir(exist_ok=True)
        for name in ("fernet_key", "jwt_secret"):
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(urlsafe_b64encode(secrets.token_bytes(32)))

    def _make_databases(self, user: str, password: str, port: int) -> None:
        import psycopg2

        ends = time.monotonic() + START_LIMIT_S
        while True:
            try:
                connection = psycopg2.connect(
                    host="127.0.0.1", port=port, user=user, password=password, dbname="postgres"
                )
                break
            except psycopg2.OperationalError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.2)
        connection.autocommit = True
        named = compose()["services"]["postgres"]["environment"]["POSTGRES_DB"]
        results = (ROOT / "docker" / "results.sql").read_text(encoding="utf-8")
        with closing(connection), connection.cursor() as cursor:
            for statement in (f"CREATE DATABASE {named}", results):
                cursor.execute(statement)

    def _start_simulator(self) -> None:
        say(f"Simulated clouds {self._simulated} ...")
        told = self.home / "simulator.json"
        command = [sys.executable, "-m", "airflow_llm_provisioning.cli", "simulator", str(EXPERIMENT)]
        command += ["--clouds", self._simulated, "--speed", str(self._speed), "--seed", str(self._seed)]
        self._run("simulator", [*command, "--base-port=0", f"--connections={told}"])
        self._until(told.exists, "simulator")
        self._environment |= json.loads(told.read_text(encoding="utf-8"))
        self._environment["LLM_PROVISIONING_CLOUDS"] = self._simulated

    def _run(self, name: str, command: list[str]) -> None:
        apart = {"AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(free_port())}
        if name.startswith(ON_MACHINES_OF_THEIR_OWN):
            apart["AIRFLOW_HOME"] = str(self.home / name)
        with (self.home / f"{name}.log").open("ab") as output:
            self._running[name] = subprocess.Popen(
                command,
                env=self._environment | apart,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _once(self, name: str, command: list[str]) -> None:
        self._run(name, command)
        if self._running.pop(name).wait(START_LIMIT_S):
            raise RuntimeError(f"{name} failed; the end of its log:\n{self._tail(name)}")

    def _until(self, ready: Any, what: str) -> None:
        ends = time.monotonic() + START_LIMIT_S
        while not ready():
            dead = self.dead()
            if dead or time.monotonic() > ends:
                name = dead[0] if dead else what
                why = "ended" if dead else f"was not ready after {START_LIMIT_S:.0f} s"
                raise RuntimeError(f"{name} {why}; the end of {self.home / name}.log:\n{self._tail(name)}")
            time.sleep(0.5)

    def _tail(self, name: str) -> str:
        log = self.home / f"{name}.log"
        return log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/monitor/health", timeout=10) as reply:  # noqa: S310
                parts = json.load(reply)
        except (OSError, ValueError):
            return False
        return all(
            (parts.get(name) or {}).get("status") == "healthy" for name in ("scheduler", "triggerer", "dag_processor")
        )


def data_folder(home: Path) -> Path:
    """Return where the databases keep their data: a folder that the user they run as can reach."""
    if os.getuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in (home, *home.resolve().parents)):
        return home
    made = Path(tempfile.mkdtemp(prefix="llm-provisioning-stack-"))
    made.chmod(0o755)
    return made
