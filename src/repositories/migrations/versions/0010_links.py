"""Links to the console

Revision: 0010
Follows: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
additive = True  # servers of the revision before only do not create links

# The table as it was at this revision: a migration does not change with later code.
instant = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "links",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.BigInteger()),
        sa.Column("until", instant, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_links")),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_links_key_id_keys")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("links")
