"""The time until which the receiver of a webhook wants no messages

Revision: 0011
Follows: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
additive = True  # servers of the revision before only ignore it

# The table as it was at this revision: a migration does not change with later code.
instant = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("silent_until", instant))


def downgrade() -> None:
    op.drop_column("webhooks", "silent_until")
