"""Rows as CSV. A text that a spreadsheet would calculate begins with an apostrophe."""

from collections.abc import Sequence

from airflow_llm_provisioning.report.exports import Row
from airflow_llm_provisioning.report.tables import written


def write(rows: Sequence[Row]) -> bytes:
    """Return the rows under a line of names; a missing value is an empty cell."""
    return written([dict(row) for row in rows], "csv").encode("utf-8", "backslashreplace")
