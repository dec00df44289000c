"""Users in SQL."""

from typing import Final

import sqlalchemy as sa

from domain.users import ALL_FIELDS, GROUPS, NewUser, Status, User
from repositories.engines.schema import Choice, Instant, Json, Key, entity_columns, metadata
from repositories.memberships import GROUPS_OF_A_USER
from repositories.tables.table import EntityTable

users: Final = sa.Table(
    "users",
    metadata,
    *entity_columns(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_key", Key, nullable=False),
    sa.Column("email", sa.Text),
    sa.Column("email_key", Key),
    sa.Column("username", sa.Text),
    sa.Column("username_key", Key),
    sa.Column("external_id", Key),
    sa.Column("status", Choice(Status), nullable=False),
    sa.Column("attributes", Json, nullable=False),
    sa.Column("deleted_at", Instant),
    sa.Column("scim", Json),
    sa.Column("scim_key", Json),
    sqlite_autoincrement=True,  # an id is never used twice
)

LIVING: Final = users.c.deleted_at.is_(None)

# The indexes of lists do not contain deleted users, because their unique values are free.
for unique in (users.c.email_key, users.c.username_key, users.c.external_id):
    sa.Index(f"uq_users_{unique.name}", unique, unique=True, sqlite_where=LIVING, postgresql_where=LIVING)
for sorted_by in (users.c.name_key, users.c.status, users.c.created_at, users.c.updated_at):
    sa.Index(f"ix_users_{sorted_by.name}_id", sorted_by, users.c.id, sqlite_where=LIVING, postgresql_where=LIVING)

GONE: Final = users.c.deleted_at.is_not(None)
sa.Index("ix_users_external_id_of_deleted", users.c.external_id, sqlite_where=GONE, postgresql_where=GONE)
"""SCIM finds a returning person by this index."""

USERS: Final = EntityTable[NewUser, User](User, users, ALL_FIELDS, related={GROUPS.name: GROUPS_OF_A_USER})
