"""Users, the record of changes, remembered answers

Revision: 0001
Follows: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
additive = False  # this is the first revision

# The tables as they were at this revision: a migration does not change with later code.
big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
instant = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
key = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
living = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", big_id, sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", key, nullable=False),
        sa.Column("email", sa.Text()),
        sa.Column("email_key", key),
        sa.Column("username", sa.Text()),
        sa.Column("username_key", key),
        sa.Column("external_id", key),
        sa.Column("status", key, nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("updated_at", instant, nullable=False),
        sa.Column("deleted_at", instant),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sqlite_autoincrement=True,
    )
    for column in ("email_key", "username_key", "external_id"):
        op.create_index(
            f"uq_users_{column}", "users", [column], unique=True, sqlite_where=living, postgresql_where=living
        )
    for column in ("name_key", "status", "created_at", "updated_at"):
        op.create_index(f"ix_users_{column}_id", "users", [column, "id"], sqlite_where=living, postgresql_where=living)
    op.create_table(
        "changes",
        sa.Column("seq", big_id, sa.Identity(), nullable=False),
        sa.Column("kind", key, nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("action", key, nullable=False),
        sa.Column("actor", key, nullable=False),
        sa.Column("request_id", key, nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.Column("before", sa.JSON()),
        sa.Column("after", sa.JSON()),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_changes")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_changes_kind_entity_id_seq", "changes", ["kind", "entity_id", "seq"])
    op.create_table(
        "answers",
        sa.Column("actor", key, nullable=False),
        sa.Column("key", key, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("kind", key, nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_answers")),
    )
    op.create_index("ix_answers_at", "answers", ["at"])
    op.create_index("ix_answers_kind_entity_id", "answers", ["kind", "entity_id"])


def downgrade() -> None:
    op.drop_table("answers")
    op.drop_table("changes")
    op.drop_table("users")
