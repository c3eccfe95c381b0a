"""A kept comparison names its DAG: two DAGs of one experiment may have runs of one id, as every schedule gives them."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; rows of before do not know their DAG."""
    with op.batch_alter_table("llmp_comparisons") as table:
        table.add_column(sa.Column("dag_id", sa.String(length=250), nullable=False, server_default=""))


def downgrade() -> None:
    """Drop it."""
    with op.batch_alter_table("llmp_comparisons") as table:
        table.drop_column("dag_id")
