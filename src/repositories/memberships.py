"""Memberships in SQL. The modules of users and groups import this one for their filters, so their tables are named by
strings here."""

from collections.abc import Collection, Sequence
from typing import Final

import sqlalchemy as sa

from domain.memberships import FIELDS, Membership, NewMembership
from repositories.engines.executors import Executor
from repositories.engines.json_rows import rows_of
from repositories.engines.schema import BigId, Instant, Key, metadata
from repositories.engines.statements import Parameters, bounded
from repositories.lists.filters import Related
from repositories.locks import Locking
from repositories.tables.documents import JsonArrayOf
from repositories.tables.many import ids_as_rows
from repositories.tables.reading import SqlReadStore
from repositories.tables.store import SqlStore
from repositories.tables.table import EntityTable
from repositories.units import Reading, Writing

memberships: Final = sa.Table(
    "memberships",
    metadata,
    sa.Column("id", BigId, sa.Identity(), primary_key=True),
    sa.Column("group_id", sa.BigInteger, sa.ForeignKey("groups.id"), nullable=False),
    sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("role", Key),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("deleted_at", Instant),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Index("uq_memberships_group_id_user_id", "group_id", "user_id", unique=True),
    sa.Index("ix_memberships_user_id_group_id", "user_id", "group_id"),
    sqlite_autoincrement=True,
)
"""Hidden memberships are in the indexes too, because they are restored with their users."""

HAS_ROLE: Final = memberships.c.role.is_not(None)
sa.Index(
    "ix_memberships_group_id_role_user_id", memberships.c.group_id, memberships.c.role, memberships.c.user_id,
    sqlite_where=HAS_ROLE, postgresql_where=HAS_ROLE,
)  # fmt: skip

MEMBERSHIPS: Final = EntityTable[NewMembership, Membership](
    Membership, memberships, FIELDS, derived={"via": JsonArrayOf(memberships.c.group_id)}
)

IS_USER: Final = sa.literal_column("'user'", sa.Text)
IS_GROUP: Final = sa.literal_column("'group'", sa.Text)
"""The kind of a member of a group. It is needed because a user and a group may have the same id."""

living_groups: Final = sa.table(
    "groups", sa.column("id", sa.BigInteger), sa.column("name_key", Key), sa.column("deleted_at")
).alias("living")
OF_LIVING_GROUPS: Final = memberships.join(
    living_groups, sa.and_(living_groups.c.id == memberships.c.group_id, living_groups.c.deleted_at.is_(None))
)
MEMBERS_OF_A_GROUP: Final = Related(
    {"id": memberships.c.user_id, "kind": IS_USER},
    sa.select(memberships.c.group_id).where(MEMBERSHIPS.shown),
)
GROUPS_OF_A_USER: Final = Related(
    {"id": memberships.c.group_id, "name": living_groups.c.name_key},
    sa.select(memberships.c.user_id).select_from(OF_LIVING_GROUPS).where(MEMBERSHIPS.shown),
)

OF_THE_GROUP: Final = memberships.c.group_id == sa.bindparam("its_group")
OF_THE_USERS: Final = memberships.c.user_id.in_(rows_of(memberships.c.user_id))
AMONG: Final = Locking.of(MEMBERSHIPS.rows.where(OF_THE_GROUP, OF_THE_USERS).order_by(memberships.c.id))


OF_GROUPS: Final = MEMBERSHIPS.rows.where(
    MEMBERSHIPS.shown, memberships.c.group_id.in_(rows_of(memberships.c.group_id))
).order_by(memberships.c.group_id, memberships.c.user_id)
OF_USERS: Final = (
    MEMBERSHIPS.rows.select_from(OF_LIVING_GROUPS)
    .where(MEMBERSHIPS.shown, memberships.c.user_id.in_(rows_of(memberships.c.user_id)))
    .order_by(memberships.c.user_id, memberships.c.group_id)
)


class ReadsByEither:
    """The reads that both stores have in common."""

    _executor: Executor

    async def of_groups(self, ids: Collection[int]) -> Sequence[Membership]:
        return [MEMBERSHIPS.make(*row) for row in await self._executor.fetch(OF_GROUPS, ids_as_rows(ids))]

    async def of_users(self, ids: Collection[int]) -> Sequence[Membership]:
        return [MEMBERSHIPS.make(*row) for row in await self._executor.fetch(OF_USERS, ids_as_rows(ids))]


class SqlReadMemberships(ReadsByEither, SqlReadStore[NewMembership, Membership]):
    def __init__(self, unit: Reading) -> None:
        super().__init__(MEMBERSHIPS, unit)

    async def among(self, group_id: int, user_ids: Collection[int], *, hidden: bool = False) -> Sequence[Membership]:
        rows = await self._executor.fetch(AMONG.reads, among(group_id, user_ids))
        return shown([MEMBERSHIPS.make(*row) for row in rows], hidden)


class SqlMemberships(ReadsByEither, SqlStore[NewMembership, Membership]):
    def __init__(self, unit: Writing) -> None:
        super().__init__(MEMBERSHIPS, unit)

    async def among(self, group_id: int, user_ids: Collection[int], *, hidden: bool = False) -> Sequence[Membership]:
        waits = self.unit.locks.may_wait_for_any(Membership.kind)
        rows = await AMONG.fetch(self._executor, among(group_id, user_ids), waits=waits)
        return shown([MEMBERSHIPS.meet(self.unit, MEMBERSHIPS.make(*row)) for row in rows], hidden)


def among(group_id: int, user_ids: Collection[int]) -> Parameters:
    return {**ids_as_rows(user_ids), "its_group": bounded(group_id)}


def shown(found: Sequence[Membership], hidden: bool) -> Sequence[Membership]:
    return [each for each in found if hidden or not each.is_hidden]
