"""Traces made to hurt: each is refused with a sentence, soon and with little memory, or read as a trace."""

import gzip
import json
from collections.abc import Callable

import pytest
from measured_process import measured
from trace_builders import small_trace

from airflow_llm_provisioning.core.trace import encode_line
from airflow_llm_provisioning.core.trace.format import MAX_UNPACKED_BYTES, decode_trace
from airflow_llm_provisioning.core.trace_file import read_trace_file, refusal
from airflow_llm_provisioning.exceptions import TraceError

TINY = b'{"received_at":"2026-05-04T12:00:00Z","resource":"x"}\n'


def nested(depth: int) -> bytes:
    inner = "[" * depth + "]" * depth
    return b"".join(map(encode_line, small_trace())) + TINY[:-2] + f',"object":{inner}}}\n'.encode()


BOMBS: dict[str, Callable[[], bytes]] = {
    "a gibibyte of zeros": lambda: gzip.compress(bytes(2**30), compresslevel=1),
    "zeros in many members": lambda: gzip.compress(bytes(2**20)) * 1000,
    "millions of tiny lines": lambda: gzip.compress(TINY * 4_500_000, compresslevel=1),
    "tiny lines within the bytes": lambda: gzip.compress(TINY * (MAX_UNPACKED_BYTES // len(TINY)), compresslevel=1),
    "millions of values in a line": lambda: gzip.compress(TINY[:-2] + b',"object":[' + b"[]," * 9_000_000 + b"[]]}\n"),
    "plain lines": lambda: TINY * 700_000,
    "many empty members": lambda: gzip.compress(TINY) + gzip.compress(b"") * 100_000 + b"\x1f\x8b",
    "padding": lambda: gzip.compress(TINY) + bytes(30_000_000),
    "a number of many digits": lambda: TINY[:-2] + b',"object":' + b"9" * 5_000_000 + b"}\n",
    "deep JSON": lambda: nested(100_000),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_ends_soon_and_small(what: str) -> None:
    """At most two seconds and 300 MB, measured in a process of its own, beyond what it costs to make the input."""
    _, told = measured("airflow_llm_provisioning.core.trace.format:decode_trace", TINY, BOMBS[what]())
    assert told.error in ("", "TraceError"), told
    assert told.seconds < 2
    assert told.megabytes < 300


@pytest.mark.parametrize("depth", [150, 500, 900])
def test_deep_json_is_cut_before_it_is_kept(depth: int) -> None:
    """It is read, found, and not exported as it is; the copy has no more levels than the redactor allows."""
    found = read_trace_file(nested(depth))
    assert not found.clean
    assert "line 10" in refusal(found, "imported")
    cleaned = found.cleaned()
    assert cleaned.clean
    assert json.dumps(cleaned.lines[9]["object"]).count("[") <= 100
    assert cleaned.trial_id


def test_what_a_recorder_writes_is_far_below_every_limit() -> None:
    """Its budget of bytes with the smallest lines that it writes."""
    lines = b"".join(map(encode_line, small_trace()))
    many = lines * (16 * 1024 * 1024 // len(lines))
    assert len(decode_trace(gzip.compress(many, compresslevel=1)).lines) > 1000


def test_a_trace_beyond_a_limit_says_which() -> None:
    """And what to give instead."""
    with pytest.raises(TraceError, match=r"more than 100,000 lines; .* Give a trace of one trial"):
        decode_trace(TINY * 100_001)
