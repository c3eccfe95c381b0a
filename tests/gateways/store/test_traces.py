"""Traces in the store: chunks, analyses, and imported traces that are not mixed with trials."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from trace_builders import small_chunks

from airflow_llm_provisioning.core.result import Computed
from airflow_llm_provisioning.gateways.store.analysis_version import analysis_version
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.gateways.store.traces import CHUNK_BYTES, ImportedTrace

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
FOUND = ImportedTrace("imported-1", AT, "a.jsonl.gz", "measured", "night-1", redacted=2)


@pytest.fixture
def store(database_url: str) -> Iterator[ResultsStore]:
    opened = ResultsStore.open(database_url)
    yield opened
    opened.close()


def test_an_imported_trace_is_stored_once_and_is_no_trial(store: ResultsStore) -> None:
    """Its bytes and its analysis are returned unchanged; no table has a row of it."""
    data = b"".join(small_chunks()) * (CHUNK_BYTES // 200)
    assert len(data) > 2 * CHUNK_BYTES
    computed = Computed("0.1+x", '{"total_s": 1.5}\n')
    assert store.traces.add_imported(FOUND, data, computed)
    assert not store.traces.add_imported(FOUND, b"another", None)
    assert b"".join(store.trace("imported-1")) == data
    assert store.traces.analysis("imported-1") == computed
    assert store.traces.imported("imported-1") == FOUND
    assert store.trials() == []


def test_own_and_imported_traces_are_distinguished(store: ResultsStore) -> None:
    """The list shows which traces are imported."""
    store.append_trace("night-1", b"chunk")
    store.append_trace("night-1", b"chunk")
    store.traces.add_imported(FOUND, b"data", None)
    listed = {item.trial_id: item for item in store.traces.listed()}
    assert listed["night-1"].imported is None
    assert listed["night-1"].size_bytes == 10
    assert listed["imported-1"].imported == FOUND
    assert listed["imported-1"].analysis_version is None
    assert store.traces.imported("night-1") is None


def test_a_trace_without_a_kept_result_has_none(store: ResultsStore) -> None:
    """The missing result is None, not empty."""
    store.append_trace("night-1", b"chunk")
    assert store.traces.analysis("night-1") is None


def test_a_result_keeps_every_character(store: ResultsStore) -> None:
    """Even half a surrogate pair from a log is kept: the comparison is byte for byte."""
    computed = Computed("1", '{"x": "µ \ud800"}\n')
    store.traces.add_imported(FOUND, b"data", computed)
    assert store.traces.analysis("imported-1") == computed


def test_a_store_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """Existing rows keep everything; values that were not stored then are missing."""
    from alembic import command
    from alembic.config import Config

    from airflow_llm_provisioning.gateways.store import database

    url = f"sqlite:///{tmp_path}/old.db"
    engine = create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text("INSERT INTO llmp_trace_chunks (trial_id, position, written_at, data) VALUES ('t', 0, :at, :data)"),
            {"at": AT.replace(tzinfo=None).isoformat(" "), "data": b"x"},
        )
    engine.dispose()
    opened = ResultsStore.open(url)
    assert opened.trace("t") == [b"x"]
    assert opened.traces.analysis("t") is None
    assert opened.trials() == []
    opened.close()


def test_the_analysis_names_its_own_code() -> None:
    """The version contains the package's version and a fingerprint of its core, the same every time."""
    version, _, fingerprint = analysis_version().partition("+core.")
    assert version
    assert len(fingerprint) == 12
    assert analysis_version() == analysis_version.__wrapped__()


def test_another_source_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One changed line of the core changes it; line ends do not."""
    from airflow_llm_provisioning.gateways.store import analysis_version as module

    def version_of(source: bytes) -> str:
        (tmp_path / "core" / "timing").mkdir(parents=True, exist_ok=True)
        (tmp_path / "core" / "timing" / "a.py").write_bytes(source)
        return analysis_version.__wrapped__()

    monkeypatch.setattr(module, "files", lambda _package: tmp_path)
    assert version_of(b"x = 1\ny = 2\n") == version_of(b"x = 1\r\ny = 2\r\n")
    assert version_of(b"x = 1\n") != version_of(b"x = 2\n")
