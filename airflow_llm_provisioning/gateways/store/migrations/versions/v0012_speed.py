"""How fast the model of a trial wrote once it served: a faster start may serve slower."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of older trials nothing is known."""
    op.add_column("llmp_trials", sa.Column("speed", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("llmp_trials", "speed")
