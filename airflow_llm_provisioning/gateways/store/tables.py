"""The results store's schema as SQLAlchemy tables. Alembic's migrations (beside this file) create it; a test compares
the two.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
)

from airflow_llm_provisioning.gateways.store.column_types import LongText, Name, PlainJson, UtcDateTime

NAME_LENGTH: Final = 250


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _name(key: str, *args: Any, **kwargs: Any) -> Column[str]:
    return Column(key, Name(NAME_LENGTH), *args, **kwargs)


trials = Table(
    "llmp_trials",
    metadata,
    _name("trial_id", primary_key=True),
    _name("experiment", nullable=False),
    _name("dag_id", nullable=False),
    _name("run_id", nullable=False, index=True),
    _name("target", nullable=False),
    _name("cluster", nullable=False),
    # The stratum. NULL: not recorded. `nodes` of a row of version 0.1 is `0.1:` and its experiment.
    _name("cloud", nullable=False),
    _name("region"),
    _name("autoscaler"),
    _name("nodes"),
    _name("setup", nullable=False),
    _name("workload", nullable=False),
    _name("workload_content", nullable=False),
    _name("model_id"),
    _name("model_revision"),
    _name("variant", nullable=False),
    Column("treatments", PlainJson, nullable=False),
    # `Stratum.key` and `Arm.key`: what trials are grouped by.
    _name("stratum", nullable=False, index=True),
    _name("arm", nullable=False),
    # Keys of what is stored once for many trials (`gateways.store.shared`). `path` is NULL without phases.
    _name("series", nullable=False),
    _name("facts", nullable=False),
    _name("path"),
    # Why the trial may not enter a comparison (`TrialResult.exclusion`); NULL where it may.
    _name("exclusion"),
    Column("replicate", Integer, nullable=False),
    Column("slot", Integer, nullable=False),
    # 32 unsigned bits.
    Column("seed", BigInteger, nullable=False),
    # NULL: the trial was refused before it was opened.
    _name("rayservice"),
    _name("namespace"),
    _name("model_source"),
    Column("image", LongText),
    # Everything of the trial but how it is reached (`Trial.stored`); the columns above repeat what queries need of it.
    Column("trial", PlainJson, nullable=False),
    _name("origin", nullable=False),
    _name("status", nullable=False),
    Column("reason", LongText),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime, nullable=False),
    Column("submitted_at", UtcDateTime),
    Column("ready_at", UtcDateTime),
    Column("total_s", Float),
    Column("total_low_s", Float),
    Column("total_high_s", Float),
    Column("completion_s", Float),
    _name("start", nullable=False),
    _name("applied", nullable=False),
    Column("verdicts", PlainJson, nullable=False),
    Column("flags", PlainJson, nullable=False),
    Column("environment", PlainJson, nullable=False),
    # Which code computed the row from its trace; NULL in rows that are older than this column or have no trace.
    _name("analysis_version"),
    # `core.capacity.Capacity` as a dict; NULL: nothing was refused, or the row is older than this column.
    Column("capacity", PlainJson(none_as_null=True)),
    # What its machines cost (`core.cost.priced`); the columns after it repeat what sums need. NULL: not known.
    Column("cost", PlainJson(none_as_null=True)),
    Column("cost_amount", Float),
    _name("currency"),
    Column("gpu_hours", Float),
    # `core.serving_speed.ServingSpeed` as a dict; NULL: it was not measured.
    Column("speed", PlainJson(none_as_null=True)),
    # A list of trials is read newest first, a page at a time; a history by its series, and by the runs found there.
    Index("ix_llmp_trials_opened_at", "opened_at", "trial_id"),
    Index("ix_llmp_trials_experiment", "experiment", "opened_at"),
    Index("ix_llmp_trials_dag_id", "dag_id", "opened_at"),
    Index("ix_llmp_trials_arm", "arm", "opened_at"),
    Index("ix_llmp_trials_status", "status", "opened_at"),
    Index("ix_llmp_trials_series", "series", "opened_at"),
    Index("ix_llmp_trials_series_run_id", "series", "run_id"),
)

# One row per arm on a target: everything that is known before a trial. `cell`: what a history follows
# (`core.nights.Cell.key`); `content`: {arm, target}, whole.
series = Table(
    "llmp_series",
    metadata,
    _name("series", primary_key=True),
    _name("arm", nullable=False, index=True),
    _name("stratum", nullable=False),
    _name("cell", nullable=False, index=True),
    Column("content", PlainJson, nullable=False),
)

# The facts that were observed, and the names of a deciding path.
shared = Table(
    "llmp_shared",
    metadata,
    _name("shared", primary_key=True),
    Column("content", PlainJson, nullable=False),
)

phases = Table(
    "llmp_phases",
    metadata,
    _name("trial_id", ForeignKey("llmp_trials.trial_id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    # A phase that joins others has all their names.
    Column("name", LongText, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("low_s", Float, nullable=False),
    Column("high_s", Float, nullable=False),
    # The rows of a trial lie together, in the order of their key.
    sqlite_with_rowid=False,
)

milestones = Table(
    "llmp_milestones",
    metadata,
    _name("trial_id", ForeignKey("llmp_trials.trial_id", ondelete="CASCADE"), primary_key=True),
    _name("name", primary_key=True),
    Column("earliest_at", UtcDateTime, nullable=False),
    Column("latest_at", UtcDateTime, nullable=False),
    Column("source", LongText, nullable=False),
    sqlite_with_rowid=False,
)

# Chunks arrive while the trial runs, before its row exists: no foreign key.
traces = Table(
    "llmp_trace_chunks",
    metadata,
    _name("trial_id", primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("written_at", UtcDateTime, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

# What was computed from a trace, as text and by which code, so that a replay can be held against it byte for byte.
analyses = Table(
    "llmp_analyses",
    metadata,
    _name("trial_id", primary_key=True),
    _name("analysis_version", nullable=False),
    Column("computed_at", UtcDateTime, nullable=False),
    Column("document", LargeBinary, nullable=False),
)

# Traces from elsewhere. They have chunks and analyses like our own, and never a row among the trials.
imports = Table(
    "llmp_imported_traces",
    metadata,
    _name("trial_id", primary_key=True),
    Column("imported_at", UtcDateTime, nullable=False),
    Column("file_name", LongText, nullable=False),
    _name("origin", nullable=False),
    Column("named", LongText),
    Column("redacted", Integer, nullable=False),
)

outcomes = Table(
    "llmp_outcomes",
    metadata,
    Column("outcome_id", Integer, primary_key=True, autoincrement=True),
    _name("trial_id", nullable=False, index=True),
    _name("step", nullable=False),
    _name("status", nullable=False),
    Column("reason", LongText),
    Column("noted_at", UtcDateTime, nullable=False),
)

preparations = Table(
    "llmp_preparations",
    metadata,
    Column("preparation_id", Integer, primary_key=True, autoincrement=True),
    _name("target", nullable=False, index=True),
    _name("cloud", nullable=False),
    _name("verb", nullable=False),
    _name("content", nullable=False),
    Column("result", PlainJson, nullable=False),
    _name("origin", nullable=False),
    Column("seconds", Float, nullable=False),
    Column("prepared_at", UtcDateTime, nullable=False),
    Column("reused", Boolean, nullable=False),
    Column("price_usd", Float),
    Column("price_basis", LongText),
    _name("run_id"),
)

comparisons = Table(
    "llmp_comparisons",
    metadata,
    Column("comparison_id", Integer, primary_key=True, autoincrement=True),
    _name("experiment", nullable=False),
    # "" in rows that are older than the column.
    _name("dag_id", nullable=False, server_default=""),
    _name("run_id", nullable=False, index=True),
    Column("compared_at", UtcDateTime, nullable=False),
    Column("position", Integer, nullable=False),
    Column("row", PlainJson, nullable=False),
)

# What people said of changes of level. A cell is named as its trials' rows name it; `run_id` is the level's first.
level_notes = Table(
    "llmp_level_notes",
    metadata,
    Column("note_id", Integer, primary_key=True, autoincrement=True),
    _name("origin", nullable=False),
    _name("target", nullable=False),
    _name("workload", nullable=False),
    _name("setup", nullable=False),
    _name("variant", nullable=False),
    _name("run_id", nullable=False),
    _name("kind", nullable=False),
    Column("noted_by", LongText, nullable=False),
    Column("noted_at", UtcDateTime, nullable=False),
    Column("why", LongText, nullable=False),
)

ledger = Table(
    "llmp_ledger",
    metadata,
    Column("entry_id", Integer, primary_key=True, autoincrement=True),
    _name("place", nullable=False),
    _name("kind", nullable=False),
    _name("name", nullable=False),
    _name("state", nullable=False),
    Column("identity", LongText),
    Column("tags", PlainJson, nullable=False),
    Column("intended_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    # At most one open entry of a thing: NULL once gone, so that the same name can be used again.
    Column("open_key", LongText, nullable=True),
    UniqueConstraint("open_key"),
    Index("ix_llmp_ledger_state_place", "state", "place"),
)

# The trials that run now. A trial's row leaves this table when its result is written.
progress = Table(
    "llmp_progress",
    metadata,
    _name("trial_id", primary_key=True),
    _name("experiment", nullable=False),
    _name("dag_id", nullable=False, index=True),
    *[_name(name, nullable=False) for name in ("run_id", "task_id", "target", "cluster", "variant", "origin", "arm")],
    *[_name(name, nullable=False) for name in ("label", "step", "phase")],
    Column("blocker", LongText),
    # Cluster seconds since the submission, at `updated_at`.
    Column("elapsed_s", Float, nullable=False),
    Column("expected_s", Float),
    Column("expected_low_s", Float),
    Column("expected_high_s", Float),
    Column("expected_n", Integer, nullable=False),
    # What its machines have cost so far (`core.budget.Meter`); NULL: not known.
    Column("spent", Float),
    _name("currency"),
    # Of the cluster's clock.
    Column("opened_at", UtcDateTime, nullable=False),
    # Real time.
    Column("updated_at", UtcDateTime, nullable=False),
)
