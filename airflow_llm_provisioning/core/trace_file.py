"""A trace as a file that can be given away: what it holds beside the recording, and what makes it the same trace again.

An exported file is the recording as it was stored and one line more, RESULT: which trial it was, and what was computed
from it by which code. So whoever gets it can compute it again and see whether the numbers are the same. Knows no disk.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from airflow_llm_provisioning.core.fields import dig, mapping, text
from airflow_llm_provisioning.core.instants import parse_instant
from airflow_llm_provisioning.core.result import Computed
from airflow_llm_provisioning.core.trace.format import (
    TRACE_RESOURCE,
    Line,
    decode_trace,
    encode_chunk,
    encode_line,
    is_own,
    mark_line,
)
from airflow_llm_provisioning.core.trace.secrets import Finding, find_secrets, without_secrets
from airflow_llm_provisioning.exceptions import TraceError

RESULT: Final = "RESULT"
NOT_STATED: Final = "not stated"
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class TraceFile:
    """A trace file's content. `data`: its bytes; `lines`: the recording, without the RESULT line; `carried`: what was
    computed from it before, if the file says so; `named`: the trial id in its header or RESULT line; `cut`: why reading
    ended early, or None; `findings`: what may not be given away.
    """

    data: bytes
    lines: tuple[Line, ...]
    carried: Computed | None
    named: str | None
    origin: str
    cut: str | None
    unreadable_lines: int
    findings: tuple[Finding, ...]

    @property
    def trial_id(self) -> str:
        """The id it is imported under: the same recording, packed or plain, has the same one."""
        return f"imported-{content_digest(self.lines)[:12]}"

    @property
    def clean(self) -> bool:
        """Whether nothing in it looks as if it should not be given away; lines that are none cannot be looked into."""
        return not self.findings and not self.unreadable_lines

    def cleaned(self) -> "TraceFile":
        """Return it without what may not be given away. That it was cut stays told, by a mark as the recorder's."""
        kept = [without_secrets(item) for item in self.lines]
        at = parse_instant(kept[-1]["received_at"])
        if self.cut is not None and at is not None:
            kept.append(mark_line(at, "not_recorded", what="the rest of the trace", why=self.cut))
        carried = [item for item in decode_trace(self.data).lines if is_own(item, RESULT)][-1:]
        return read_trace_file(encode_chunk([*kept, *carried]))


def read_trace_file(data: bytes) -> TraceFile:
    """Read a trace file, gzip or plain. A TraceError says that it is no trace, or of a newer format."""
    decoded = decode_trace(data)
    results = [item for item in decoded.lines if is_own(item, RESULT)]
    lines = tuple(item for item in decoded.lines if not is_own(item, RESULT))
    if not lines:
        raise TraceError(
            "A trace file was read that has a RESULT line and no recording: nothing can be computed again."
        )
    header = next((mapping(item.get("object")) for item in lines if is_own(item, "HEADER")), {})
    told = mapping(results[-1].get("object")) if results else {}
    named = text(dig(header, "trial", "trial_id")) or text(told.get("trial_id")) or None
    return TraceFile(
        data=data,
        lines=lines,
        carried=_carried(told),
        named=named,
        origin=text(header.get("origin")) or NOT_STATED,
        cut=decoded.cut,
        unreadable_lines=decoded.unreadable_lines,
        findings=find_secrets(decoded.lines),
    )


def carried_result(data: bytes) -> Computed | None:
    """Return what a trace file says was computed from it, or None. A TraceError as `read_trace_file`."""
    results = [item for item in decode_trace(data).lines if is_own(item, RESULT)]
    return _carried(mapping(results[-1].get("object"))) if results else None


def exported(chunks: Sequence[bytes], trial: Mapping[str, Any], computed: Computed | None) -> bytes:
    """Return a stored trace as a file's bytes: its chunks as they are, and a RESULT line behind them.

    `trial`: the flat row of its trial (`TrialResult.summary`), or empty.
    """
    last = decode_trace(chunks).lines[-1]
    if is_own(last, RESULT):
        return b"".join(chunks)
    told: dict[str, Any] = {"trial_id": trial.get("trial_id"), "trial": dict(trial)}
    if computed is not None:
        told |= {"analysis_version": computed.version, "analysis": computed.text}
    result = {"received_at": last["received_at"], "type": RESULT, "resource": TRACE_RESOURCE, "object": told}
    return b"".join((*chunks, encode_chunk([result])))


def refusal(found: TraceFile, doing: str) -> str:
    """Return one sentence that says why a trace is not given away or taken in, and where what stands in it."""
    told = [str(finding) for finding in found.findings[:_SHOWN]]
    more = len(found.findings) - len(told)
    if found.unreadable_lines:
        told.append(f"{found.unreadable_lines} lines cannot be read and so cannot be checked")
    told += [f"and {more} more"] if more > 0 else []
    return (
        f"The trace was not {doing}, because it holds what may be secret: {'; '.join(told)}. "
        "Give --redact to take that out of the copy."
    )


def content_digest(lines: Iterable[Line]) -> str:
    """Return the SHA-256 of a recording's lines, however they were packed."""
    digest = hashlib.sha256()
    for item in lines:
        digest.update(encode_line(item))
    return digest.hexdigest()


def _carried(told: Mapping[str, Any]) -> Computed | None:
    analysis = told.get("analysis")
    return Computed(text(told.get("analysis_version")) or None, analysis) if isinstance(analysis, str) else None
