"""Rows as Apache Parquet, without loss: what is read back equals what was written, missing values included."""

import io
from collections.abc import Sequence
from typing import Any

from airflow_llm_provisioning.core.secrets import redacted_value
from airflow_llm_provisioning.exceptions import MissingExtraError
from airflow_llm_provisioning.report.exports import Row


def write(rows: Sequence[Row]) -> bytes:
    """Return one table. A column of whole numbers stays one; where a column also has other numbers all are of double
    precision. Nothing is rounded.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError(
            "Parquet needs pyarrow: install airflow-llm-provisioning[parquet], or choose --format csv or json."
        ) from error
    names = list(dict.fromkeys(name for row in rows for name in row))
    safe = redacted_value([dict(row) for row in rows])
    columns: dict[str, Any] = {name: pa.array([row.get(name) for row in safe]) for name in names}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()
