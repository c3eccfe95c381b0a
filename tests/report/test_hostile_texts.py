"""Texts from clusters and users in tables, CSV, JSON and the page: shown as they are, and never obeyed."""

import csv
import io
import json
from typing import Any

import pytest

from airflow_llm_provisioning.report.escaping import spreadsheet_value, terminal_text
from airflow_llm_provisioning.report.markup import html
from airflow_llm_provisioning.report.tables import written

REASONS = {
    "closing markup": "cannot mount [/var/lib/x]: denied",
    "opening markup": "no node has [gpu] free",
    "a link": "[link=https://x.example]click[/link]",
    "an escape sequence": "\x1b[2J\x1b]0;title\x07 gone",
    "a C1 control": "\x9b2J gone",
    "a carriage return": "all is well\rfailed",
    "right to left": "\u202egpj.exe",
    "an emoji's name": ":smile: failed",
}


def row(**fields: Any) -> dict[str, Any]:
    return {"target": "t", "verb": "v", "seconds": 1.5, "reused": False, "price_usd": None, "price_basis": "b",
            "origin": "simulated", **fields}  # fmt: skip


@pytest.mark.parametrize("what", REASONS)
def test_a_table_shows_a_text_as_it_is(what: str) -> None:
    """Square brackets are no markup, and a terminal gets no control character."""
    told = written([row(price_basis=REASONS[what])], "table")
    assert not [letter for letter in told if letter != "\n" and (letter < " " or "\x7f" <= letter <= "\x9f")]
    if "markup" in what or "link" in what or "emoji" in what:
        assert REASONS[what] in told
    if "escape" in what:
        assert "\\x1b[2J" in told
    assert "\u202e" not in told


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_secret_of_an_older_row_is_not_printed(form: str) -> None:
    """Rows that an earlier version wrote pass the redactor when they are read."""
    told = written([row(price_basis="pull of https://u:made-up-3@x.example failed, api_key=made-up-3")], form)
    assert "made-up-3" not in told
    assert "failed" in told


@pytest.mark.parametrize("begin", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", " =1", "\t=1", "\uff1d1"])
def test_a_spreadsheet_calculates_no_cell(begin: str) -> None:
    """A text that would be a formula begins with an apostrophe; numbers stay numbers."""
    told = written([row(price_basis=begin, seconds=-1.5)], "csv")
    (read,) = csv.DictReader(io.StringIO(told))
    assert read["price_basis"].startswith("'")
    assert read["seconds"] == "-1.5"
    assert spreadsheet_value("a=1") == "a=1"


def test_json_keeps_values() -> None:
    """A program reads what was stored."""
    assert json.loads(written([row(price_basis="[/x] =1")], "json"))[0]["price_basis"] == "[/x] =1"


def test_a_page_has_no_control_characters() -> None:
    """A value of the page passes the same cell."""
    assert html("\x1b[2J <b>") == "\\x1b[2J &lt;b&gt;"


def test_lines_of_a_text_stay() -> None:
    """Only what a terminal obeys is escaped."""
    assert terminal_text("a\nb\tc \x00") == "a\nb\tc \\x00"
