"""A results database of version 0.1 is opened with every row and every value, on SQLite and on PostgreSQL."""

import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from postgres_server import new_database
from sqlalchemy import Engine, create_engine, text
from trial_builders import a_result

from airflow_llm_provisioning.core.comparison import compare
from airflow_llm_provisioning.core.result import PhaseResult, TrialStatus
from airflow_llm_provisioning.core.trial import Trial
from airflow_llm_provisioning.exceptions import StoreError
from airflow_llm_provisioning.gateways.store import database, tables
from airflow_llm_provisioning.gateways.store.migrations.versions import v0005_series
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.gateways.store.shared import shared_rows

OLD = Path(__file__).parents[1] / "stores" / "v0_1.sql"
TABLES = (
    *("llmp_phases", "llmp_milestones", "llmp_trace_chunks", "llmp_analyses", "llmp_imported_traces"),
    *("llmp_outcomes", "llmp_preparations", "llmp_comparisons", "llmp_ledger"),
)
REFUSED = "nightly-48a8d471-eks-luna-03"


def old_store(folder: Path) -> Path:
    """Return a database as version 0.1 left it."""
    path = folder / "results.db"
    connection = sqlite3.connect(path)
    connection.executescript(OLD.read_text(encoding="utf-8"))
    connection.close()
    return path


def rows_of(engine: Engine | Path, table: str) -> list[dict[str, Any]]:
    made = create_engine(f"sqlite:///{engine}") if isinstance(engine, Path) else engine
    with made.connect() as connection:
        rows = [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]  # noqa: S608
    if isinstance(engine, Path):
        made.dispose()
    return sorted(rows, key=lambda row: [str(value) for value in row.values()])


def test_every_row_of_every_table_is_there_as_it_was(tmp_path: Path) -> None:
    """Phases, milestones, traces, analyses, outcomes, preparations, comparisons and the ledger: byte for byte. A
    comparison of then does not know its DAG.
    """
    path = old_store(tmp_path)
    before = {table: rows_of(path, table) for table in TABLES}
    assert all(before.values())
    ResultsStore.open(f"sqlite:///{path}").close()
    after = {table: rows_of(path, table) for table in TABLES}
    assert [row.pop("dag_id") for row in after["llmp_comparisons"]] == [""] * len(before["llmp_comparisons"])
    assert after == before


def test_every_trial_keeps_every_value_it_had(tmp_path: Path) -> None:
    """The profile is the workload's name. What was an empty text is missing, and a trial that was refused has the
    treatments that its variant stood for. All else is equal.
    """
    path = old_store(tmp_path)
    before = {row["trial_id"]: row for row in rows_of(path, "llmp_trials")}
    ResultsStore.open(f"sqlite:///{path}").close()
    after = {row["trial_id"]: row for row in rows_of(path, "llmp_trials")}
    assert len(before) == 8
    assert after.keys() == before.keys()
    for trial_id, old in before.items():
        new = after[trial_id]
        assert new["workload"] == old.pop("profile")
        for name in ("rayservice", "namespace", "model_id", "model_revision", "model_source", "image"):
            assert new[name] == (old.pop(name) or None)
        if trial_id == REFUSED:
            assert (old.pop("treatments"), new["treatments"]) == (
                "[]",
                after["nightly-48a8d471-eks-luna-01"]["treatments"],
            )
        assert {name: new[name] for name in old} == old


def test_old_trials_read_as_trials(tmp_path: Path) -> None:
    """Whole objects: names, seeds of 32 bits, attempts, statuses, reasons, and what was never recorded is missing."""
    store = ResultsStore.open(f"sqlite:///{old_store(tmp_path)}")
    found = {row.trial_id: row for row in store.trials()}
    store.close()
    assert len(found) == 8
    assert found["nightly-18f18c1e-gke-luna-00"].trial.slot.seed == 2**32 - 1
    again = found["nightly-48a8d471-eks-luna-04.2"]
    assert (again.trial.slot.attempt, again.trial.slot.fixed_id, again.status) == (2, None, TrialStatus.TIMED_OUT)
    assert again.reason == "Not ready after 3600 s: worker pod Pending, no GPU came. Größe: 1 ≥ 0."
    refused = found[REFUSED]
    assert (refused.trial.opened, refused.status, refused.total_s) == (None, TrialStatus.FAILED, None)
    plain = found["nightly-48a8d471-eks-luna-00"]
    assert plain.trial.opened is not None
    assert plain.trial.opened.at == plain.opened_at == datetime(2025, 2, 1, 0, 2, tzinfo=UTC)
    assert (plain.trial.opened.manifest_content, plain.trial.served.model_source) == (None, "hub")
    assert plain.total_s == pytest.approx(sum(phase.duration_s for phase in plain.phases))
    own = found["my own trial"]
    assert (own.arm.stratum.model_id, own.trial.served.model_source, own.origin) == (None, None, "measured")


