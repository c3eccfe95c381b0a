"""Which results store a command reads, and that a command that reads changes nothing."""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from trial_builders import a_result

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.commands.exit_codes import MEANINGS
from airflow_llm_provisioning.commands.stored import DEMO_STORE
from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store.results import ResultsStore

ROOT = Path(__file__).resolve().parents[2]
OLD = ROOT / "tests" / "gateways" / "stores" / "v0_1.sql"
READING = (
    ("results", "--what", "trials"),
    ("report", "--out", os.devnull),
    ("history",),
    ("replay", "--all"),
    ("trace", "list"),
    ("trace", "export", "night-1", os.devnull),
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command with a home of its own and without a named store: exit code, output, errors."""
    for name in ("LLM_PROVISIONING_STORE", "AIRFLOW_CONN_LLM_PROVISIONING_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))

    def command(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def a_store(path: Path, trial_id: str = "night-1") -> Path:
    store = ResultsStore.open(f"sqlite:///{path}")
    store.save_trial(a_result(trial_id, total_s=845.5))
    store.close()
    return path


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, with what is in it and when it was written."""
    return {
        str(path): f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("words", READING, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("mistyped", ["sqlite:///{}/no.db", "{}/no.db", "sqlit:///{}/mine.db", "mine-db", "a://b://c"])
def test_a_mistyped_store_is_an_error_and_is_not_created(
    run: Run, tmp_path: Path, words: tuple[str, ...], mistyped: str
) -> None:
    """Exit code 2 and one sentence; no file appears."""
    a_store(tmp_path / "mine.db")
    before = content(tmp_path)
    code, out, err = run(*words, "--store", mistyped.format(tmp_path))
    assert (code, out) == (2, "")
    assert "llm-provisioning: " in err
    assert "Traceback" not in err
    assert content(tmp_path) == before


@pytest.mark.parametrize("words", READING, ids=lambda words: " ".join(words[:2]))
def test_a_command_that_reads_changes_nothing(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Not the file, not its folder; the store is named on stderr, and not between the rows."""
    folder = tmp_path / "kept"
    a_store(folder / "mine.db")
    before = content(folder)
    _, out, err = run(*words, "--store", folder / "mine.db")
    assert content(folder) == before
    assert f"Results store: sqlite:///{folder}/mine.db (--store)\n" in err
    assert "Results store" not in out


def test_a_file_that_cannot_be_written_is_read(run: Run, tmp_path: Path) -> None:
    """Another process holds the write lock, as a file system that is read-only would refuse it."""
    path = a_store(tmp_path / "mine.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        code, out, _ = run("results", "--what", "trials", "--format", "json", "--store", path)
    assert code == 0
    assert [row["trial_id"] for row in json.loads(out)] == ["night-1"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_read(tmp_path: Path) -> None:
    """In a folder that this process cannot write, SQLite cannot make the files that it keeps beside a database."""
    path = a_store(tmp_path / "kept" / "mine.db")
    path.parent.chmod(0o555)
    path.chmod(0o444)
    for folder in path.parent.parents:
        folder.chmod(folder.stat().st_mode | 0o011)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            store = ResultsStore.open_for_reading(f"sqlite:///{path}")
            status = 0 if [row.trial_id for row in store.trials()] == ["night-1"] else 2
            store.close()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_a_running_task_has_written_is_read(run: Run, tmp_path: Path) -> None:
    """It stands in the log beside the file, as long as the task has the store open."""
    path = a_store(tmp_path / "mine.db")
    writer = ResultsStore.open(f"sqlite:///{path}")
    writer.save_trial(a_result("night-2"))
    _, out, _ = run("results", "--what", "trials", "--format", "json", "--store", path)
    writer.close()
    assert sorted(row["trial_id"] for row in json.loads(out)) == ["night-1", "night-2"]


def test_a_store_that_was_written_while_it_was_read_says_so(tmp_path: Path) -> None:
    """What was read may then mix two states."""
    path = a_store(tmp_path / "mine.db")
    reader = ResultsStore.open_for_reading(f"sqlite:///{path}")
    assert len(reader.trials()) == 1
    a_store(path, "night-2")
    with pytest.raises(StoreError, match="written while it was read"):
        reader.close()


def test_an_older_store_is_read_and_stays_as_it_is(run: Run, tmp_path: Path) -> None:
    """A copy is brought up to date."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD.read_text(encoding="utf-8"))
    before = content(tmp_path)
    code, out, _ = run("results", "--what", "trials", "--format", "json", "--store", path)
    assert (code, len(json.loads(out))) == (0, 8)
    assert content(tmp_path) == before


@pytest.mark.parametrize("made", ["CREATE TABLE another (a)", None])
def test_a_database_of_another_program_is_refused(run: Run, tmp_path: Path, made: str | None) -> None:
    """A SQLite file without our tables, and a file that is no database."""
    path = tmp_path / "other.db"
    if made is None:
        path.write_text("no database, but a text that is long enough for a header of one hundred bytes. " * 4)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(made)
    code, _, err = run("results", "--store", path)
    assert code == 2
    assert re.search("is no results store|cannot be read: file is not a database", err)


def test_the_default_connection_is_read_before_the_default_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in docker-compose.yaml, where an environment variable defines it."""
    a_store(tmp_path / "airflow" / "llm_provisioning" / "results.db", "in-home")
    path = a_store(tmp_path / "connected.db", "connected")
    connection = json.dumps({"conn_type": "sqlite", "host": str(path)})
    monkeypatch.setenv("AIRFLOW_CONN_LLM_PROVISIONING_RESULTS", connection)
    _, out, err = run("results", "--what", "trials", "--format", "json")
    assert [row["trial_id"] for row in json.loads(out)] == ["connected"]
    assert f"{path} (connection llm_provisioning_results)" in err
    monkeypatch.delenv("AIRFLOW_CONN_LLM_PROVISIONING_RESULTS")
    _, out, err = run("results", "--what", "trials", "--format", "json")
    assert [row["trial_id"] for row in json.loads(out)] == ["in-home"]
    assert "(the file in AIRFLOW_HOME)" in err


def test_a_named_connection_that_is_not_defined_is_an_error(run: Run) -> None:
    """It is named, with where it was searched."""
    code, _, err = run("results", "--store-conn", "mistyped")
    assert code == 2
    assert "'mistyped' is not defined" in err
    assert "AIRFLOW_CONN_MISTYPED" in err


def test_after_a_demonstration_its_store_is_read(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make ui` and `make demo` name it beside the Python environment. AIRFLOW_HOME outweighs it, and a demonstration
    whose folder was deleted is forgotten.
    """
    home = tmp_path / "ui" / "airflow"
    path = a_store(home / "llm_provisioning" / "results.db", "shown")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / DEMO_STORE).write_text(f"{path}\n", encoding="utf-8")
    assert "(the file in AIRFLOW_HOME)" in run("results")[2]
    monkeypatch.delenv("AIRFLOW_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    _, out, err = run("results", "--what", "trials", "--format", "json")
    assert [row["trial_id"] for row in json.loads(out)] == ["shown"]
    assert "make ui" in err
    shutil.rmtree(home)
    code, _, err = run("results")
    assert code == 2
    assert f"{tmp_path}/airflow/llm_provisioning/results.db" in err


def test_the_documentation_lists_the_exit_codes() -> None:
    """The same words as in the module."""
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {int(code)} | {meaning} |" in page


@pytest.mark.parametrize(
    "words",
    [
        ("report", "--sweep", "{}/no.json"),
        ("report", "--out", "{}/mine.db/report.html"),
        ("replay", "{}/trace.jsonl", "--against", "{}/no.json"),
        ("replay", "{}/trace.jsonl", "--svg", "{}/mine.db/x.svg"),
        ("trace", "export", "night-1", "{}/mine.db/x.jsonl"),
        ("trace", "import", "{}/no.jsonl"),
        ("preflight", "{}/no.yaml"),
        ("render", "{}/no.yaml", "a", "baseline"),
        ("init", "{}/mine.db"),
        ("schema", "--out", "{}/no/x.json"),
        ("sweep", "{}/no.yaml"),
        ("simulator", "{}/no.yaml"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_missing_file_is_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Exit code 2, and no traceback, of every command."""
    from trace_builders import small_chunks

    path = a_store(tmp_path / "mine.db")
    store = ResultsStore.open(f"sqlite:///{path}")
    for chunk in small_chunks():
        store.append_trace("night-1", chunk)
    store.close()
    (tmp_path / "trace.jsonl").write_bytes(b"".join(small_chunks()))
    monkeypatch.setenv("LLM_PROVISIONING_STORE", str(path))
    code, _, err = run(*(word.format(tmp_path) for word in words))
    assert code == 2, err
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if not line.startswith("Results store: ")]) <= 1
