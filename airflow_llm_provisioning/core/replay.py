"""A stored trace -> the same bytes of analysis, whenever and wherever it is computed again."""

import json
from collections.abc import Sequence

from airflow_llm_provisioning.core.judging import judge_trace
from airflow_llm_provisioning.exceptions import TraceError


def replay(data: bytes) -> str:
    """Return the analysis of a trace file (.jsonl or .jsonl.gz) as JSON text; the same trace gives the same text."""
    return json.dumps(judge_trace([data]).as_dict(), indent=1, ensure_ascii=False) + "\n"


def trace_bytes(trial_id: str, chunks: Sequence[bytes]) -> bytes:
    """Return a stored trace as one file's bytes: gzip members may simply follow one another."""
    if not chunks:
        raise TraceError(f"There is no file and no stored trace named {trial_id!r}.")
    return b"".join(chunks)
