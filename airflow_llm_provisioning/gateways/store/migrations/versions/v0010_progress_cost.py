"""What the machines of a running trial have cost so far."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of trials that run already nothing is known."""
    op.add_column("llmp_progress", sa.Column("spent", sa.Float(), nullable=True))
    op.add_column("llmp_progress", sa.Column("currency", sa.String(length=250), nullable=True))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("llmp_progress", "currency")
    op.drop_column("llmp_progress", "spent")
