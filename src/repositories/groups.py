"""Groups in SQL."""

from typing import Final

import sqlalchemy as sa

from domain.groups import FIELDS, MEMBERS, Group, NewGroup
from repositories.engines.schema import BigId, Instant, Json, Key, metadata
from repositories.memberships import MEMBERS_OF_A_GROUP
from repositories.tables.table import EntityTable

groups: Final = sa.Table(
    "groups",
    metadata,
    sa.Column("id", BigId, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_key", Key, nullable=False),
    sa.Column("external_id", Key),
    sa.Column("description", Key),
    sa.Column("attributes", Json, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("deleted_at", Instant),
    sa.Column("version", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,  # an id is never given out twice
)

LIVING: Final = groups.c.deleted_at.is_(None)

for unique in (groups.c.name_key, groups.c.external_id):
    sa.Index(f"uq_groups_{unique.name}", unique, unique=True, sqlite_where=LIVING, postgresql_where=LIVING)
for sorted_by in (groups.c.created_at, groups.c.updated_at):
    sa.Index(f"ix_groups_{sorted_by.name}_id", sorted_by, groups.c.id, sqlite_where=LIVING, postgresql_where=LIVING)

GROUPS: Final = EntityTable[NewGroup, Group](Group, groups, FIELDS, related={MEMBERS.name: MEMBERS_OF_A_GROUP})
