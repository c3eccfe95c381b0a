"""What a teardown keeps beside a trial's row: everything that a later replay is held against."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from trace_builders import small_chunks

from airflow_llm_provisioning.core.replay import replay, row_differences
from airflow_llm_provisioning.gateways.analysis_version import analysis_version
from airflow_llm_provisioning.gateways.store import ResultsStore
from airflow_llm_provisioning.operators import closing

AT = datetime(2026, 5, 4, 13, tzinfo=UTC)
TRIAL: dict[str, Any] = {
    "experiment": "e", "target": "t", "cluster": "c", "cloud": "eks", "setup": "static", "variant": "fast_download",
    "profile": "p", "replicate": 0, "slot": 0, "seed": 1, "trial_id": "night-1", "run_id": "r", "dag_id": "d",
    "rayservice": "trial-a", "namespace": "serving", "image": "i", "treatments": ["fast_download"],
    "origin": "simulated", "opened_at": "2026-05-04T12:00:00+00:00",
    "model": {"model_id": "m", "revision": "v", "source": "pinned"},
}  # fmt: skip


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
        closing._save(store, TRIAL, {}, AT, ["left over: pods/x"])
    kept, row = store.traces.analysis("night-1"), store.trial("night-1")
    assert kept is not None
    assert row is not None
    assert kept.text == replay(store.trace("night-1"))
    assert kept.version == row.analysis_version == analysis_version()
    assert row_differences(row, kept.document) == ()
    assert "left over: pods/x" in row.flags


def test_a_trial_without_a_recording_keeps_that_it_had_none(store: ResultsStore) -> None:
    """Nothing was recorded, and no number stands there."""
    closing._save(store, TRIAL, {}, AT, [])
    kept = store.traces.analysis("night-1")
    assert kept is not None
    assert kept.document["total_s"] is None
    assert kept.document["flags"][0].startswith("no_trace")
