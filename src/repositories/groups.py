"""Groups in SQL."""

from typing import Final

import sqlalchemy as sa

from domain.groups import ALL_FIELDS, MEMBERS, PARTS, Group, NewGroup
from repositories.engines.schema import BigId, Instant, Json, Key, metadata
from repositories.lists.filters import Related
from repositories.memberships import IS_GROUP, MEMBERS_OF_A_GROUP
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
    sqlite_autoincrement=True,  # an id is never used twice
)

LIVING: Final = groups.c.deleted_at.is_(None)

for unique in (groups.c.name_key, groups.c.external_id):
    sa.Index(f"uq_groups_{unique.name}", unique, unique=True, sqlite_where=LIVING, postgresql_where=LIVING)
for sorted_by in (groups.c.created_at, groups.c.updated_at):
    sa.Index(f"ix_groups_{sorted_by.name}_id", sorted_by, groups.c.id, sqlite_where=LIVING, postgresql_where=LIVING)

nestings: Final = sa.table("nestings", sa.column("group_id", sa.BigInteger), sa.column("child_id", sa.BigInteger))
child: Final = groups.alias("child")
GROUPS_OF_A_GROUP: Final = Related(
    {"id": child.c.id, "kind": IS_GROUP},
    sa.select(nestings.c.group_id)
    .select_from(nestings.join(child, child.c.id == nestings.c.child_id))
    .where(child.c.deleted_at.is_(None)),
)

GROUPS: Final = EntityTable[NewGroup, Group](
    Group, groups, ALL_FIELDS, related={MEMBERS.name: MEMBERS_OF_A_GROUP, PARTS.name: GROUPS_OF_A_GROUP}
)
