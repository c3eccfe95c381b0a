"""Nights as a CSV file for Apache Otava's change point detection (apache-otava 0.8.0, `otava.importer.CsvImporter`).

One row per night of a cell, ordered by time. The column `branch` holds the cell, because Otava takes the rows of one
branch of a file (`--branch`) and refuses to mix several. A metric that Otava is told to read must be a number in every
row: `total_s` always is, a phase only where every night tells it.
"""

import csv
import io
from collections.abc import Sequence

from airflow_llm_provisioning.core.measured import Measured
from airflow_llm_provisioning.core.nights import nights_of, seconds_of
from airflow_llm_provisioning.report.escaping import cell_text, spreadsheet_value


def write(trials: Sequence[Measured]) -> bytes:
    """Return time, branch, run_id, arm, trials, total_s and the seconds of each phase."""
    cells = nights_of(trials)
    phases = sorted({name for nights in cells.values() for night in nights for name in night.phases})
    rows = [
        (night.at, f"{cell.short_name} ({cell.origin})", night) for cell, nights in cells.items() for night in nights
    ]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["time", "branch", "run_id", "arm", "trials", "total_s", *map(_text, phases)])
    for at, cell, night in sorted(rows, key=lambda row: (row[1], row[0])):
        seconds = [seconds_of(night.phases, name) if night.phases else None for name in phases]
        known = ["" if value is None else value for value in seconds]
        writer.writerow([at.isoformat(), _text(cell), _text(night.run_id), night.arm, night.n, night.total_s, *known])
    return file.getvalue().encode("utf-8", "backslashreplace")


def _text(text: str) -> str:
    """Return one line that a spreadsheet does not calculate, if the file is opened in one."""
    return str(spreadsheet_value(cell_text(text)))
