"""The trials that run now, for readers: where each stands, what blocks it and what its arm usually takes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NAME = sa.String(length=250)


def upgrade() -> None:
    """Add the table; running trials of an older version have no row in it."""
    names = ("experiment", "dag_id", "run_id", "task_id", "target", "cluster", "variant", "origin", "arm", "label")
    op.create_table(
        "llmp_progress",
        sa.Column("trial_id", _NAME, nullable=False),
        *[sa.Column(name, _NAME, nullable=False) for name in (*names, "step", "phase")],
        sa.Column("blocker", sa.Text(), nullable=True),
        sa.Column("elapsed_s", sa.Float(), nullable=False),
        *[sa.Column(name, sa.Float(), nullable=True) for name in ("expected_s", "expected_low_s", "expected_high_s")],
        sa.Column("expected_n", sa.Integer(), nullable=False),
        *[sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in ("opened_at", "updated_at")],
        sa.PrimaryKeyConstraint("trial_id", name=op.f("pk_llmp_progress")),
    )
    op.create_index(op.f("ix_llmp_progress_dag_id"), "llmp_progress", ["dag_id"], unique=False)


def downgrade() -> None:
    """Remove the table: what it held describes the present only."""
    op.drop_table("llmp_progress")
