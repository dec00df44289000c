"""Groups that are parts of other groups

Revision: 0009
Follows: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
additive = False  # servers of the revision before delete groups, but not their nestings

# The tables as they were at this revision: a migration does not change with later code.
big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
instant = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "nestings",
        sa.Column("id", big_id, sa.Identity(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("child_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("updated_at", instant, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nestings")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_nestings_group_id_groups")),
        sa.ForeignKeyConstraint(["child_id"], ["groups.id"], name=op.f("fk_nestings_child_id_groups")),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_nestings_group_id_child_id", "nestings", ["group_id", "child_id"], unique=True)
    op.create_index("ix_nestings_child_id_group_id", "nestings", ["child_id", "group_id"])


def downgrade() -> None:
    op.drop_table("nestings")
