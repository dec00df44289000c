"""Deliveries of webhooks, and the leases of the processes that deliver

Revision: 0006
Follows: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
additive = False  # servers of the revision before deliver without a lease

# The tables as they were at this revision: a migration does not change with later code.
instant = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
key = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
is_open = sa.text("next_at IS NOT NULL")
has_answer = sa.text("answer IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", key, nullable=False),
        sa.Column("holder", key, nullable=False),
        sa.Column("beats", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "deliveries",
        sa.Column("webhook_id", sa.BigInteger(), nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.Column("kind", key, nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("action", key, nullable=False),
        sa.Column("changed_at", instant, nullable=False),
        sa.Column("state", key, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("at", instant),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.Text()),
        sa.Column("milliseconds", sa.Integer()),
        sa.Column("answer", sa.Text()),
        sa.Column("next_at", instant),
        sa.Column("refused_since", instant),
        sa.Column("holds", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("webhook_id", "change", name=op.f("pk_deliveries")),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_deliveries_webhook_id_webhooks"), ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_deliveries_webhook_id_open", "deliveries", ["webhook_id"], sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_index(
        "ix_deliveries_kind_entity_id_answered",
        "deliveries",
        ["kind", "entity_id"],
        sqlite_where=has_answer,
        postgresql_where=has_answer,
    )
    op.create_index("ix_deliveries_at", "deliveries", ["at"])


def downgrade() -> None:
    op.drop_table("deliveries")
    op.drop_table("leases")
