"""What SCIM keeps of a user, as it was sent and in its folded form

Revision: 0005
Follows: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
additive = False  # servers of the revision before rename users and leave SCIM's record as it is

deleted = sa.text("deleted_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("users", sa.Column("scim", sa.JSON()))
    op.add_column("users", sa.Column("scim_key", sa.JSON()))
    op.create_index(
        "ix_users_external_id_of_deleted", "users", ["external_id"], sqlite_where=deleted, postgresql_where=deleted
    )


def downgrade() -> None:
    op.drop_index("ix_users_external_id_of_deleted", "users")
    op.drop_column("users", "scim_key")  # not by a copy of the table, which would lose AUTOINCREMENT on SQLite
    op.drop_column("users", "scim")
