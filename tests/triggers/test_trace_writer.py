"""The traces of many waits are written together, and each wait learns what became of its own lines."""

import asyncio
import gzip
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.triggers import trace_writer
from airflow_llm_provisioning.triggers.trace_writer import append


class CountedStore:
    """A results store that counts its transactions. `refused`: trials whose lines cannot be written."""

    def __init__(self, store: ResultsStore) -> None:
        self.store = store
        self.transactions: list[list[str]] = []
        self.refused: set[str] = set()
        self.broken: Exception | None = None

    def append_traces(self, chunks: Sequence[tuple[str, bytes]]) -> None:
        named = [trial_id for trial_id, _ in chunks]
        self.transactions.append(named)
        if self.broken:
            raise self.broken
        if self.refused & set(named):
            raise StoreError("refused")
        self.store.append_traces(chunks)

    def kept(self, trial_id: str) -> list[bytes]:
        return [gzip.decompress(chunk) for chunk in self.store.trace(trial_id)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Any]:
    opened = ResultsStore.open(f"sqlite:///{tmp_path / 'r.db'}", clock=lambda: datetime(2026, 11, 30, tzinfo=UTC))
    yield CountedStore(opened)
    opened.close()


async def added(store: Any, *trials: str) -> list[Any]:
    """Append a line to each trial at one instant; return what each append raised, or None."""
    lines = (append(store, trial, [trial.encode() + b"\n"], asyncio.to_thread) for trial in trials)
    return await asyncio.gather(*lines, return_exceptions=True)


async def test_what_comes_at_one_instant_is_one_transaction(store: Any) -> None:
    """Lines of many trials cost one transaction, two of one trial keep their order, and later ones come after."""
    assert await added(store, "a", "b", "a") == [None, None, None]
    assert await added(store, "a") == [None]
    assert store.transactions == [["a", "b", "a"], ["a"]]
    assert (store.kept("a"), store.kept("b")) == ([b"a\n"] * 3, [b"b\n"])


async def test_a_transaction_has_a_limit(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others write to the same store, so what is due is written in parts."""
    monkeypatch.setattr(trace_writer, "MOST_AT_ONCE", 2)
    assert await added(store, "a", "b", "c") == [None, None, None]
    assert store.transactions == [["a", "b"], ["c"]]


async def test_one_trial_does_not_keep_the_others_from_the_store(store: Any) -> None:
    """If one trial's lines are refused, only its wait is told so, and it may offer them again."""
    store.refused = {"b"}
    ends = await added(store, "a", "b", "c")
    assert [type(end) for end in ends] == [type(None), StoreError, type(None)]
    assert [store.kept(trial) for trial in "abc"] == [[b"a\n"], [], [b"c\n"]]
    store.refused = set()
    assert await added(store, "b") == [None]
    assert store.kept("b") == [b"b\n"]


async def test_a_store_that_is_away_is_not_asked_by_every_trial(store: Any) -> None:
    """Each attempt may take a minute; after two that failed alone the rest is told so."""
    store.broken = StoreError("locked")
    assert [str(end) for end in await added(store, *"abcdef")] == ["locked"] * 6
    assert len(store.transactions) == 3
    store.broken = None
    assert await added(store, *"abcdef") == [None] * 6


async def test_an_error_of_another_kind_ends_no_wait_in_silence(store: Any) -> None:
    """Every wait of the batch, and those that came meanwhile, raise it."""
    store.broken = ZeroDivisionError("a defect")
    ends = await added(store, "a", "b")
    assert [type(end) for end in ends] == [ZeroDivisionError, ZeroDivisionError]
    store.broken = None
    assert await added(store, "a") == [None]
