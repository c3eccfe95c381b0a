"""What a teardown keeps: the row, everything that a later replay is held against, and what it says without a store."""

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from trace_builders import small_chunks
from trial_builders import a_planned_trial

from airflow_llm_provisioning.core.replay import replay, row_differences
from airflow_llm_provisioning.core.result import TrialStatus
from airflow_llm_provisioning.core.trial import Access
from airflow_llm_provisioning.exceptions import NotDeletedError, StoreError
from airflow_llm_provisioning.gateways.store.analysis_version import analysis_version
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.trials import close

AT = datetime(2026, 5, 4, 13, tzinfo=UTC)
LOG = logging.getLogger("x")
TRIAL = replace(
    a_planned_trial("night-1", variant="fast_download", treatments=("fast_download",)),
    access=Access(cluster={"conn_id": "c"}, cloud=None, results_conn_id="r"),
)


def closing(*flags: str) -> close.Closing:
    return {"closed_at": AT.isoformat(), "flags": list(flags), "states": {}}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ResultsStore]:
    url = f"sqlite:///{tmp_path}/results.db"
    monkeypatch.setattr("airflow_llm_provisioning.connections.open_store", lambda _: ResultsStore.open(url))
    monkeypatch.setattr(close, "STORE_PAUSES_S", (0.01, 0.01))
    opened = ResultsStore.open(url)
    yield opened
    opened.close()


def test_a_closed_trial_can_be_computed_again(store: ResultsStore) -> None:
    """The whole result, by which code, and a row that says the same; a repeated teardown replaces both."""
    for chunk in small_chunks(treatments=["fast_download"]):
        store.append_trace("night-1", chunk)
    for _ in range(2):
        asyncio.run(close.write_row(TRIAL, closing("a flag"), LOG))
    kept, row = store.traces.analysis("night-1"), store.trial("night-1")
    assert kept is not None
    assert row is not None
    assert kept.text == replay(store.trace("night-1"))
    assert kept.version == row.analysis_version == analysis_version()
    assert row_differences(row, kept.document) == ()
    assert (row.closed_at, "a flag" in row.flags) == (AT, True)


def test_a_trial_without_a_recording_keeps_that_it_had_none(store: ResultsStore) -> None:
    """Nothing was recorded, and no number stands there."""
    asyncio.run(close.write_row(TRIAL, closing(), LOG))
    kept = store.traces.analysis("night-1")
    assert kept is not None
    assert kept.document["total_s"] is None
    assert kept.document["flags"][0].startswith("no_trace")


def with_entry(store: ResultsStore) -> Any:
    assert TRIAL.opened is not None
    entry = store.ledger.intend("rayservice", "x", "cluster:c/default", {}, AT)
    return replace(TRIAL, opened=replace(TRIAL.opened, ledger_entry=entry))


def test_a_written_row_closes_the_ledger_and_a_trial_that_is_left_does_not(store: ResultsStore) -> None:
    """The entry says whether something may still exist: it ends with the trial that was seen gone, and only then."""
    trial = with_entry(store)
    asyncio.run(close.record_unclosed(trial, {}, NotDeletedError("RayService x is left.")))
    assert [entry.name for entry in store.ledger.open_entries()] == ["x"]
    asyncio.run(close.write_row(trial, closing(), LOG))
    assert store.ledger.open_entries() == []


def test_a_trial_that_is_left_is_not_deleted_in_its_row(store: ResultsStore) -> None:
    """It never counts, its reason names what is left and how the deployment itself ended, and its number is kept."""
    for chunk in small_chunks():
        store.append_trace("night-1", chunk)
    asyncio.run(close.record_unclosed(TRIAL, {}, NotDeletedError("RayService x is left.")))
    row = store.trial("night-1")
    assert row is not None
    assert (row.status, row.exclusion) == (TrialStatus.NOT_DELETED, "not_deleted")
    assert row.reason == "not deleted: RayService x is left. The deployment itself: succeeded"
    assert row.total_s is not None


def test_a_store_that_comes_back_gets_its_row(
    store: ResultsStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first failure is said at once, and the row is written by a later try of the same task."""
    opens = [StoreError("The store is away."), store]

    def flaky(_conn_id: str) -> Any:
        found = opens.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr("airflow_llm_provisioning.connections.open_store", flaky)
    asyncio.run(close.write_row(TRIAL, closing(), LOG))
    assert "The row of trial night-1 is tried again in 0.01 s: The store is away." in caplog.text
    assert store.trial("night-1") is not None


def test_a_store_that_stays_away_ends_with_a_sentence_and_the_rows_content(
    store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither minutes nor silence: the tries are bounded, and what the row would say is in the error."""
    for chunk in small_chunks():
        store.append_trace("night-1", chunk)

    def read_only(*_: Any) -> None:
        raise StoreError("Writing failed.")

    monkeypatch.setattr(ResultsStore, "save_trial", read_only)
    with pytest.raises(
        close.UnwrittenRowError, match=r"night-1 is deleted and its cluster is free.*Writing failed"
    ) as e:
        asyncio.run(close.write_row(TRIAL, closing("a flag"), LOG))
    assert e.value.row["total_s"] is not None
    assert "a flag" in e.value.row["flags"]


def test_a_store_that_swallows_packets_holds_nothing(store: ResultsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never answers: each try ends at its own limit."""
    monkeypatch.setattr("airflow_llm_provisioning.connections.open_store", lambda _: time.sleep(20))
    monkeypatch.setattr(close, "STORE_LIMIT_S", 0.05)
    began = time.monotonic()
    with pytest.raises(close.UnwrittenRowError, match=r"did not answer within 0\.05 s") as raised:
        asyncio.run(close.write_row(TRIAL, closing(), LOG))
    assert time.monotonic() - began < 10
    assert raised.value.row == {}
