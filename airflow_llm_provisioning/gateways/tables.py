"""The results store's schema as SQLAlchemy tables. Alembic's migrations (beside this file) create it; a test compares
the two.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC instant; databases without zones (SQLite, MySQL) keep it naive and get it back aware."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive instants: their time zone is unknown."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; the store keeps aware instants only")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return it aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _name(key: str, *args: Any, **kwargs: Any) -> Column[str]:
    return Column(key, String(250), *args, **kwargs)


trials = Table(
    "llmp_trials",
    metadata,
    _name("trial_id", primary_key=True),
    _name("experiment", nullable=False, index=True),
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
    Column("treatments", JSON, nullable=False),
    # `Stratum.key` and `Arm.key`: what trials are grouped by.
    _name("stratum", nullable=False, index=True),
    _name("arm", nullable=False, index=True),
    Column("replicate", Integer, nullable=False),
    Column("slot", Integer, nullable=False),
    # 32 unsigned bits.
    Column("seed", BigInteger, nullable=False),
    # NULL: the trial was refused before it was opened.
    _name("rayservice"),
    _name("namespace"),
    _name("model_source"),
    Column("image", Text),
    # Everything of the trial but how it is reached (`Trial.stored`); the columns above repeat what queries need of it.
    Column("trial", JSON, nullable=False),
    _name("origin", nullable=False),
    _name("status", nullable=False),
    Column("reason", Text),
    Column("opened_at", UtcDateTime, nullable=False, index=True),
    Column("closed_at", UtcDateTime, nullable=False),
    Column("submitted_at", UtcDateTime),
    Column("ready_at", UtcDateTime),
    Column("total_s", Float),
    Column("total_low_s", Float),
    Column("total_high_s", Float),
    Column("completion_s", Float),
    _name("start", nullable=False),
    _name("applied", nullable=False),
    Column("verdicts", JSON, nullable=False),
    Column("flags", JSON, nullable=False),
    Column("environment", JSON, nullable=False),
    # Which code computed the row from its trace; NULL in rows that are older than this column or have no trace.
    _name("analysis_version"),
)

phases = Table(
    "llmp_phases",
    metadata,
    _name("trial_id", ForeignKey("llmp_trials.trial_id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    _name("name", nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("low_s", Float, nullable=False),
    Column("high_s", Float, nullable=False),
)

milestones = Table(
    "llmp_milestones",
    metadata,
    _name("trial_id", ForeignKey("llmp_trials.trial_id", ondelete="CASCADE"), primary_key=True),
    _name("name", primary_key=True),
    Column("earliest_at", UtcDateTime, nullable=False),
    Column("latest_at", UtcDateTime, nullable=False),
    Column("source", Text, nullable=False),
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
    Column("file_name", Text, nullable=False),
    _name("origin", nullable=False),
    _name("named"),
    Column("redacted", Integer, nullable=False),
)

outcomes = Table(
    "llmp_outcomes",
    metadata,
    Column("outcome_id", Integer, primary_key=True, autoincrement=True),
    _name("trial_id", nullable=False, index=True),
    _name("step", nullable=False),
    _name("status", nullable=False),
    Column("reason", Text),
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
    Column("result", JSON, nullable=False),
    _name("origin", nullable=False),
    Column("seconds", Float, nullable=False),
    Column("prepared_at", UtcDateTime, nullable=False),
    Column("reused", Boolean, nullable=False),
    Column("price_usd", Float),
    Column("price_basis", Text),
    _name("run_id"),
)

comparisons = Table(
    "llmp_comparisons",
    metadata,
    Column("comparison_id", Integer, primary_key=True, autoincrement=True),
    _name("experiment", nullable=False),
    _name("run_id", nullable=False, index=True),
    Column("compared_at", UtcDateTime, nullable=False),
    Column("position", Integer, nullable=False),
    Column("row", JSON, nullable=False),
)

ledger = Table(
    "llmp_ledger",
    metadata,
    Column("entry_id", Integer, primary_key=True, autoincrement=True),
    _name("place", nullable=False),
    _name("kind", nullable=False),
    _name("name", nullable=False),
    _name("state", nullable=False),
    Column("identity", Text),
    Column("tags", JSON, nullable=False),
    Column("intended_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    # At most one open entry of a thing: NULL once gone, so that the same name can be used again.
    _name("open_key", nullable=True),
    UniqueConstraint("open_key"),
    Index("ix_llmp_ledger_state_place", "state", "place"),
)