def test_the_keys_are_those_that_the_code_computes(tmp_path: Path) -> None:
    """The migration has its own copy of how a key and a trial are written: today both agree."""
    store = ResultsStore.open(f"sqlite:///{old_store(tmp_path)}")
    with store._engine.connect() as connection:
        rows = connection.execute(tables.trials.select()).mappings().all()
    store.close()
    for row in rows:
        trial = Trial.from_dict(row["trial"])
        assert (row["arm"], row["stratum"]) == (trial.arm.key, trial.arm.stratum.key)
        assert trial.trial_id == row["trial_id"]
        assert Trial.from_dict(trial.stored()) == trial


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"phases": (PhaseResult("a+b", 1.0, 0.5, 2.0), PhaseResult("c", 3.0, 3.0, 3.0))},
        {"environment": {"cluster": {"gitVersion": "v1.34.1"}, "head": {"zone": "a"}, "worker": {"image": 7}}},
        {"status": TrialStatus.FAILED, "total_s": None},
        {"total_s": None},
        {"total_s": -1.0},
        {"flags": ("clock of node a",)},
        {"flags": ("replaced: worker pod a by b",)},
        {"start": "warm"},
        {"variant": "improved", "applied": "none"},
        {"variant": "improved", "applied": "unknown", "autoscaler": None, "model_id": None},
    ],
)
def test_what_an_old_row_gets_is_what_a_new_row_has(changes: dict[str, Any]) -> None:
    """Migration 0005 has its own copy of how the keys and the reason are computed: today both agree."""
    result = a_result("t", **changes)
    row = {
        **{name: getattr(result, name) for name in ("total_s", "start", "applied", "environment", "flags")},
        "status": str(result.status),
        "trial": result.trial.stored(),
    }
    values, series, shared = v0005_series._filled(row, [phase.name for phase in result.phases])
    expected = shared_rows(result)
    assert values == {**expected.keys, "exclusion": result.exclusion}
    rows = {("series", each["series"]): each for each in series} | {("shared", each["shared"]): each for each in shared}
    assert rows == expected.rows


def test_every_old_row_has_its_keys_and_what_is_behind_them(tmp_path: Path) -> None:
    """A migrated row and the same row written anew are equal in every column."""
    store = ResultsStore.open(f"sqlite:///{old_store(tmp_path)}")
    wanted = ("llmp_trials", "llmp_series", "llmp_shared", "llmp_phases", "llmp_milestones")
    before = {table: rows_of(store._engine, table) for table in wanted}
    store.save_trials(store.trials())
    after = {table: rows_of(store._engine, table) for table in wanted}
    store.close()
    # Kept in these two as version 0.1 wrote it.
    for row in (*before["llmp_trials"], *after["llmp_trials"]):
        del row["rayservice"], row["trial"]
    assert before == after


def test_old_rows_are_compared_inside_their_experiment_and_with_no_new_row(tmp_path: Path) -> None:
    """The refused trial counts in its arm. A new baseline of the same workload is another arm."""
    store = ResultsStore.open(f"sqlite:///{old_store(tmp_path)}")
    store.save_trial(a_result("new", total_s=1.0))
    rows = {row.arm.label: row for row in compare(store.trials())}
    store.close()
    improved = rows["eks / static / phi3-2025 / version 0.1, experiment nightly / improved"]
    assert (improved.n, improved.trials, improved.excluded) == (1, 4, "2 failed, 1 timed_out")
    baseline = rows["eks / static / phi3-2025 / version 0.1, experiment nightly / baseline"]
    assert (baseline.n, baseline.trials, baseline.excluded) == (1, 2, "1 start warm")
    assert baseline.median_s != 1.0
    assert rows["eks / luna / us-west-2 / static / phi3-2025 / baseline"].n == 1


