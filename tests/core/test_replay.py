"""A replay gives the same text, or names every changed value."""

import json
from dataclasses import replace as with_values
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_builders import small_chunks, small_trace
from trial_builders import a_planned_trial

from airflow_llm_provisioning.core.judging import judge_trace, trial_row
from airflow_llm_provisioning.core.replay import (
    Difference,
    differences,
    replay,
    result_text,
    row_differences,
    trace_bytes,
)
from airflow_llm_provisioning.core.result import Computed
from airflow_llm_provisioning.core.trace import encode_chunk
from airflow_llm_provisioning.exceptions import TraceError

VALUES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3)
NAMED = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abc"), "value": VALUES}), max_size=4, unique_by=lambda e: e["name"]
)
DOCUMENTS = st.fixed_dictionaries(
    {"total_s": VALUES, "phases": NAMED, "flags": st.lists(st.text(max_size=3), max_size=3), "deep": st.just({})}
)


def computed(document: dict[str, Any], version: str = "1") -> Computed:
    return Computed(version, result_text(document))


def told(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    found = differences(computed(old), computed(new))
    return [(item.change, " ".join(item.path), item.old, item.new) for item in found]


def test_the_same_trace_gives_the_same_bytes_in_all_chunks() -> None:
    """Stored in chunks, in one file, or plain, a trace gives one text."""
    lines = small_trace()
    plain = b"".join(json.dumps(item).encode() + b"\n" for item in lines)
    texts = {replay(small_chunks()), replay(encode_chunk(lines)), replay(plain)}
    assert len(texts) == 1
    assert json.loads(texts.pop())["total_s"] == pytest.approx(61, abs=1)


@given(DOCUMENTS, DOCUMENTS)
def test_two_results_differ_exactly_if_their_texts_do(old: dict[str, Any], new: dict[str, Any]) -> None:
    """No difference means the same bytes, and different bytes always have a difference."""
    found = differences(computed(old), computed(new))
    assert bool(found) == (result_text(old) != result_text(new))


def test_a_changed_value_is_named_with_old_and_new() -> None:
    """The old and new value are named with their place."""
    old = {"total_s": 10.0, "phases": [{"name": "pull", "duration_s": 4.0, "longest_s": 5.0}]}
    new = {"total_s": 10.5, "phases": [{"name": "pull", "duration_s": 4.5, "longest_s": 5.0}]}
    assert told(old, new) == [("changed", "total_s", 10.0, 10.5), ("changed", "phases pull duration_s", 4.0, 4.5)]


def test_a_phase_that_was_put_in_changes_no_other() -> None:
    """Entries are compared by name, not by position."""
    old = {"phases": [{"name": "a", "duration_s": 1.0}, {"name": "c", "duration_s": 3.0}]}
    new = {"phases": [{"name": "a", "duration_s": 1.0}, {"name": "b", "duration_s": 2.0}, *old["phases"][1:]]}
    assert told(old, new) == [("appeared", "phases b", None, 2.0)]
    assert told(new, old) == [("vanished", "phases b", 2.0, None)]


def test_flags_and_evidence_come_and_go_whole() -> None:
    """A changed sentence is one that vanished and one that appeared."""
    old = {"flags": ["clock: off by 3 s"], "verdicts": [{"claim": "cold_start", "value": "yes", "evidence": ["a"]}]}
    new = {"flags": [], "verdicts": [{"claim": "cold_start", "value": "no", "evidence": ["b"]}]}
    assert told(old, new) == [
        ("vanished", "flags clock: off by 3 s", None, None),
        ("changed", "verdicts cold_start value", "yes", "no"),
        ("vanished", "verdicts cold_start evidence a", None, None),
        ("appeared", "verdicts cold_start evidence b", None, None),
    ]


def test_true_is_not_one() -> None:
    """Python treats them as equal, but their bytes differ."""
    assert told({"x": True}, {"x": 1}) == [("changed", "x", True, 1)]


def test_another_order_is_a_difference_too() -> None:
    """Values in another order are not the same bytes."""
    assert [item.path for item in differences(computed({"a": 1, "b": 2}), computed({"b": 2, "a": 1}))] == [("text",)]


def test_a_row_agrees_with_the_analysis_it_was_made_of() -> None:
    """A row that was changed afterwards is reported, value by value."""
    judgement = judge_trace(small_chunks(), [])
    closed_at = datetime(2026, 5, 4, 13, tzinfo=UTC)
    row = trial_row(a_planned_trial("night-1"), judgement, outcomes=(), wait_state=None, closed_at=closed_at)
    document = judgement.as_dict()
    assert row_differences(row, document) == ()
    shorter = with_values(row.phases[0], duration_s=0.5)
    forged = with_values(row, total_s=12.0, start="cold", phases=(shorter, *row.phases[1:]))
    found = {" ".join(item.path): (item.old, item.new) for item in row_differences(forged, document)}
    assert found["total_s"] == (12.0, document["total_s"])
    assert found["start"] == ("cold", document["start"])
    assert found[f"phases {shorter.name} duration_s"][0] == 0.5
    assert len(found) == 3


@pytest.mark.parametrize("data", [b"", b"hello\n", b"\x89PNG\r\n", b"[1]\n"])
def test_what_is_no_trace_is_refused(data: bytes) -> None:
    """The message says what to give instead."""
    with pytest.raises(TraceError, match=r"is a trace line"):
        replay(data)


def test_a_newer_format_is_refused() -> None:
    """A newer format is not interpreted."""
    header, *lines = small_trace()
    header["object"]["format"] = 99
    with pytest.raises(TraceError, match=r"format 99.*upgrade"):
        replay(encode_chunk([header, *lines]))


def test_a_cut_trace_is_computed_up_to_the_cut() -> None:
    """The lines before the truncation count, and the result says so."""
    first, second = small_chunks()
    document = json.loads(replay(first + second[: len(second) // 2]))
    assert document["milestones"]
    assert [flag.partition(":")[0] for flag in document["flags"]].count("cut") == 1


def test_an_unknown_trace_is_named() -> None:
    """The message names an id that is neither a file nor in the store."""
    with pytest.raises(TraceError, match="no stored trace named 'nobody'"):
        trace_bytes("nobody", [])


def test_a_result_that_is_none_is_refused() -> None:
    """A damaged text of an earlier result is no result of zeros."""
    with pytest.raises(TraceError, match="no JSON"):
        differences(Computed("1", "{"), computed({}))
    with pytest.raises(TraceError, match="no object"):
        differences(Computed("1", "[]\n"), computed({}))


def test_a_difference_is_json() -> None:
    """Differences can be printed with `--json`."""
    assert Difference(("a", "b"), "changed", 1, 2).as_dict() == {
        "path": ["a", "b"], "change": "changed", "old": 1, "new": 2
    }  # fmt: skip
