"""A PostgreSQL server of its own on a free port of 127.0.0.1, with Debian's programs or those on PATH."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError


def initdb() -> Path | None:
    """Return the program that makes a server's folder, or None. Debian keeps it beside PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb")
    return debian[-1] if debian else Path(found) if found else None


@contextmanager
def postgres_server(home: Path, *, databases: Sequence[str]) -> Iterator[str]:
    """Run a server whose data is under `home`; give its URL, without a database."""
    program = initdb()
    assert program is not None
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
            _create(url, databases, home / "server.log")
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
    for folder in home.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o011)
    os.chown(home, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": home}


def _create(url: str, databases: Sequence[str], log: Path) -> None:
    engine = create_engine(f"{url}/postgres", isolation_level="AUTOCOMMIT")
    try:
        for _ in range(200):
            try:
                with engine.connect() as connection:
                    for name in databases:
                        connection.execute(text(f'CREATE DATABASE "{name}"'))
            except OperationalError:
                time.sleep(0.1)
            else:
                return
    finally:
        engine.dispose()
    raise AssertionError(f"PostgreSQL did not answer within twenty seconds: {log.read_text()}")
