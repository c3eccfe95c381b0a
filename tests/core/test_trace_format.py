"""The trace's format: written lines are read again, byte for byte, in any chunks."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.core.trace import (
    TraceView,
    decode_line,
    decode_trace,
    encode_chunk,
    encode_line,
    end_line,
    evidence_line,
    header_line,
    line,
    mark_line,
)
from airflow_llm_provisioning.exceptions import TraceError

AT = datetime(2026, 5, 4, 12, 0, 0, 250, tzinfo=UTC)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
LINES = st.builds(
    line,
    st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - zone beside
    st.sampled_from(["ADDED", "MODIFIED", "DELETED", None]),
    st.sampled_from(["pods", "events", "serve-rest"]),
    VALUES,
)


@given(st.lists(LINES, min_size=1, max_size=8), st.integers(1, 8))
def test_lines_survive_writing_in_any_chunks(lines: list[dict[str, object]], size: int) -> None:
    """Chunks of any size, concatenated, give the same lines; the same lines give the same bytes."""
    chunks = [encode_chunk(lines[start : start + size]) for start in range(0, len(lines), size)]
    decoded = decode_trace(chunks)
    assert list(decoded.lines) == json.loads(json.dumps(lines))
    assert (decoded.cut, decoded.unreadable_lines) == (None, 0)
    assert encode_chunk(decoded.lines) == encode_chunk(lines)


@given(LINES)
def test_a_line_is_one_line(item: dict[str, object]) -> None:
    """No content splits a line, not even one with line separators."""
    data = encode_line(item)
    assert data.count(b"\n") == 1
    assert decode_line(data) == json.loads(data)


def test_own_lines_are_found_again() -> None:
    """The view returns header, marks, evidence and end."""
    view = TraceView(
        [
            header_line(AT, origin="measured", namespace="a", name="b", uid="u", trial={"variant": "baseline"}),
            mark_line(AT, "apply_started", attempt=1),
            evidence_line(AT, claim="image_streamed", holds=None, detail="nobody knows", source="call"),
            end_line(AT, "timed_out", "too slow"),
        ]
    )
    assert (view.origin, view.trial["variant"], view.name) == ("measured", "baseline", "b")
    assert view.marks("apply_started")[0].detail["attempt"] == 1
    assert view.evidence("image_streamed")[0].holds is None
    assert view.end == {"outcome": "timed_out", "reason": "too slow"}


@pytest.mark.parametrize("bad", [b"{", b"[]", b'{"received_at": "soon", "resource": "pods"}', b'{"resource": "pods"}'])
def test_a_line_that_is_none_is_refused(bad: bytes) -> None:
    """Without an instant and a resource it is no trace line."""
    with pytest.raises(TraceError):
        decode_line(bad)


def test_foreign_lines_in_between_are_counted() -> None:
    """Foreign lines in a trace are skipped and counted."""
    good = encode_line(mark_line(AT, "x"))
    decoded = decode_trace(good + b"rubbish\n" + good)
    assert (len(decoded.lines), decoded.unreadable_lines) == (2, 1)


@pytest.mark.parametrize("version", [0, True, "1", None, 1.5])
def test_a_header_without_a_format_number_is_damaged(version: object) -> None:
    """The format is a whole number from 1; other values are not interpreted."""
    header = header_line(AT, origin="measured", namespace="a", name="b")
    header["object"]["format"] = version
    with pytest.raises(TraceError, match="format"):
        decode_trace(encode_line(header))


def test_the_first_end_line_counts() -> None:
    """A triggerer that Airflow took for dead records beside its successor, sees the teardown and ends once more."""
    later = AT + timedelta(minutes=3)
    view = TraceView([end_line(AT, "ready"), end_line(later, "failed", "it was deleted")])
    assert (view.end["outcome"], view.ended_at) == ("ready", AT)
