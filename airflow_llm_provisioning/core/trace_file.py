"""A trace as a file that can be shared: the recording, and one more line with its trial and its result.

An exported file is the recording as stored plus a RESULT line: the trial, the analysis, and the version of the code
that computed it. A reader can compute the analysis again and compare the numbers. This module knows no disk.
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
    """The content of a trace file.

    `data`: its bytes. `lines`: the recording without the RESULT line. `carried`: the analysis in the file, if any.
    `named`: the trial id in its header or RESULT line. `cut`: why reading ended early, or None. `findings`: values that
    must not be shared.
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
        """The id for the import. The same recording has the same id, packed or plain."""
        return f"imported-{content_digest(self.lines)[:12]}"

    @property
    def clean(self) -> bool:
        """Whether the file has no findings and every line could be checked."""
        return not self.findings and not self.unreadable_lines

    def cleaned(self) -> "TraceFile":
        """Return it without its findings. A mark of the recorder's kind keeps the information that it was cut."""
        kept = [without_secrets(item) for item in self.lines]
        at = parse_instant(kept[-1]["received_at"])
        if self.cut is not None and at is not None:
            kept.append(mark_line(at, "not_recorded", what="the rest of the trace", why=self.cut))
        carried = [item for item in decode_trace(self.data).lines if is_own(item, RESULT)][-1:]
        return read_trace_file(encode_chunk([*kept, *map(without_secrets, carried)]))


def read_trace_file(data: bytes) -> TraceFile:
    """Read a trace file, gzip or plain. A TraceError means that the data are no trace, or of a newer format."""
    decoded = decode_trace(data)
    results = [item for item in decoded.lines if is_own(item, RESULT)]
    lines = tuple(item for item in decoded.lines if not is_own(item, RESULT))
    if not lines:
        raise TraceError("The trace file has a RESULT line but no recording, so its analysis cannot be recomputed.")
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
    """Return the analysis that a trace file contains, or None. Raises a TraceError like `read_trace_file`."""
    results = [item for item in decode_trace(data).lines if is_own(item, RESULT)]
    return _carried(mapping(results[-1].get("object"))) if results else None


def exported(chunks: Sequence[bytes], trial: Mapping[str, Any], computed: Computed | None) -> bytes:
    """Return a stored trace as the bytes of a file: its chunks unchanged, followed by a RESULT line.

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
    """Return a sentence that names why a trace is not exported or imported, with the places of the findings."""
    told = [str(finding) for finding in found.findings[:_SHOWN]]
    more = len(found.findings) - len(told)
    if found.unreadable_lines:
        told.append(f"{found.unreadable_lines} lines are unreadable and cannot be checked")
    told += [f"and {more} more"] if more > 0 else []
    return (
        f"The trace was not {doing}, because it may contain secrets: {'; '.join(told)}. "
        "Use --redact to remove them from the copy."
    )


def content_digest(lines: Iterable[Line]) -> str:
    """Return the SHA-256 of a recording's lines, independent of their packing."""
    digest = hashlib.sha256()
    for item in lines:
        digest.update(encode_line(item))
    return digest.hexdigest()


def _carried(told: Mapping[str, Any]) -> Computed | None:
    analysis = told.get("analysis")
    return Computed(text(told.get("analysis_version")) or None, analysis) if isinstance(analysis, str) else None
