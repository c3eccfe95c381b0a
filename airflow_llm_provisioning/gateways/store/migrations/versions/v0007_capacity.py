"""What was refused to a trial: a refused or exhausted capacity is a result of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of older trials nothing is known."""
    op.add_column("llmp_trials", sa.Column("capacity", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("llmp_trials", "capacity")
