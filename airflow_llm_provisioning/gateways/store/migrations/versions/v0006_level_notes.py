"""What people say of changes of level: acknowledged or expected, by whom, when and why."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NAMES = ("origin", "target", "workload", "setup", "variant", "run_id", "kind")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "llmp_level_notes",
        sa.Column("note_id", sa.Integer(), autoincrement=True, nullable=False),
        *(sa.Column(name, sa.String(length=250), nullable=False) for name in _NAMES),
        sa.Column("noted_by", sa.Text(), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("note_id", name=op.f("pk_llmp_level_notes")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("llmp_level_notes")
