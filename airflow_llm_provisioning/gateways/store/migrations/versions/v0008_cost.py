"""What a trial's machines cost, and for how long they had GPUs."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COLUMNS = (("cost", sa.JSON()), ("cost_amount", sa.Float()), ("currency", sa.String(length=250)))


def upgrade() -> None:
    """Add the columns; of older trials nothing is known."""
    for name, kind in (*_COLUMNS, ("gpu_hours", sa.Float())):
        op.add_column("llmp_trials", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    """Drop them."""
    for name in ("gpu_hours", *(name for name, _ in reversed(_COLUMNS))):
        op.drop_column("llmp_trials", name)
