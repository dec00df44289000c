"""Nestings in SQL, and the recursive statements that follow them."""

from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql.functions import FunctionElement

from domain.groups import Group
from domain.lists.fields import fields_of
from domain.nestings import Cycle, Member, Nesting, NewNesting, Reached
from repositories.engines.executors import Executor
from repositories.engines.functions import spelled
from repositories.engines.json_rows import JsonArray, rows_of
from repositories.engines.schema import BigId, Instant, metadata
from repositories.engines.statements import Parameters, bounded
from repositories.groups import GROUPS, groups
from repositories.locks import Locking
from repositories.memberships import memberships
from repositories.tables.many import ids_as_rows
from repositories.tables.reading import SqlReadStore
from repositories.tables.store import SqlStore
from repositories.tables.table import EntityTable
from repositories.tables.writes import write
from repositories.units import Reading, Writing

nestings: Final = sa.Table(
    "nestings",
    metadata,
    sa.Column("id", BigId, sa.Identity(), primary_key=True),
    sa.Column("group_id", sa.BigInteger, sa.ForeignKey("groups.id"), nullable=False),
    sa.Column("child_id", sa.BigInteger, sa.ForeignKey("groups.id"), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Index("uq_nestings_group_id_child_id", "group_id", "child_id", unique=True),
    sa.Index("ix_nestings_child_id_group_id", "child_id", "group_id"),
    sqlite_autoincrement=True,
)

NESTINGS: Final = EntityTable[NewNesting, Nesting](Nesting, nestings, fields_of(Nesting))

ADDING: Final = "nesting"
"""The name that a unit holds while it adds nestings. Otherwise two units could close a cycle from both sides."""

BETWEEN: Final = Locking.of(
    NESTINGS.rows.where(
        nestings.c.group_id == sa.bindparam("its_group"), nestings.c.child_id == sa.bindparam("its_child")
    )
)


@spelled(sqlite="json_group_array({})", postgresql="json_agg({})")
class JsonArrayAgg(FunctionElement[Any]):
    """The values of a group of rows as a JSON array, in no particular order."""

    type = sa.JSON()
    inherit_cache = True


ITS_GROUP: Final = sa.bindparam("its_group", type_=sa.BigInteger())
ITS_USER: Final = sa.bindparam("its_user", type_=sa.BigInteger())
AFTER: Final = sa.bindparam("after", type_=sa.BigInteger())
LIMIT: Final = sa.bindparam("limit", type_=sa.Integer())

IS_MEMBER: Final = memberships.c.deleted_at.is_(None)
IS_LIVING: Final = groups.c.deleted_at.is_(None)


CHILDREN: Final = (
    sa.select(*GROUPS.columns)
    .join(nestings, nestings.c.child_id == groups.c.id)
    .where(nestings.c.group_id == ITS_GROUP, nestings.c.child_id > AFTER, IS_LIVING)
    .order_by(nestings.c.child_id)
    .limit(LIMIT)
)


OF_GROUPS: Final = (
    NESTINGS.rows.join(groups, sa.and_(groups.c.id == nestings.c.child_id, IS_LIVING))
    .where(nestings.c.group_id.in_(rows_of(nestings.c.group_id)))
    .order_by(nestings.c.group_id, nestings.c.child_id)
)


def all_below(group: sa.BindParameter[int], *, living: bool) -> sa.CTE:
    """A group and all its parts. With `living`, deleted groups and everything that is reached only through them are
    left out."""
    found = sa.select(sa.cast(group, sa.BigInteger).label("id")).cte("parts", recursive=True)
    step = sa.select(nestings.c.child_id).join_from(found, nestings, nestings.c.group_id == found.c.id)
    return found.union(step.join(groups, sa.and_(groups.c.id == nestings.c.child_id, IS_LIVING)) if living else step)


def reaches() -> sa.Select[Any]:
    """Whether a group is a part of its child."""
    below = all_below(sa.bindparam("its_child", type_=sa.BigInteger()), living=False)
    return sa.select(below.c.id).where(below.c.id == ITS_GROUP)


def members_below() -> sa.Select[Any]:
    parts = all_below(ITS_GROUP, living=True)
    page = page_of_users(parts).subquery("page")
    role = sa.func.max(sa.case((memberships.c.group_id == ITS_GROUP, memberships.c.role)))
    return (
        sa.select(page.c.user_id, role.label("role"), JsonArrayAgg(memberships.c.group_id).label("via"))
        .select_from(page.join(memberships, memberships.c.user_id == page.c.user_id))
        .where(IS_MEMBER, memberships.c.group_id.in_(sa.select(parts.c.id)))
        .group_by(page.c.user_id)
        .order_by(page.c.user_id)
    )


def page_of_users(parts: sa.CTE) -> sa.Select[Any]:
    """A page of the members of several groups: each group gives its first members after the last page, and the first of
    all these are the page."""
    first = (
        sa.select(memberships.c.user_id)
        .where(memberships.c.group_id == parts.c.id, memberships.c.user_id > AFTER, IS_MEMBER)
        .order_by(memberships.c.user_id)
        .limit(LIMIT)
        .correlate(parts)
        .subquery("first")
    )
    items = JsonArray(sa.select(JsonArrayAgg(first.c.user_id)).scalar_subquery()).table_valued("value", name="item")
    user_id = sa.cast(sa.cast(items.c.value, sa.Text), sa.BigInteger).label("user_id")
    found = sa.select(user_id).select_from(parts.join(items, sa.true())).distinct()
    return found.order_by(user_id).limit(LIMIT)


def groups_above() -> sa.Select[Any]:
    own = sa.select(memberships.c.group_id.label("id"), memberships.c.group_id.label("via"))
    of_user = own.join(groups, groups.c.id == memberships.c.group_id)
    found = of_user.where(memberships.c.user_id == ITS_USER, IS_MEMBER, IS_LIVING).cte("above", recursive=True)
    step = sa.select(nestings.c.group_id, found.c.via).join_from(found, nestings, nestings.c.child_id == found.c.id)
    above = found.union(step.join(groups, groups.c.id == nestings.c.group_id).where(IS_LIVING))
    page = (
        sa.select(above.c.id, JsonArrayAgg(above.c.via).label("via"))
        .where(above.c.id > AFTER)
        .group_by(above.c.id)
        .order_by(above.c.id)
        .limit(LIMIT)
        .subquery("page")
    )
    return sa.select(*GROUPS.columns, page.c.via).join(page, page.c.id == groups.c.id).order_by(groups.c.id)


REACHES: Final = reaches()
MEMBERS_BELOW: Final = members_below()
GROUPS_ABOVE: Final = groups_above()


class ReadsByGroup:
    """The reads that both stores have in common."""

    _executor: Executor

    async def of_groups(self, ids: Collection[int]) -> Sequence[Nesting]:
        return [NESTINGS.make(*row) for row in await self._executor.fetch(OF_GROUPS, ids_as_rows(ids))]


class SqlReadNestings(ReadsByGroup, SqlReadStore[NewNesting, Nesting]):
    def __init__(self, unit: Reading | Writing) -> None:
        super().__init__(NESTINGS, unit)

    async def between(self, group_id: int, child_id: int) -> Nesting | None:
        rows = await self._executor.fetch(BETWEEN.reads, pair(group_id, child_id))
        return NESTINGS.make(*rows[0]) if rows else None

    async def children(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Group]:
        return await children(self._executor, group_id, after, limit)

    async def members(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Member]:
        return await members(self._executor, group_id, after, limit)

    async def groups_of(self, user_id: int, *, after: int = 0, limit: int) -> Sequence[Reached]:
        return await groups_of(self._executor, user_id, after, limit)


class SqlNestings(ReadsByGroup, SqlStore[NewNesting, Nesting]):
    def __init__(self, unit: Writing) -> None:
        super().__init__(NESTINGS, unit)

    @write
    async def add(self, new: NewNesting) -> Nesting:
        await self.unit.database.hold(self._executor, ADDING)
        if await self._executor.fetch(REACHES, pair(new.group_id, new.child_id)):
            raise Cycle
        return await super().add(new)

    @write
    async def add_many(self, new: Sequence[NewNesting]) -> Sequence[Nesting]:
        return [await self.add(each) for each in new]  # each may close a cycle with earlier ones

    async def between(self, group_id: int, child_id: int) -> Nesting | None:
        waits = self.unit.locks.may_wait_for_any(Nesting.kind)
        rows = await BETWEEN.fetch(self._executor, pair(group_id, child_id), waits=waits)
        return NESTINGS.meet(self.unit, NESTINGS.make(*rows[0])) if rows else None

    async def children(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Group]:
        return await children(self._executor, group_id, after, limit)

    async def members(self, group_id: int, *, after: int = 0, limit: int) -> Sequence[Member]:
        return await members(self._executor, group_id, after, limit)

    async def groups_of(self, user_id: int, *, after: int = 0, limit: int) -> Sequence[Reached]:
        return await groups_of(self._executor, user_id, after, limit)


def pair(group_id: int, child_id: int) -> Parameters:
    return {"its_group": bounded(group_id), "its_child": bounded(child_id)}


async def children(executor: Executor, group_id: int, after: int, limit: int) -> Sequence[Group]:
    asked = {"its_group": bounded(group_id), "after": bounded(after), "limit": bounded(limit)}
    return [GROUPS.make(*row) for row in await executor.fetch(CHILDREN, asked)]


async def members(executor: Executor, group_id: int, after: int, limit: int) -> Sequence[Member]:
    asked = {"its_group": bounded(group_id), "after": bounded(after), "limit": bounded(limit)}
    rows = await executor.fetch(MEMBERS_BELOW, asked)
    return [Member(group_id, user_id, role, tuple(sorted(via))) for user_id, role, via in rows]


async def groups_of(executor: Executor, user_id: int, after: int, limit: int) -> Sequence[Reached]:
    asked = {"its_user": bounded(user_id), "after": bounded(after), "limit": bounded(limit)}
    return [Reached(GROUPS.make(*row), tuple(sorted(via))) for *row, via in await executor.fetch(GROUPS_ABOVE, asked)]
