"""The results store keeps what it is given, survives writers beside it, and refuses what it cannot keep."""

import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from airflow_llm_provisioning.core.result import (
    MilestoneResult,
    PhaseResult,
    Preparation,
    TrialResult,
    TrialStatus,
)
from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways import tables
from airflow_llm_provisioning.gateways.store import ResultsStore

T0 = datetime(2026, 11, 22, 7, 28, 2, 710_000, tzinfo=UTC)


def trial(trial_id: str = "night-1", **changes: object) -> TrialResult:
    values: dict[str, object] = {
        "trial_id": trial_id,
        "experiment": "night",
        "run_id": "run-1",
        "dag_id": "nightly",
        "target": "eks-plain",
        "cluster": "eks-a",
        "cloud": "eks",
        "setup": "static",
        "variant": "baseline",
        "profile": "phi3-2025",
        "treatments": ("bake_packages",),
        "replicate": 0,
        "slot": 0,
        "seed": 7,
        "rayservice": "llm-1",
        "namespace": "default",
        "model_id": "m/x",
        "model_revision": "abc",
        "model_source": "pinned",
        "image": "r/i:t",
        "origin": "simulated",
        "status": TrialStatus.SUCCEEDED,
        "opened_at": T0,
        "closed_at": T0 + timedelta(minutes=20),
        "submitted_at": T0,
        "total_s": 1200.25,
        "start": "cold",
        "applied": "none",
        "phases": (PhaseResult("pull", 1200.25, 1200.0, 1201.0),),
        "milestones": (MilestoneResult("submitted", T0, T0 + timedelta(milliseconds=3), "metadata"),),
    }
    return TrialResult(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> ResultsStore:
    opened = ResultsStore.open(f"sqlite:///{tmp_path}/new/results.db")
    yield opened  # type: ignore[misc]
    opened.close()


def test_a_trial_reads_back_as_it_was_written(store: ResultsStore) -> None:
    """Instants come back aware and to the microsecond, missing stays missing, phases keep their order."""
    store.save_trial(trial())
    (read,) = store.trials(run_id="run-1")
    assert read == trial(treatments=["bake_packages"], verdicts=[], flags=[])
    assert read.completion_s is None
    assert read.opened_at.tzinfo is not None


def test_a_repeated_teardown_replaces_the_row(store: ResultsStore) -> None:
    """Two teardowns of one trial leave one row, the later one."""
    store.save_trial(trial())
    store.save_trial(trial(status=TrialStatus.FAILED, reason="quota", total_s=None, phases=()))
    (read,) = store.trials()
    assert (read.status, read.reason, read.total_s, tuple(read.phases)) == (TrialStatus.FAILED, "quota", None, ())


def test_naive_instants_are_refused(store: ResultsStore) -> None:
    """A time without a zone cannot be compared with anything."""
    with pytest.raises(StoreError, match="time zone"):
        store.save_trial(trial(opened_at=T0.replace(tzinfo=None)))


def test_traces_keep_their_order(store: ResultsStore) -> None:
    """Chunks come back in the order they were appended, per trial."""
    for data in (b"a", b"b", b"c"):
        store.append_trace("t", data)
    store.append_trace("other", b"z")
    assert store.trace("t") == [b"a", b"b", b"c"]
    assert store.trace("never") == []


def test_preparations_and_comparisons_are_kept(store: ResultsStore) -> None:
    """An unknown price stays unknown; a comparison of the same run is replaced."""
    made = Preparation(
        target="t",
        cloud="eks",
        verb="build_image",
        content="c",
        result={"image": "x"},
        origin="simulated",
        seconds=3.5,
        prepared_at=T0,
        price_basis="no list price",
    )
    store.save_preparation(made)
    assert store.preparations("t", "build_image") == [made]
    store.save_comparison("night", "run-1", [{"a": 1}, {"a": 2}])
    store.save_comparison("night", "run-1", [{"a": 3}])
    assert store.comparison("run-1") == [{"a": 3}]


def test_the_migration_and_the_tables_agree(tmp_path: Path) -> None:
    """What Alembic creates is what the code declares."""
    ResultsStore.open(f"sqlite:///{tmp_path}/r.db").close()
    engine = create_engine(f"sqlite:///{tmp_path}/r.db")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "llmp_schema_version"})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """An old package does not write into a database it does not understand."""
    url = f"sqlite:///{tmp_path}/r.db"
    ResultsStore.open(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE llmp_schema_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="newer version"):
        ResultsStore.open(url)


def test_an_unwritable_store_is_one_sentence(tmp_path: Path) -> None:
    """A path that cannot be a database is named with what to check."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        ResultsStore.open(f"sqlite:///{tmp_path}/file/results.db")


def test_the_ledger_keeps_one_open_entry_per_thing(store: ResultsStore) -> None:
    """Intent is idempotent while it is open; once gone the name can be used again."""
    ledger = store.ledger
    first = ledger.intend("instance", "builder", "cloud:eks", {"a": "b"}, T0)
    assert ledger.intend("instance", "builder", "cloud:eks", {"a": "b"}, T0) == first
    ledger.created(first, "i-1")
    (entry,) = ledger.open_entries("cloud:eks")
    assert (entry.state, entry.identity, entry.expires_at) == ("created", "i-1", T0)
    ledger.gone(first)
    assert ledger.open_entries() == []
    assert ledger.intend("instance", "builder", "cloud:eks", {"a": "b"}, T0) != first


@pytest.mark.parametrize(("later_s", "kept_s"), [(60, 60), (-60, 0)])
def test_who_intends_a_thing_again_keeps_it_longer_and_never_shorter(
    store: ResultsStore, later_s: int, kept_s: int
) -> None:
    """A thing that is used again must not be cleared away when its first user's time is over."""
    first = store.ledger.intend("snapshot", "s", "cloud:eks", {}, T0)
    assert store.ledger.intend("snapshot", "s", "cloud:eks", {}, T0 + timedelta(seconds=later_s)) == first
    (entry,) = store.ledger.open_entries()
    assert entry.expires_at == T0 + timedelta(seconds=kept_s)


def _write_many(url: str, worker: int) -> None:
    opened = ResultsStore.open(url)
    for number in range(20):
        opened.save_trial(trial(f"w{worker}-{number}"))
        opened.append_trace("shared", f"{worker}-{number}".encode())
    opened.close()


def test_processes_write_at_once(tmp_path: Path) -> None:
    """Four processes that open a new store and write together lose nothing and see no lock error."""
    url = f"sqlite:///{tmp_path}/busy.db"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_many, args=(url, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    opened = ResultsStore.open(url)
    assert len(opened.trials()) == 80
    assert len(opened.trace("shared")) == 80
    opened.close()
