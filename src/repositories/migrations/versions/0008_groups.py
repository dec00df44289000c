"""Groups and memberships

Revision: 0008
Follows: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
additive = False  # servers of the revision before delete users, but not their memberships

# The tables as they were at this revision: a migration does not change with later code.
big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
instant = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
key = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
living = sa.text("deleted_at IS NULL")
has_role = sa.text("role IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "groups",
        sa.Column("id", big_id, sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", key, nullable=False),
        sa.Column("external_id", key),
        sa.Column("description", key),
        sa.Column("attributes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("updated_at", instant, nullable=False),
        sa.Column("deleted_at", instant),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sqlite_autoincrement=True,
    )
    for column in ("name_key", "external_id"):
        op.create_index(
            f"uq_groups_{column}", "groups", [column], unique=True, sqlite_where=living, postgresql_where=living
        )
    for column in ("created_at", "updated_at"):
        op.create_index(
            f"ix_groups_{column}_id", "groups", [column, "id"], sqlite_where=living, postgresql_where=living
        )
    op.create_table(
        "memberships",
        sa.Column("id", big_id, sa.Identity(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("role", key),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("updated_at", instant, nullable=False),
        sa.Column("deleted_at", instant),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memberships")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_memberships_group_id_groups")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id_users")),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_memberships_group_id_user_id", "memberships", ["group_id", "user_id"], unique=True)
    op.create_index("ix_memberships_user_id_group_id", "memberships", ["user_id", "group_id"])
    op.create_index(
        "ix_memberships_group_id_role_user_id", "memberships", ["group_id", "role", "user_id"],
        sqlite_where=has_role, postgresql_where=has_role,
    )  # fmt: skip


def downgrade() -> None:
    op.drop_table("memberships")
    op.drop_table("groups")
