"""A database of every earlier schema, with rows, is opened by this version, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up_stores import made_up_trials
from sqlalchemy import Engine, MetaData, create_engine
from test_migration import _upgrade_to

from airflow_llm_provisioning.core.result import TrialResult
from airflow_llm_provisioning.gateways.store import database
from airflow_llm_provisioning.gateways.store.results import ResultsStore

# From 0003 on a row is written as today, without the columns that came later. Before: test_migration.
EARLIER = [f"{number:04d}" for number in range(3, int(database.HEAD))]
TRIALS = 30


@pytest.fixture(scope="module")
def present(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, list[TrialResult]]]:
    """Return a database of this version with trials of every kind, and the trials."""
    url = f"sqlite:///{tmp_path_factory.mktemp('present')}/results.db"
    store = ResultsStore.open(url)
    store.save_trials(made_up_trials(3)[:TRIALS])
    found = store.trials()
    store.append_trace(found[0].trial_id, b"chunk")
    store.close()
    engine = create_engine(url)
    yield engine, found
    engine.dispose()


@pytest.mark.parametrize("revision", EARLIER)
def test_a_database_of_every_schema_is_opened_with_its_rows(
    present: tuple[Engine, list[TrialResult]], database_url: str, revision: str
) -> None:
    """Every trial is equal, with its phases and its trace, although its row lacked what later migrations fill in."""
    source, expected = present
    if database_url.startswith("sqlite:///"):
        Path(database_url.removeprefix("sqlite:///")).parent.mkdir()
    engine = create_engine(database_url)
    _upgrade_to(engine, revision)
    copied = _fill(engine, source)
    engine.dispose()
    store = ResultsStore.open(database_url)
    assert store.trials() == expected
    assert store.trace(expected[0].trial_id) == [b"chunk"]
    store.close()
    assert {"llmp_trials", "llmp_phases", "llmp_trace_chunks"} <= copied


def _fill(engine: Engine, source: Engine) -> set[str]:
    """Copy the rows of the tables and columns that the earlier schema has; return the tables."""
    earlier, present = MetaData(), MetaData()
    earlier.reflect(engine)
    present.reflect(source)
    filled = set()
    with source.connect() as reading, engine.begin() as writing:
        for table in earlier.sorted_tables:
            if table.name == "llmp_schema_version":
                continue
            rows = reading.execute(present.tables[table.name].select()).mappings().all()
            names = {column.name for column in table.columns}
            if rows:
                writing.execute(table.insert(), [{key: row[key] for key in row if key in names} for row in rows])
                filled.add(table.name)
    return filled
