"""What was computed from a trace and by which code; which traces were imported."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both tables and the version of the analysis to the trials."""
    op.add_column("llmp_trials", sa.Column("analysis_version", sa.String(length=250), nullable=True))
    op.create_table(
        "llmp_analyses",
        sa.Column("trial_id", sa.String(length=250), nullable=False),
        sa.Column("analysis_version", sa.String(length=250), nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", name=op.f("pk_llmp_analyses")),
    )
    op.create_table(
        "llmp_imported_traces",
        sa.Column("trial_id", sa.String(length=250), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("origin", sa.String(length=250), nullable=False),
        sa.Column("named", sa.String(length=250), nullable=True),
        sa.Column("redacted", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("trial_id", name=op.f("pk_llmp_imported_traces")),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("llmp_imported_traces")
    op.drop_table("llmp_analyses")
    op.drop_column("llmp_trials", "analysis_version")
