"""`llm-provisioning store`: what is lost is found, old recordings go and rows stay, a copy is whole or says why not."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from trial_builders import OPENED_AT, a_result

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.core.result import MilestoneResult, PhaseResult
from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store import copying
from airflow_llm_provisioning.gateways.store.database import open_engine
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.gateways.store.traces import ImportedTrace

PHASES = (PhaseResult("image_pull", 600.0, 599.0, 601.0), PhaseResult("model_load", 400.0, 400.0, 400.0))
NOW = datetime.now(UTC)


def filled(path: Path, trials: int = 7) -> str:
    """A store with a row in every table that a user's may have."""
    url = f"sqlite:///{path}"
    clock = iter(NOW - timedelta(days=100 - day) for day in range(1000))
    store = ResultsStore.open(url, clock=lambda: next(clock))
    for number in range(trials):
        name = f"t{number}"
        store.append_trace(name, bytes(1000))
        store.note_outcome(name, "wait", "succeeded", "ready: Größe")
        stones = (MilestoneResult("submitted", OPENED_AT, OPENED_AT, "metadata"),)
        store.save_trial(a_result(name, phases=PHASES, milestones=stones), analysis="{}")
    store.traces.add_imported(ImportedTrace("imported-1", NOW, "f", "measured", None, 0), bytes(70_000), None)
    store.ledger.intend("snapshot", "s", "cloud:eks", {"a": "b"}, NOW)
    store.save_comparison("made-up", "run-1", [{"n": 1}])
    store.close()
    return url


@pytest.fixture
def url(tmp_path: Path) -> str:
    return filled(tmp_path / "results.db")


