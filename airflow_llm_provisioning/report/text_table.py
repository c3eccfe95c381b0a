"""Tables of texts for a terminal of any width. Knows no results."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_llm_provisioning.core.one_line import shortened
from airflow_llm_provisioning.report.escaping import cell_text

Row = Mapping[str, Any]

# The smallest value that a table shows as a number.
SMALLEST: Final = 0.001
# A cluster's own sentences have any length; CSV, JSON and Parquet have more of them.
MOST_IN_CELL: Final = 2_000


def cell(value: Any, key: str = "") -> str:
    """Return a value as it stands in a table, under the `key` of its column: empty where it is missing, one decimal
    place of a fraction, cents of a price, and zero for nothing but zero.
    """
    if value is None:
        return ""
    if not isinstance(value, float):
        return shortened(cell_text(str(value)), MOST_IN_CELL)
    text = f"{value:.2f}" if key.endswith("_usd") else f"{value:.1f}"
    if not value or float(text):
        return text
    # Two or three decimal places show a small value; a power of ten is not read easily.
    if abs(value) < SMALLEST:
        return f"< {SMALLEST}" if value > 0 else f"> -{SMALLEST}"
    return f"{value:.2f}" if round(abs(value), 2) else f"{value:.3f}"


def wrapped(sentence: str, width: int) -> str:
    """Return a sentence in lines of `width` columns."""
    told = shortened(cell_text(sentence), MOST_IN_CELL)
    return textwrap.fill(told, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def text_table(title: str, rows: Sequence[Row], columns: Mapping[str, str], width: int) -> str:
    """Return rows as a table; `columns`: key -> heading.

    Where it does not fit `width`, columns with one value are said below it; where words would still be broken, the rows
    are listed one below the other.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = {key: [cell(row.get(key), key) for row in rows] for key in columns}
    equal = _equal_columns(cells) if _needed(cells, columns) > width else {}
    kept = {key: heading for key, heading in columns.items() if key not in equal}
    told = ", ".join(f"{columns[key]} {value}" for key, value in equal.items() if value)
    below = f"{wrapped(f'In every row: {told}.', width)}\n" if told else ""
    if _needed(_longest_words(cells), kept) > width:
        return _listed(title, cells, kept, width) + below
    # A cell is a text: rich would read square brackets as markup.
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for key, heading in kept.items():
        table.add_column(Text(heading), justify="right" if _numeric(rows, key) else "left", overflow="fold")
    for at in range(len(rows)):
        table.add_row(*(Text(cells[key][at]) for key in kept))
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    text = "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
    return text + below


def _listed(title: str, cells: Mapping[str, Sequence[str]], columns: Mapping[str, str], width: int) -> str:
    """Return the rows one below the other, a line per cell, for a terminal in which a table would break words."""
    count = len(next(iter(cells.values())))
    rows = [
        "".join(
            f"{wrapped(f'{heading}: {cells[key][at]}', width)}\n" for key, heading in columns.items() if cells[key][at]
        )
        for at in range(count)
    ]
    return "\n".join([f"{wrapped(title, width)}\n"] * bool(title) + rows) + "\n"


def _needed(cells: Mapping[str, Sequence[str]], columns: Mapping[str, str]) -> int:
    """Return how wide a table of these columns must be to break no cell."""
    return sum(max(map(len, [heading, *cells[key]])) + 3 for key, heading in columns.items())


def _longest_words(cells: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return of every cell what a narrow column cannot break."""
    return {key: [max(value.split(), key=len, default="") for value in values] for key, values in cells.items()}


def _equal_columns(cells: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the columns that a narrow table of several rows leaves out, as they say the same in every row. The first
    column stays.
    """
    if len(next(iter(cells.values()))) < 2:
        return {key: "" for key, values in cells.items() if not any(values)}
    return {key: values[0] for key, values in list(cells.items())[1:] if len(set(values)) == 1}


def _numeric(rows: Sequence[Row], key: str) -> bool:
    return any(isinstance(row.get(key), (int, float)) for row in rows)
