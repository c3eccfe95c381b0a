"""Rows as a table of GitHub Flavored Markdown (github.github.com/gfm, 4.10): for an issue or a pull request."""

import re
from collections.abc import Sequence
from typing import Any, Final

from airflow_llm_provisioning.report.escaping import cell_text
from airflow_llm_provisioning.report.exports import Row

# What Markdown or HTML would take for markup. A pipe ends a cell even inside code.
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>&|~#!])")


def write(rows: Sequence[Row]) -> bytes:
    """Return a table with a column for each name; numbers are right-aligned. A missing value is an empty cell."""
    if not rows:
        return b"There are no results.\n"
    names = list(dict.fromkeys(name for row in rows for name in row))
    numbers = {name for name in names if any(_is_number(row.get(name)) for row in rows)}
    lines = [
        [_text(name) for name in names],
        ["---:" if name in numbers else "---" for name in names],
        *([_cell(row.get(name)) for name in names] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).encode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else _text(str(value))


def _text(text: str) -> str:
    return _MARKUP.sub(r"\\\1", cell_text(text))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
