"""Names without a limit become texts: PostgreSQL refuses a row with a longer one, and SQLite never did.

A phase that joins many others has all their names (`a+b+...`). The key of an open ledger entry has its place, kind and
name. An imported trace names any trial that its file says.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NAME = sa.String(length=250)


def upgrade() -> None:
    """Change the columns."""
    with op.batch_alter_table("llmp_phases") as table:
        table.alter_column("name", type_=sa.Text(), existing_type=_NAME, existing_nullable=False)
    with op.batch_alter_table("llmp_ledger") as table:
        table.alter_column("open_key", type_=sa.Text(), existing_type=_NAME, existing_nullable=True)
    with op.batch_alter_table("llmp_imported_traces") as table:
        table.alter_column("named", type_=sa.Text(), existing_type=_NAME, existing_nullable=True)


def downgrade() -> None:
    """Refuse: a longer name has no place in schema 0003."""
    raise NotImplementedError("A results store of schema 0004 cannot be made one of 0003 without losing names.")
