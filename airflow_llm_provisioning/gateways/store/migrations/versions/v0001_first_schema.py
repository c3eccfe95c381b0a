"""The first schema: trials, phases, milestones, traces, outcomes, preparations, comparisons, ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "llmp_comparisons",
        sa.Column("comparison_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("experiment", sa.String(length=250), nullable=False),
        sa.Column("run_id", sa.String(length=250), nullable=False),
        sa.Column("compared_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("row", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("comparison_id", name=op.f("pk_llmp_comparisons")),
    )
    op.create_index(op.f("ix_llmp_comparisons_run_id"), "llmp_comparisons", ["run_id"], unique=False)
    op.create_table(
        "llmp_ledger",
        sa.Column("entry_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("place", sa.String(length=250), nullable=False),
        sa.Column("kind", sa.String(length=250), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("state", sa.String(length=250), nullable=False),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("intended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("open_key", sa.String(length=250), nullable=True),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_llmp_ledger")),
        sa.UniqueConstraint("open_key", name=op.f("uq_llmp_ledger_open_key")),
    )
    op.create_index("ix_llmp_ledger_state_place", "llmp_ledger", ["state", "place"], unique=False)
    op.create_table(
        "llmp_outcomes",
        sa.Column("outcome_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("trial_id", sa.String(length=250), nullable=False),
        sa.Column("step", sa.String(length=250), nullable=False),
        sa.Column("status", sa.String(length=250), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("outcome_id", name=op.f("pk_llmp_outcomes")),
    )
    op.create_index(op.f("ix_llmp_outcomes_trial_id"), "llmp_outcomes", ["trial_id"], unique=False)
    op.create_table(
        "llmp_preparations",
        sa.Column("preparation_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("target", sa.String(length=250), nullable=False),
        sa.Column("cloud", sa.String(length=250), nullable=False),
        sa.Column("verb", sa.String(length=250), nullable=False),
        sa.Column("content", sa.String(length=250), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("origin", sa.String(length=250), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("prepared_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reused", sa.Boolean(), nullable=False),
        sa.Column("price_usd", sa.Float(), nullable=True),
        sa.Column("price_basis", sa.Text(), nullable=True),
        sa.Column("run_id", sa.String(length=250), nullable=True),
        sa.PrimaryKeyConstraint("preparation_id", name=op.f("pk_llmp_preparations")),
    )
    op.create_index(op.f("ix_llmp_preparations_target"), "llmp_preparations", ["target"], unique=False)
    op.create_table(
        "llmp_trace_chunks",
        sa.Column("trial_id", sa.String(length=250), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", "position", name=op.f("pk_llmp_trace_chunks")),
    )
    op.create_table(
        "llmp_trials",
        sa.Column("trial_id", sa.String(length=250), nullable=False),
        sa.Column("experiment", sa.String(length=250), nullable=False),
        sa.Column("dag_id", sa.String(length=250), nullable=False),
        sa.Column("run_id", sa.String(length=250), nullable=False),
        sa.Column("target", sa.String(length=250), nullable=False),
        sa.Column("cluster", sa.String(length=250), nullable=False),
        sa.Column("cloud", sa.String(length=250), nullable=False),
        sa.Column("setup", sa.String(length=250), nullable=False),
        sa.Column("variant", sa.String(length=250), nullable=False),
        sa.Column("profile", sa.String(length=250), nullable=False),
        sa.Column("treatments", sa.JSON(), nullable=False),
        sa.Column("replicate", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("rayservice", sa.String(length=250), nullable=False),
        sa.Column("namespace", sa.String(length=250), nullable=False),
        sa.Column("model_id", sa.String(length=250), nullable=False),
        sa.Column("model_revision", sa.String(length=250), nullable=False),
        sa.Column("model_source", sa.String(length=250), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("origin", sa.String(length=250), nullable=False),
        sa.Column("status", sa.String(length=250), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("total_s", sa.Float(), nullable=True),
        sa.Column("total_low_s", sa.Float(), nullable=True),
        sa.Column("total_high_s", sa.Float(), nullable=True),
        sa.Column("completion_s", sa.Float(), nullable=True),
        sa.Column("start", sa.String(length=250), nullable=False),
        sa.Column("applied", sa.String(length=250), nullable=False),
        sa.Column("verdicts", sa.JSON(), nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", name=op.f("pk_llmp_trials")),
    )
    op.create_index(op.f("ix_llmp_trials_experiment"), "llmp_trials", ["experiment"], unique=False)
    op.create_index(op.f("ix_llmp_trials_opened_at"), "llmp_trials", ["opened_at"], unique=False)
    op.create_index(op.f("ix_llmp_trials_run_id"), "llmp_trials", ["run_id"], unique=False)
    op.create_table(
        "llmp_milestones",
        sa.Column("trial_id", sa.String(length=250), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("earliest_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("latest_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["llmp_trials.trial_id"], name=op.f("fk_llmp_milestones_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trial_id", "name", name=op.f("pk_llmp_milestones")),
    )
    op.create_table(
        "llmp_phases",
        sa.Column("trial_id", sa.String(length=250), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("low_s", sa.Float(), nullable=False),
        sa.Column("high_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["llmp_trials.trial_id"], name=op.f("fk_llmp_phases_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trial_id", "position", name=op.f("pk_llmp_phases")),
    )


def downgrade() -> None:
    """Drop every table."""
    op.drop_table("llmp_phases")
    op.drop_table("llmp_milestones")
    op.drop_index(op.f("ix_llmp_trials_run_id"), table_name="llmp_trials")
    op.drop_index(op.f("ix_llmp_trials_opened_at"), table_name="llmp_trials")
    op.drop_index(op.f("ix_llmp_trials_experiment"), table_name="llmp_trials")
    op.drop_table("llmp_trials")
    op.drop_table("llmp_trace_chunks")
    op.drop_index(op.f("ix_llmp_preparations_target"), table_name="llmp_preparations")
    op.drop_table("llmp_preparations")
    op.drop_index(op.f("ix_llmp_outcomes_trial_id"), table_name="llmp_outcomes")
    op.drop_table("llmp_outcomes")
    op.drop_index("ix_llmp_ledger_state_place", table_name="llmp_ledger")
    op.drop_table("llmp_ledger")
    op.drop_index(op.f("ix_llmp_comparisons_run_id"), table_name="llmp_comparisons")
    op.drop_table("llmp_comparisons")
