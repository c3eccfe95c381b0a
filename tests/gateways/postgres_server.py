"""A PostgreSQL server of its own on a free port of 127.0.0.1: Debian's, the one on PATH, or that of a wheel."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from databases import initdb, postgres
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

__all__ = ["initdb", "new_database", "postgres_server"]


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
    server = postgres(home, user="tester")
    server.start()
    try:
        url = f"postgresql+psycopg://tester@127.0.0.1:{server.port}"
        _wait(url)
        yield url
    finally:
        server.stop()


def _wait(url: str) -> None:
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
    raise AssertionError("PostgreSQL did not answer within a minute")
