"""The other entities that a change is about

Revision: 0003
Follows: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
additive = True  # servers of the revision before write changes without subjects, which is correct for them

# The tables as they were at this revision: a migration does not change with later code.
key = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("changes", sa.Column("subjects", sa.JSON()))
    op.create_table(
        "change_subjects",
        sa.Column("kind", key, nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", "seq", name=op.f("pk_change_subjects")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("change_subjects")
    op.drop_column("changes", "subjects")  # in place: a copy of the table would lose AUTOINCREMENT on SQLite