def change(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_a_whole_store_is_whole(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The schema, the rows of every table, and no fault."""
    assert main(["store", "check", url]) == 0
    out = capsys.readouterr().out
    assert "up to date" in out
    assert "7 in llmp_trials" in out
    assert out.endswith("Nothing is wrong.\n")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM llmp_phases WHERE trial_id IN ('t1', 't2')", "2 trials whose phases are lost (t1, t2)"),
        (
            "UPDATE llmp_phases SET duration_s = 1 WHERE trial_id = 't3' AND position = 0",
            "not sum to their total (t3)",
        ),
        ("DELETE FROM llmp_series", "7 trials whose arm, facts or path are lost (t0, t1, t2, ...)"),
        ("DELETE FROM llmp_trials WHERE trial_id = 't4'", "trials of phases that have no row (t4)"),
        ("DELETE FROM llmp_trace_chunks WHERE trial_id = 'imported-1'", "imported traces without a recording"),
    ],
)
def test_what_is_lost_is_named(url: str, capsys: pytest.CaptureFixture[str], statement: str, told: str) -> None:
    """Exit code 1, the kind of fault and some of the names."""
    change(url, "PRAGMA foreign_keys=OFF", statement)
    assert main(["store", "check", url]) == 1
    out = capsys.readouterr().out
    assert told in out
    assert "Nothing is wrong" not in out


def test_what_is_only_worth_knowing_is_a_note(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A trial that still runs has a trace and no row; two DAGs of one schedule have runs of one id."""
    store = ResultsStore.open(url)
    store.append_trace("running", b"x")
    store.save_trial(a_result("other", dag_id="another"))
    store.close()
    assert main(["store", "check", url]) == 0
    out = capsys.readouterr().out
    assert "Note: 1 traces without a trial" in out
    assert "Note: 1 run ids that several DAGs have (run-1)" in out


@pytest.mark.parametrize("what", ["check", "migrate", "prune"])
def test_a_store_of_a_newer_version_is_refused_in_one_sentence(
    url: str, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """Neither read nor changed."""
    change(url, "UPDATE llmp_schema_version SET version_num = '9999'")
    assert main(["store", what, url, *(["--older-than", "1"] if what == "prune" else [])]) == 2
    err = capsys.readouterr().err
    assert "newer version of this package (schema 9999" in err
    assert err.count("\n") == 2


@pytest.mark.parametrize("what", ["check", "migrate", "prune"])
def test_a_store_that_does_not_exist_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    """A mistyped path stays without a file."""
    path = tmp_path / "mistyped.db"
    assert main(["store", what, str(path), *(["--max-size", "1G"] if what == "prune" else [])]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not path.exists()


def test_an_old_store_is_told_and_migrated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` changes nothing; `migrate` says from which schema to which."""
    path = tmp_path / "old.db"
    old = Path(__file__).resolve().parents[1] / "gateways" / "stores" / "v0_1.sql"
    import sqlite3

    connection = sqlite3.connect(path)
    connection.executescript(old.read_text(encoding="utf-8"))
    connection.close()
    assert main(["store", "check", str(path)]) == 1
    assert "Schema 0002" in capsys.readouterr().out
    assert main(["store", "migrate", str(path)]) == 0
    assert "Schema 0002 is now" in capsys.readouterr().out
    assert main(["store", "check", str(path)]) == 0


def test_old_recordings_go_and_rows_stay(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """First it says what it would free, and deletes nothing."""
    # The clock ticks once a call: each trial's trace is days old, and the imported one is new.
    assert main(["store", "prune", url, "--older-than", "90d"]) == 0
    out = capsys.readouterr().out
    assert "recordings, " in out
    assert "Nothing was deleted" in out
    store = ResultsStore.open(url)
    before = store.trials()
    kept = {each.trial_id for each in store.traces.listed() if NOW - each.written_at <= timedelta(days=90)}
    assert 0 < len(kept) < 8
    assert main(["store", "prune", url, "--older-than", "90d", "--yes"]) == 0
    assert {each.trial_id for each in store.traces.listed()} == kept
    assert store.trials() == before
    store.close()


def test_the_oldest_recordings_go_until_the_rest_fits(url: str) -> None:
    """A trial that has no row may still run: its recording is not deleted for its size."""
    store = ResultsStore.open(url, clock=lambda: NOW - timedelta(days=400))
    store.append_trace("running", bytes(5000))
    assert main(["store", "prune", url, "--max-size", "76k", "--yes"]) == 0
    left = {each.trial_id: each.size_bytes for each in store.traces.listed()}
    store.close()
    assert left == {"running": 5000, "imported-1": 70_000, "t6": 1000}


def test_without_a_limit_nothing_is_pruned(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no default age."""
    assert main(["store", "prune", url, "--yes"]) == 2
    assert "--older-than" in capsys.readouterr().err


@pytest.fixture
def target(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/copy.db"


def same(one: str, other: str) -> bool:
    first, second = open_engine(one), open_engine(other)
    try:
        return copying.rows_of(first) == copying.rows_of(second)
    finally:
        first.dispose()
        second.dispose()


def test_a_copy_has_every_row(url: str, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And every value: trials, traces, ledger and what was computed."""
    assert main(["store", "copy", url, target]) == 0
    assert "llmp_trials: 7 written, 7 of 7 there" in capsys.readouterr().out
    assert same(url, target)
    one, other = ResultsStore.open(url), ResultsStore.open(target)
    assert one.trials() == other.trials()
    assert one.trace("imported-1") == other.trace("imported-1")
    assert one.ledger.open_entries() == other.ledger.open_entries()
    other.ledger.intend("snapshot", "next", "cloud:eks", {}, NOW)
    one.close()
    other.close()


def test_a_target_that_is_not_empty_is_refused(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what it holds; with --resume a row of another store ends the copy, and stays as it was."""
    other = f"sqlite:///{tmp_path}/other.db"
    store = ResultsStore.open(other)
    store.save_trial(a_result("t1", total_s=5.0))
    assert main(["store", "copy", url, other]) == 2
    assert "not empty (1 in llmp_" in capsys.readouterr().err
    assert main(["store", "copy", url, other, "--resume"]) == 2
    assert "another row" in capsys.readouterr().err
    assert [trial.total_s for trial in store.trials()] == [5.0]
    store.close()


def test_an_interrupted_copy_goes_on(url: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written stays written, and the rest follows."""
    monkeypatch.setattr(copying, "CHUNK", 2)
    chunks = copying._chunks
    calls = 0

    def interrupted(*arguments: object) -> Iterator[object]:
        nonlocal calls
        for rows in chunks(*arguments):  # type: ignore[arg-type]
            calls += 1
            if calls == 9:
                raise StoreError("The network is gone.")
            yield rows

    monkeypatch.setattr(copying, "_chunks", interrupted)
    assert main(["store", "copy", url, target]) == 2
    assert not same(url, target)
    monkeypatch.setattr(copying, "_chunks", chunks)
    assert main(["store", "copy", url, target, "--resume"]) == 0
    assert same(url, target)


def test_no_password_is_shown(capsys: pytest.CaptureFixture[str], url: str) -> None:
    """Neither of the source nor of the target, also where it cannot be reached."""
    hidden = "postgresql+psycopg://me:s3cr3t-pw@127.0.0.1:1/db"
    assert main(["store", "copy", url, hidden]) == 2
    assert main(["store", "check", hidden]) == 2
    told = capsys.readouterr()
    assert "s3cr3t-pw" not in told.out + told.err
    assert told.err.count("127.0.0.1:1/db") >= 2
