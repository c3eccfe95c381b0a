"""A store moves between kinds of databases with every row, and goes on numbering where it was."""

from pathlib import Path

from made_up_stores import made_up_trials
from postgres_server import new_database

from airflow_llm_provisioning.gateways.store.copying import copy_store, rows_of
from airflow_llm_provisioning.gateways.store.results import ResultsStore


def test_there_and_back_again(postgres: str, tmp_path: Path) -> None:
    """SQLite to PostgreSQL to SQLite: the same results, and a new row in each gets the next number."""
    first = ResultsStore.open(f"sqlite:///{tmp_path}/first.db")
    trials = made_up_trials(1, nights=3)
    first.save_trials(trials)
    first.note_outcome("t", "wait", "failed", None)
    first.append_trace("t", b"\x00\xff")
    last = ResultsStore.open(f"sqlite:///{tmp_path}/last.db")
    with new_database(postgres) as url:
        middle = ResultsStore.open(url)
        copy_store(first._engine, middle._engine)
        copy_store(middle._engine, last._engine)
        for store in (middle, last):
            assert rows_of(store._engine) == rows_of(first._engine)
            assert store.trials() == first.trials()
            assert store.queries.comparison() == first.queries.comparison()
            assert store.trace("t") == [b"\x00\xff"]
            store.note_outcome("t", "wait", "succeeded", None)
            assert [each["status"] for each in store.outcomes("t")] == ["failed", "succeeded"]
        middle.close()
    first.close()
    last.close()
