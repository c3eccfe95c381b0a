"""Empty databases of each kind: SQLite files, and those of one PostgreSQL server that lives while it is measured."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine, text

# The server of the tests, which is that of `make stack`: Debian's, the one on PATH, or that of a wheel.
_ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(_ROOT / "tests" / "gateways"), str(_ROOT / "demo")]


@contextmanager
def urls(database: str, folder: Path) -> Iterator[Callable[[], str]]:
    """Give a function that returns the URL of a new empty database."""
    numbers = count()
    if database == "sqlite":
        yield lambda: f"sqlite:///{folder}/store-{next(numbers)}.db"
        return
    from postgres_server import postgres_server  # type: ignore[import-not-found] # beside the tests

    folder.chmod(0o711)
    home = folder / "postgres"
    home.mkdir()
    with postgres_server(home) as server:

        def new() -> str:
            name = f"store_{next(numbers)}"
            engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
            engine.dispose()
            return f"{server}/{name}"

        yield new
