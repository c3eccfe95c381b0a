"""A trial's trace under one name: how it is written, what may be kept of it, and an index to ask it questions."""

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
from airflow_llm_provisioning.core.trace.objects import Event, History, LogText, Mark, Observation, Version
from airflow_llm_provisioning.core.trace.redaction import KEPT_ENV, Deduplicator, redact
from airflow_llm_provisioning.core.trace.view import TraceView

__all__ = [
    "FORMAT",
    "KEPT_ENV",
    "DecodedTrace",
    "Deduplicator",
    "Event",
    "History",
    "Line",
    "LogText",
    "Mark",
    "Observation",
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
