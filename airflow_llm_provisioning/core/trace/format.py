"""The trace format: JSON lines in gzip members, the same format as a recording of a real cluster.

A line is a plain dict `{"received_at", "type", "resource", "object"}` with further keys of its source (`date_header`,
`status_code`, `service`, `path`, `filename`, `unchanged_until`). `received_at` is the recorder's clock, RFC 3339 UTC
with microseconds. `unchanged_until` of a polled answer is the time of the last earlier poll with the same answer.

Lines of the recorder itself have the resource `trace`: HEADER first, END last, and between them MARK (an action of the
trial) and EVIDENCE (a cloud's statement about a treatment). A recording without them can be read too.

Chunks are gzip members: the concatenated chunks of a trial are a valid .jsonl.gz file.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.instants import format_instant, parse_instant
from airflow_llm_provisioning.exceptions import TraceError

FORMAT: Final = 1
TRACE_RESOURCE: Final = "trace"
OUTCOMES: Final = ("ready", "timed_out", "failed", "aborted", "over_budget")
# Twice the recorder's budget. A gzip member can expand to a thousand times its size, and a tiny line or value to many
# times its own as a Python object, so lines and values (commas and brackets) are counted before anything is parsed.
MAX_UNPACKED_BYTES: Final = 32 * 1024 * 1024
MAX_LINES: Final = 100_000
MAX_VALUES: Final = 2_000_000
# Small, because each member's end copies the rest of its slice.
_SLICE_BYTES: Final = 16 * 1024
# A tenth of the standard library's time; a line a second for each of hundreds of waits is written.
_ENCODER: Final = msgspec.json.Encoder()
_PADDING: Final = re.compile(rb"\0*")

Line = Mapping[str, Any]
Outcome = Literal["ready", "timed_out", "failed", "aborted", "over_budget"]


@dataclass(frozen=True, slots=True)
class DecodedTrace:
    """The readable part of a trace. `cut`: why reading ended early, or None; `unreadable_lines`: number of skipped
    lines.
    """

    lines: tuple[Line, ...]
    cut: str | None = None
    unreadable_lines: int = 0


def line(received_at: datetime, kind: str | None, resource: str, obj: Any, **extra: Any) -> dict[str, Any]:
    """Return a line. `kind`: LISTED, ADDED, MODIFIED, DELETED, BOOKMARK; None for data that was polled or read once."""
    return {
        "received_at": format_instant(received_at),
        **extra,
        **({"type": kind} if kind else {}),
        "resource": resource,
        "object": obj,
    }


def header_line(
    received_at: datetime,
    *,
    origin: str,
    namespace: str,
    name: str,
    uid: str | None = None,
    trial: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
    clock: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the first line of a trace.

    `trial`: what was deployed (cell, variant, workload profile, image, ...). `cluster`: version information of the
    cluster. `clock`: `{"speed": float}` if a simulator's clock runs faster than the recorder's.
    """
    rayservice = {"namespace": namespace, "name": name, **({"uid": uid} if uid else {})}
    obj = {
        "format": FORMAT,
        "origin": origin,
        "rayservice": rayservice,
        "trial": dict(trial or {}),
        "cluster": dict(cluster or {}),
        "clock": dict(clock or {}),
    }
    return line(received_at, "HEADER", TRACE_RESOURCE, obj)


def mark_line(received_at: datetime, mark: str, **detail: Any) -> dict[str, Any]:
    """Return a mark: an action or observation of the trial itself at `received_at` (`apply_started`, `apply_replied`,
    `first_completion`, `deleted_by_us`, ...).
    """
    return line(received_at, "MARK", TRACE_RESOURCE, {**detail, "mark": mark})


def evidence_line(received_at: datetime, *, claim: str, holds: bool | None, detail: str, source: str) -> dict[str, Any]:
    """Return a cloud's statement about a treatment as a line."""
    return line(
        received_at,
        "EVIDENCE",
        TRACE_RESOURCE,
        {"claim": claim, "holds": holds, "detail": detail, "source": source},
    )


def end_line(received_at: datetime, outcome: Outcome, reason: str | None = None) -> dict[str, Any]:
    """Return the last line of a trace: the outcome of the trial."""
    return line(received_at, "END", TRACE_RESOURCE, {"outcome": outcome, "reason": reason})


