"""The results store keeps what it is given, survives writers beside it, and refuses what it cannot keep."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event, inspect, text
from trial_builders import a_result

from airflow_llm_provisioning.core.result import (
    MilestoneResult,
    PhaseResult,
    Preparation,
    TrialResult,
    TrialStatus,
)
from airflow_llm_provisioning.core.trial import Access
from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store import tables
from airflow_llm_provisioning.gateways.store.results import ResultsStore

T0 = datetime(2026, 11, 22, 7, 28, 2, 710_000, tzinfo=UTC)


def trial(trial_id: str | None = "night-1", **changes: Any) -> TrialResult:
    values: dict[str, Any] = {
        "variant": "baked_image",
        "treatments": ("bake_packages",),
        "opened_at": T0,
        "closed_at": T0 + timedelta(minutes=20),
        "submitted_at": T0,
        "total_s": 1200.25,
        "phases": (PhaseResult("pull", 1200.25, 1200.0, 1201.0),),
        "milestones": (MilestoneResult("submitted", T0, T0 + timedelta(milliseconds=3), "metadata"),),
    }
    return a_result(trial_id, **values | changes)


@pytest.fixture
def store(database_url: str) -> Iterator[ResultsStore]:
    opened = ResultsStore.open(database_url)
    yield opened
    opened.close()


def test_a_trial_reads_back_as_it_was_written(store: ResultsStore) -> None:
    """Instants come back aware and to the microsecond, missing stays missing, phases keep their order, and the trial is
    the one that was planned and opened.
    """
    store.save_trial(trial())
    (read,) = store.trials(run_id="run-1")
    assert read == trial(verdicts=[], flags=[])
    assert read.completion_s is None
    assert read.opened_at.tzinfo is not None
    assert read.trial.opened is not None
    assert read.arm.key == trial().arm.key


def test_how_a_trial_is_reached_is_not_kept(store: ResultsStore) -> None:
    """Connection ids belong to the tasks of the trial and not to its row."""
    access = Access(cluster={"conn_id": "a_cluster"}, cloud=None, results_conn_id="a_store")
    store.save_trial(replace(trial(), trial=replace(trial().trial, access=access)))
    (read,) = store.trials()
    assert read.trial == trial().trial


def test_a_trial_that_was_refused_reads_back(store: ResultsStore) -> None:
    """It was never opened: no RayService, no image, no resolved model."""
    refused = trial(None, opened=None, image="", model_id=None, model_revision=None, status=TrialStatus.FAILED)
    store.save_trial(refused)
    assert store.trial(refused.trial_id) == replace(refused, verdicts=[], flags=[])


def test_trials_are_found_by_their_arm_and_by_their_stratum(store: ResultsStore) -> None:
    """Both keys are columns with an index; so are those that other queries need."""
    found = [trial("one"), trial("two", variant="baseline", treatments=()), trial("three", autoscaler="karpenter")]
    for each in found:
        store.save_trial(each)
    assert [row.trial_id for row in store.trials(arm=found[0].arm.key)] == ["one"]
    assert {row.trial_id for row in store.trials(stratum=found[0].arm.stratum.key)} == {"one", "two"}
    assert [row.trial_id for row in store.trials(autoscaler="karpenter", experiment="made-up")] == ["three"]
    engine = create_engine(store._engine.url)
    indexed = {index["column_names"][0] for index in inspect(engine).get_indexes("llmp_trials")}
    engine.dispose()
    assert {"arm", "stratum", "run_id", "experiment"} <= indexed


def test_one_run_is_read_without_the_others(store: ResultsStore) -> None:
    """Phases and milestones of other runs are not read either: every statement names the run or its trials."""
    store.save_trial(trial("mine"))
    store.save_trial(trial("theirs", run_id="run-2"))
    asked: list[tuple[str, Any]] = []
    event.listen(store._engine, "before_cursor_execute", lambda _c, _cur, sql, values, *_: asked.append((sql, values)))
    (read,) = store.trials(run_id="run-1")
    assert read.trial_id == "mine"
    bound = [tuple(values.values()) if isinstance(values, dict) else values for sql, values in asked if "SELECT" in sql]
    assert bound == [("run-1",), ("mine",), ("mine",)]


def test_a_seed_of_32_unsigned_bits_is_kept(store: ResultsStore) -> None:
    """A DAG run without a given seed may draw it."""
    store.save_trial(trial(seed=2**32 - 1))
    assert [row.trial.slot.seed for row in store.trials()] == [2**32 - 1]


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
    # Two DAGs of one schedule have runs of one id.
    store.save_comparison("night", "run-1", [{"a": 4}], dag_id="other")
    assert store.comparison("run-1", dag_id="other") == [{"a": 4}]
    assert store.comparison("run-1", dag_id="") == [{"a": 3}]


def test_the_migration_and_the_tables_agree(database_url: str) -> None:
    """What Alembic creates is what the code declares."""
    ResultsStore.open(database_url).close()
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "llmp_schema_version"})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_a_newer_schema_is_refused(database_url: str) -> None:
    """An old package neither writes nor reads a database it does not understand."""
    ResultsStore.open(database_url).close()
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE llmp_schema_version SET version_num = '9999'"))
    engine.dispose()
    for opening in (ResultsStore.open, ResultsStore.open_for_reading):
        with pytest.raises(StoreError, match="newer version"):
            opening(database_url)


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


def test_processes_write_at_once(database_url: str) -> None:
    """Four processes that open a new store and write together lose nothing and see no lock error."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_many, args=(database_url, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    opened = ResultsStore.open(database_url)
    assert len(opened.trials()) == 80
    assert len(opened.trace("shared")) == 80
    opened.close()
