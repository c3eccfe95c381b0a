"""What a teardown keeps beside a trial's row: everything that a later replay is held against."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from trace_builders import small_chunks
from trial_builders import a_planned_trial

from airflow_llm_provisioning.core.replay import replay, row_differences
from airflow_llm_provisioning.gateways.analysis_version import analysis_version
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.trials import close

AT = datetime(2026, 5, 4, 13, tzinfo=UTC)
TRIAL = a_planned_trial("night-1", variant="fast_download", treatments=("fast_download",))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResultsStore]:
    opened = ResultsStore.open(f"sqlite:///{tmp_path}/results.db")
    yield opened
    opened.close()


def test_a_closed_trial_can_be_computed_again(store: ResultsStore) -> None:
    """The whole result, by which code, and a row that says the same; a repeated teardown replaces both."""
    for chunk in small_chunks(treatments=["fast_download"]):
        store.append_trace("night-1", chunk)
    for _ in range(2):
        close._save(store, TRIAL, {}, AT, ["left over: pods/x"])
    kept, row = store.traces.analysis("night-1"), store.trial("night-1")
    assert kept is not None
    assert row is not None
    assert kept.text == replay(store.trace("night-1"))
    assert kept.version == row.analysis_version == analysis_version()
    assert row_differences(row, kept.document) == ()
    assert "left over: pods/x" in row.flags


def test_a_trial_without_a_recording_keeps_that_it_had_none(store: ResultsStore) -> None:
    """Nothing was recorded, and no number stands there."""
    close._save(store, TRIAL, {}, AT, [])
    kept = store.traces.analysis("night-1")
    assert kept is not None
    assert kept.document["total_s"] is None
    assert kept.document["flags"][0].startswith("no_trace")
