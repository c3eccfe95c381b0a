"""Rows as a JSON array of objects."""

from collections.abc import Sequence

from airflow_llm_provisioning.report.exports import Row
from airflow_llm_provisioning.report.tables import written


def write(rows: Sequence[Row]) -> bytes:
    """Return the rows; a missing value is null."""
    return written([dict(row) for row in rows], "json").encode("utf-8", "backslashreplace")
