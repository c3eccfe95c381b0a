"""A trial's trace: its format, the redaction, and an index for queries."""

from airflow_llm_provisioning.core.trace.format import (
    FORMAT,
    DecodedTrace,
    Line,
    Outcome,
    decode_line,
    decode_trace,
    encode_chunk,
    encode_line,
    end_line,
    evidence_line,
    header_line,
    line,
    mark_line,
    pack_lines,
)
from airflow_llm_provisioning.core.trace.objects import AgentLog, CloudEvidence, Event, History, LogText, Mark, Version
from airflow_llm_provisioning.core.trace.redaction import KEPT_ENV, Deduplicator, redact
from airflow_llm_provisioning.core.trace.view import TraceView

__all__ = [
    "FORMAT",
    "KEPT_ENV",
    "AgentLog",
    "CloudEvidence",
    "DecodedTrace",
    "Deduplicator",
    "Event",
    "History",
    "Line",
    "LogText",
    "Mark",
    "Outcome",
    "TraceView",
    "Version",
    "decode_line",
    "decode_trace",
    "encode_chunk",
    "encode_line",
    "end_line",
    "evidence_line",
    "header_line",
    "line",
    "mark_line",
    "pack_lines",
    "redact",
]