def test_a_migrated_row_can_be_written_again(tmp_path: Path) -> None:
    """It is one row like any other, with its phases and milestones behind foreign keys that hold."""
    path = old_store(tmp_path)
    store = ResultsStore.open(f"sqlite:///{path}")
    before = store.trials()
    for row in before:
        store.save_trial(row)
    assert store.trials() == before
    with store._engine.connect() as connection:
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert "REFERENCES llmp_trials" in str(
            connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'llmp_phases'"))
        )
    store.close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    """A row that cannot be read stops it, and nothing of it stays."""
    path = old_store(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE llmp_trials SET treatments = '{no json' WHERE variant = 'improved'")
    connection.commit()
    connection.close()
    before = rows_of(path, "llmp_trials")
    with pytest.raises((StoreError, ValueError)):
        ResultsStore.open(f"sqlite:///{path}")
    assert rows_of(path, "llmp_trials") == before
    assert [row["version_num"] for row in rows_of(path, "llmp_schema_version")] == ["0002"]


def test_it_does_not_run_where_it_would_delete_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With foreign keys enforced SQLite would delete the phases of the table that is rebuilt: it refuses."""
    path = old_store(tmp_path)
    monkeypatch.setattr(database, "_schema_change", database.writing)
    with pytest.raises(RuntimeError, match="delete its phases"):
        ResultsStore.open(f"sqlite:///{path}")
    assert rows_of(path, "llmp_phases")


def test_postgres_is_migrated_with_all_rows(postgres: str, tmp_path: Path) -> None:
    """A database of version 0.1 there: the same trials come out of it as out of SQLite's.

    Its seeds fit 31 bits, because the column of version 0.1 holds no more.
    """
    path = old_store(tmp_path)
    old = create_engine(f"sqlite:///{path}")
    with old.begin() as connection:
        connection.execute(text("UPDATE llmp_trials SET seed = 2147483647 WHERE seed > 2147483647"))
    with new_database(postgres) as url:
        new = create_engine(url)
        _upgrade_to(new, "0002")
        copied = _copied(old, new)
        with pytest.raises(StoreError, match="older version"):
            ResultsStore.open_for_reading(url)
        expected, store = ResultsStore.open(f"sqlite:///{path}"), ResultsStore.open(url)
        ours, theirs = ({row.trial_id: row for row in opened.trials()} for opened in (store, expected))
        assert ours == theirs
        assert len(ours) == 8
        assert {table: len(rows_of(new, table)) for table in copied} == copied
        store.close()
        expected.close()
        new.dispose()
    old.dispose()


def _upgrade_to(engine: Engine, revision: str) -> None:
    """Make the schema of an earlier version."""
    from alembic import command
    from alembic.config import Config

    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _copied(old: Engine, new: Engine) -> dict[str, int]:
    """Copy every row of every table, with the types that the new database's own schema has."""
    from sqlalchemy import DateTime, MetaData

    counted = {}
    metadata = MetaData()
    metadata.reflect(new)
    with old.connect() as source, new.begin() as sink:
        for table in metadata.sorted_tables:
            if table.name == "llmp_schema_version":
                continue
            rows = [dict(row) for row in source.execute(table.select()).mappings()]
            for column in table.columns:
                if isinstance(column.type, DateTime):
                    for row in rows:
                        row[column.name] = row[column.name] and row[column.name].replace(tzinfo=UTC)
            sink.execute(table.insert(), rows)
            counted[table.name] = len(rows)
    return counted


def test_the_migrations_are_one_chain() -> None:
    """Every number is taken once, follows the one before it, and the last one is the schema of this version."""
    folder = Path(database.__file__).with_name("migrations") / "versions"
    told = {
        path.name: re.findall(r'^(?:down_)?revision = (?:"(\d+)"|None)', path.read_text(encoding="utf-8"), re.MULTILINE)
        for path in sorted(folder.glob("v*.py"))
    }
    numbers = [name[1:5] for name in told]
    assert numbers == [f"{number:04d}" for number in range(1, len(told) + 1)]
    assert list(told.values()) == [list(pair) for pair in zip(numbers, ["", *numbers], strict=False)]
    assert numbers[-1] == database.HEAD
