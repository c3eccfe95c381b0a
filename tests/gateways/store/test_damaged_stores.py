"""A results store that was edited, cut off, or is of no version that fits: a sentence, never an empty ledger."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store.owned import read_records
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.gateways.store.sql_ledger import SqlLedger

AT = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = "cluster:c/default"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one open entry."""
    found = tmp_path_factory.mktemp("whole") / "results.db"
    store = ResultsStore.open(f"sqlite:///{found}")
    store.ledger.intend("rayservice", "x", PLACE, {"a": "b"}, AT)
    store.close()
    return found


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copy(whole, tmp_path))


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE llmp_ledger SET expires_at = 'soon'", "a value in it is damaged: Invalid isoformat string: 'soon'"),
        ("UPDATE llmp_ledger SET intended_at = ''", "a value in it is damaged: Invalid isoformat string: ''"),
        ("UPDATE llmp_ledger SET tags = '{'", "a value in it is damaged: Expecting property name"),
        ("UPDATE llmp_schema_version SET version_num = '0099'", "written by a newer version of this package"),
        ("UPDATE llmp_schema_version SET version_num = '0003'", "a copy of it could not be brought up to date: table"),
        ("DELETE FROM llmp_schema_version", "a copy of it could not be brought up to date: table"),
        ("DROP TABLE llmp_schema_version", "is no results store"),
        ("DROP TABLE llmp_ledger", "no such table: llmp_ledger"),
        ("DROP TABLE llmp_trials", "no such table: llmp_trials"),
    ],
)
def test_a_store_that_cannot_be_read_is_told(path: Path, statement: str, told: str) -> None:
    """With the value or the table that is wrong; a copy that was made to read it is not named."""
    change(path, statement)
    records = read_records(f"sqlite:///{path}")
    assert records.entries is None
    assert records.problem is not None
    assert told in records.problem
    assert "llm-provisioning-" not in records.problem


@pytest.mark.parametrize("content", [b"", b"hello\n" * 1000, None], ids=["empty", "text", "cut-off"])
def test_a_file_that_is_no_store_is_told(path: Path, content: bytes | None) -> None:
    """As a full disk or a wrong path leave it."""
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    records = read_records(f"sqlite:///{path}")
    assert records.entries is None
    assert "results" in str(records.problem)


@pytest.mark.parametrize("tags", ["null", "[1]", '"a"', '{"llm-provisioning/trial": 7}'])
def test_marks_that_are_none_are_missing(path: Path, tags: str) -> None:
    """The entry stands with what it can say."""
    change(path, f"UPDATE llmp_ledger SET tags = '{tags}'")  # noqa: S608 - from this file
    (entry,) = read_records(f"sqlite:///{path}").entries or ()
    assert (entry.name, set(entry.tags.values()) - {""}) == ("x", set())


def test_an_entry_that_cannot_be_kept_longer_is_a_store_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away between the two statements of an intent that is written again."""

    def away(*_: object) -> None:
        raise OperationalError("UPDATE", {}, Exception("the server closed the connection"))

    store = ResultsStore.open(f"sqlite:///{path}")
    monkeypatch.setattr(SqlLedger, "_kept", away)
    with closing(store), pytest.raises(StoreError, match="The intent to create rayservice x could not be written"):
        store.ledger.intend("rayservice", "x", PLACE, {}, AT)
