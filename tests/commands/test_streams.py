"""What a command has written is there when it has ended."""

import sys
from pathlib import Path

import pytest

from airflow_llm_provisioning.commands.streams import tolerant_streams


def test_a_stream_that_is_still_held_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log handler holds standard error for as long as the process runs."""
    file = tmp_path / "out.txt"
    with file.open("w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with tolerant_streams():
            held = sys.stdout
            held.write("told")
        assert sys.stdout is stream
        assert file.read_text(encoding="utf-8") == "told"
