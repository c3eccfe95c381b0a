"""Texts from clusters and users for a terminal or a spreadsheet: data, never markup, commands or formulas."""

import re
from typing import Any, Final

from airflow_llm_provisioning.core.one_line import shortened
from airflow_llm_provisioning.core.secrets import redacted_text

# C0 and C1 controls (a terminal obeys them), line and paragraph separators, and marks that reorder a line.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
# What spreadsheets read as the begin of a formula (OWASP, "CSV Injection"), full-width forms included.
_FORMULA: Final = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r]")
# Excel cuts a cell at 32,767 characters (its specifications and limits); Python's csv refuses one of 131,072.
MOST_IN_SPREADSHEET: Final = 32_000


def terminal_text(text: str) -> str:
    """Return a text of several lines for a terminal: without secrets, control characters escaped."""
    return _CONTROLS.sub(lambda match: ascii(match.group())[1:-1], redacted_text(text))


def cell_text(text: str) -> str:
    """Return a text for one cell of a table: one line."""
    return terminal_text(text).replace("\n", " ").replace("\t", " ")


def spreadsheet_value(value: Any) -> Any:
    """Return a value for a CSV file: a text that a spreadsheet would calculate begins with an apostrophe, and one that
    is longer than a cell has its beginning and its end.
    """
    if not isinstance(value, str):
        return value
    told = shortened(terminal_text(value), MOST_IN_SPREADSHEET)
    return f"'{told}" if _FORMULA.match(told) else told
