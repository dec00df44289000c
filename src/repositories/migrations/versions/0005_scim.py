"""Values of a user that only SCIM uses, as sent and in folded form

Revision: 0005
Follows: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
additive = False  # servers of the revision before rename users and do not update SCIM's record

deleted = sa.text("deleted_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("users", sa.Column("scim", sa.JSON()))
    op.add_column("users", sa.Column("scim_key", sa.JSON()))
    op.create_index(
        "ix_users_external_id_of_deleted", "users", ["external_id"], sqlite_where=deleted, postgresql_where=deleted
    )


def downgrade() -> None:
    op.drop_index("ix_users_external_id_of_deleted", "users")
    op.drop_column("users", "scim_key")  # in place: a copy of the table would lose AUTOINCREMENT on SQLite
    op.drop_column("users", "scim")