def encode_line(item: Line) -> bytes:
    """Return a line as bytes with its newline. The same line gives the same bytes.

    Raises TraceError for a line that is nested too deep for a parser.
    """
    try:
        return _ENCODER.encode(item) + b"\n"
    except RecursionError as error:
        raise TraceError("A trace line is nested too deep to be written as JSON.") from error
    except (TypeError, ValueError):
        # Half of a surrogate pair, which a log line that was cut can have.
        text = json.dumps(item, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass") + b"\n"


def decode_line(data: bytes | str) -> dict[str, Any]:
    """Parse one line; a TraceError names the fault."""
    try:
        item = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"A trace line is not valid JSON: {error}.") from error
    if not isinstance(item, dict) or parse_instant(item.get("received_at")) is None or "resource" not in item:
        raise TraceError(
            "A trace line is not an object with `received_at` and `resource`: the recorder did not write it."
        )
    return item


def encode_chunk(lines: Iterable[Line]) -> bytes:
    """Return lines as one gzip member. The same lines give the same bytes, because no time is stored."""
    return pack_lines(map(encode_line, lines))


def pack_lines(lines: Iterable[bytes]) -> bytes:
    """Return encoded lines, each with its newline, as one gzip member."""
    return gzip.compress(b"".join(lines), compresslevel=6, mtime=0)


def decode_trace(data: bytes | Iterable[bytes]) -> DecodedTrace:
    """Read a whole trace: one or more gzip members, or plain JSON lines.

    A trace that ends within a line or member gives its readable part, and `cut` names the reason. A TraceError is
    raised for data that are no trace, for a format newer than this version, and for more bytes, lines or values than a
    trial's trace has (`MAX_UNPACKED_BYTES`, `MAX_LINES`, `MAX_VALUES`).
    """
    packed = data if isinstance(data, bytes) else b"".join(data)
    plain, cut = _unpack(packed)
    _check_count(plain.count(b"\n"), MAX_LINES, "lines")
    _check_count(sum(map(plain.count, (b",", b"[", b"{"))), MAX_VALUES, "values")
    lines: list[Line] = []
    unreadable = 0
    raw = plain.split(b"\n")
    for position, item in enumerate(raw):
        if not item.strip():
            continue
        try:
            lines.append(decode_line(item))
        except TraceError:
            if position == len(raw) - 1:
                cut = cut or f"the last line is incomplete ({len(item)} bytes of it)"
            else:
                unreadable += 1
    if not lines:
        raise TraceError(
            f"None of the lines in these {len(packed)} bytes is a trace line "
            f"({cut or f'{unreadable} lines of another format'}): give a .jsonl or .jsonl.gz written by the recorder."
        )
    check_format(lines)
    return DecodedTrace(tuple(lines), cut, unreadable)


def check_format(lines: Sequence[Line]) -> None:
    """Raise a TraceError if the format in the trace's header is newer than this version, or invalid."""
    header = next((item for item in lines if isinstance(item, dict) and is_own(item, "HEADER")), None)
    if header is None:
        return
    version = dig(header, "object", "format")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise TraceError(
            f"The trace's header names the format {version!r}: the trace is damaged or is not from this recorder."
        )
    if version > FORMAT:
        raise TraceError(
            f"The trace has the format {version}; this version reads formats up to {FORMAT}: "
            "upgrade airflow-llm-provisioning."
        )


def is_own(item: Line, kind: str) -> bool:
    """Return whether a line is a line of the recorder itself (resource `trace`) of this kind."""
    return item.get("resource") == TRACE_RESOURCE and item.get("type") == kind


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise TraceError(
            f"The trace has more than {most:,} {what}; no recording of a trial has as many. Give a trace of one trial."
        )


def _unpack(packed: bytes) -> tuple[bytes, str | None]:
    """Return the unpacked bytes and why unpacking ended early. Only the damaged tail is lost."""
    if not packed.startswith(b"\x1f\x8b"):
        _check_count(len(packed), MAX_UNPACKED_BYTES, "bytes")
        return packed, None
    parts: list[bytes] = []
    at, room = 0, MAX_UNPACKED_BYTES
    while at < len(packed):
        member = zlib.decompressobj(wbits=31)
        while not member.eof and at < len(packed):
            piece = packed[at : at + _SLICE_BYTES]
            try:
                part = member.decompress(piece, room + 1)
            except zlib.error as error:
                return b"".join(parts), f"a compressed chunk is damaged ({error})"
            parts.append(part)
            room -= len(part)
            _check_count(MAX_UNPACKED_BYTES - room, MAX_UNPACKED_BYTES, "bytes")
            at += len(piece) - len(member.unused_data) - len(member.unconsumed_tail)
        if not member.eof:
            return b"".join(parts), "the last compressed chunk is incomplete"
        padding = _PADDING.match(packed, at)
        at = padding.end() if padding else at
    return b"".join(parts), None
