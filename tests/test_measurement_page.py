"""docs/measurement.md: its commands exist, and its worked trace is what the code says of that recording."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
import worked_trace
from proof import FIGURES
from proof.catalogue import CATALOGUE

from airflow_llm_provisioning import cli

REGENERATE = "run: python benchmarks/worked_trace.py RECORDINGS/node-late.jsonl.gz, and read the page's remarks again"


def page() -> str:
    return worked_trace.PAGE.read_text(encoding="utf-8")


def test_every_command_of_the_page_is_understood() -> None:
    """A reader who copies one gets no usage error."""
    shown = re.findall(r"^ *(llm-provisioning .+)$|`(llm-provisioning [^`]+)`", page(), re.MULTILINE)
    commands = [one or other for one, other in shown]
    assert len(commands) >= 10
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        with contextlib.redirect_stderr(io.StringIO()):
            assert callable(cli._parser().parse_args(words).command), command


def test_every_figure_of_the_proofs_has_its_row() -> None:
    """One row a key, or one for two of them, with the figure that a full run printed beside it."""
    rows = re.findall(r"^\| (`[^|]+) \| ([0-9][0-9.,]*(?:, [0-9.,]+)?) \|", page(), re.MULTILINE)
    shown = [key for keys, _ in rows for key in re.findall(r"`(\w+)`", keys)]
    assert shown == [figure for figures in FIGURES.values() for figure in figures]


def test_the_page_counts_the_whole_catalogue() -> None:
    """An entry that is new is in the figure, which is of a run with it, and no other page has a number of its own."""
    told = re.findall(r"^\| `noops_total`, `noops_caught` \| (\d+), (\d+) \|", page(), re.MULTILINE)
    assert told == [(str(len(CATALOGUE)), str(len(CATALOGUE)))]
    pages = [*worked_trace.DOCS.rglob("*.md"), worked_trace.DOCS.parent / "README.md"]
    counted = re.compile(r"\b\d{2,} (?:silent )?no-ops\b", re.IGNORECASE)
    assert [path.name for path in pages if counted.search(path.read_text(encoding="utf-8"))] == []


def test_the_page_is_linked() -> None:
    """From where people look first."""
    root = worked_trace.DOCS.parent
    assert "/docs/measurement.md" in (root / "README.md").read_text(encoding="utf-8")
    assert "(measurement.md)" in (root / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_worked_trace_is_what_the_code_says(recordings_folder: Path) -> None:
    """Every figure of the page and its drawing, from the recording itself."""
    data = (recordings_folder / "node-late.jsonl.gz").read_bytes()
    assert worked_trace.block(page()) == worked_trace.worked(data), REGENERATE
    figure = worked_trace.FIGURE.read_text(encoding="utf-8")
    phases = re.findall(r"^ +[0-9.]+ +[0-9.]+ +[0-9.]+  (\S+)  \[", worked_trace.block(page()), re.MULTILINE)
    assert len(phases) > 10
    assert [name for name in phases if f">{name}</text>" not in figure] == [], REGENERATE


@pytest.mark.parametrize("words", ["Bounds", "open", "SIMULATED"])
def test_the_page_says_what_must_not_be_forgotten(words: str) -> None:
    """Bounds, the open question, the label."""
    assert words.lower() in page().lower()
