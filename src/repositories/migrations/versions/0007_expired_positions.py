"""Positions of the feed that have expired

Revision: 0007
Follows: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
additive = False  # servers of the revision before continue from expired positions

# The table as it was at this revision: a migration does not change with later code.
instant = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "expired_positions",
        sa.Column("last", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.PrimaryKeyConstraint("last", name=op.f("pk_expired_positions")),
    )


def downgrade() -> None:
    op.drop_table("expired_positions")
