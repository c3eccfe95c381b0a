"""The way of a recording's lines to the store."""

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_llm_provisioning.core.trace import line
from airflow_llm_provisioning.gateways.kubernetes.watch import Seen
from airflow_llm_provisioning.gateways.recording import lines as module
from airflow_llm_provisioning.gateways.recording.lines import Lines

NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Store:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    async def __call__(self, chunk: list[Any]) -> None:
        self.lines += chunk


def pod(version: int, **env: str) -> dict[str, Any]:
    container = {"name": "c", "env": [{"name": name, "value": value} for name, value in env.items()]}
    return {"metadata": {"uid": "u", "resourceVersion": str(version)}, "spec": {"containers": [container]}}


async def test_no_value_of_an_environment_reaches_the_store() -> None:
    """Objects are redacted before they wait."""
    store = Store()
    lines = Lines(store)
    lines.add_seen("pods", Seen("ADDED", pod(1, HF_TOKEN="hf_secret"), NOW))
    await lines.flush()
    assert "hf_secret" not in str(store.lines)


async def test_a_version_is_kept_once_and_chunks_are_in_order_of_receipt() -> None:
    """Repeats are dropped; what was held is sorted in where it was received."""
    store = Store()
    lines = Lines(store)
    later = NOW.replace(second=5)
    assert lines.add_seen("pods", Seen("ADDED", pod(2), later)) is not None
    assert lines.add_seen("pods", Seen("LISTED", pod(2), later)) is None
    lines.add(line(NOW, "MARK", "trace", {"mark": "x"}))
    await lines.flush()
    assert [one["resource"] for one in store.lines] == ["trace", "pods"]


async def test_a_flood_of_events_is_cut_and_what_decides_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the budget events are left out, with one mark that says so; endpoints and pods still come."""
    monkeypatch.setattr(module, "MOST_LINES", 5)
    store = Store()
    lines = Lines(store)
    for number in range(10):
        lines.add(line(NOW, "ADDED", "events", {"n": number}))
    lines.add(line(NOW, "ADDED", "endpointslices", {}))
    await lines.flush()
    assert [one["resource"] for one in store.lines] == ["events"] * 4 + ["trace", "endpointslices"]
    assert store.lines[4]["object"] == {"mark": "cut_short", "lines": 5}
