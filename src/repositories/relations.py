"""References between tables: whether the referred entity exists, and what happens to entities that refer to it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import Any, Final, NamedTuple, cast

import sqlalchemy as sa

from domain.entities import Entity
from domain.errors import Fault, InUse, Invalid
from domain.references import Reference, Then
from repositories.engines.executors import Executor
from repositories.locks import Ranks
from repositories.set_wise import can_end, end_all, referring
from repositories.table import EntityTable, Locking
from repositories.units import Writing

NAMED: Final = 3
"""How many of the referring entities a refusal names."""

AnyTable = EntityTable[Any, Any]


class Referrers(NamedTuple):
    """The entities that refer to one kind by one of their fields."""

    table: AnyTable
    reference: Reference


class Relations:
    """The references between all entities of a directory."""

    def __init__(self, tables: Iterable[AnyTable]) -> None:
        self._tables = {table.entity.kind: table for table in tables}

    @cached_property
    def ranks(self) -> Ranks:
        return Ranks(table.entity for table in self._tables.values())

    def referrers_of(self, kind: str) -> Sequence[Referrers]:
        return [
            Referrers(table, reference)
            for table in self._tables.values()
            for reference in table.entity.references
            if reference.to.kind == kind
        ]

    def kinds_about(self, kind: str) -> Sequence[str]:
        """The kinds whose values are personal to an entity of this kind that they refer to."""
        return [table.entity.kind for table, reference in self.referrers_of(kind) if reference.about]

    async def require(self, unit: Writing, entity: type[Entity], new: object, before: Entity | None = None) -> None:
        """Lock what a new or changed entity refers to. Raises `Invalid` at each reference to a missing entity.

        An unchanged reference is not checked, unless the entity becomes visible again.
        """
        changed = [
            (reference, id)
            for reference in entity.references
            if (id := getattr(new, reference.field)) is not None
            and (before is None or before.is_hidden or id != getattr(before, reference.field))
        ]
        in_order = sorted(changed, key=lambda each: unit.locks.place(each[0].to.kind, each[1]))
        faults = [fault for reference, id in in_order for fault in await self._faults_at(unit, reference, id)]
        if faults and not getattr(new, "is_hidden", False):
            raise Invalid(faults)

    async def _faults_at(self, unit: Writing, reference: Reference, id: int) -> Sequence[Fault]:
        kind = reference.to.kind
        waits = unit.locks.may_wait(kind, id)
        rows = await self._tables[kind].get_shared.fetch(unit.executor, {"id": id}, waits=waits)
        if rows and rows[0][0]:
            unit.locks.locked(kind, id)
            return ()
        return [Fault(f"/{reference.field}", "not_found", f"There is no {kind} with this id.")]

    async def release(self, unit: Writing, entity: Entity, *, erased: bool) -> None:
        """Treat the entities that refer to this one as they declare for its deletion, or for its end or erasure.

        Raises `InUse`.
        """
        for table, reference in self.referrers_of(entity.kind):
            match reference.on_purge if erased else reference.on_delete:
                case Then.REFUSE:
                    await require_none(unit.executor, table, reference, entity.id, hidden=erased)
                case Then.END:
                    await self.end_all(unit, table, reference.field, entity.id, hidden=erased)
                case Then.CLEAR:
                    await clear_all(unit, table, reference.field, entity.id, hidden=erased)

    async def end_all(self, unit: Writing, table: AnyTable, field: str, id: int, *, hidden: bool = True) -> int:
        await lock_all(unit, table, field, id, hidden=hidden)
        kind = table.entity.kind
        if can_end(table) and not unit.journal.has(kind) and not self.referrers_of(kind):
            unit.known = {subject: each for subject, each in unit.known.items() if subject[0] != kind}
            return await end_all(unit, table, field, id, hidden=hidden)
        rows = await unit.executor.fetch(found(table, field, hidden), {"referred_id": id})
        for row in rows:
            await self.release(unit, table.make(*row), erased=True)
        for row in await unit.executor.fetch(ending(table, field, hidden), {"referred_id": id}):
            ended = table.make(*row)
            unit.journal.ended(ended)
            unit.known.pop((ended.kind, ended.id), None)
        return len(rows)


async def require_none(executor: Executor, table: AnyTable, reference: Reference, id: int, *, hidden: bool) -> None:
    """Raises `InUse` if an entity refers to it."""
    rows = await executor.fetch(holding(table, reference.field, hidden), {"referred_id": id, "limit": NAMED + 1})
    if rows:
        holders = [(table.entity.kind, row[0]) for row in rows[:NAMED]]
        raise InUse(reference.field, holders, more=len(rows) > NAMED)


async def clear_all(unit: Writing, table: AnyTable, field: str, id: int, *, hidden: bool) -> None:
    await lock_all(unit, table, field, id, hidden=hidden)
    for row in await unit.executor.fetch(clearing(table, field, hidden), {"referred_id": id, "cleared_at": unit.now}):
        after = table.make(*row)
        before = replace(cast("Any", after), **{field: id}, version=after.version - 1)
        unit.journal.saved(before, after)
        unit.known.pop((after.kind, after.id), None)


async def lock_all(unit: Writing, table: AnyTable, field: str, id: int, *, hidden: bool) -> None:
    """Lock the rows that refer to it in the order of their ids, where rows have locks."""
    kind = table.entity.kind
    if not unit.locks.are_needed:
        return
    waits = unit.locks.may_wait_for_any(kind)
    for row in await locking(table, field, hidden).fetch(unit.executor, {"referred_id": id}, waits=waits):
        unit.locks.locked(kind, row[0])


@cache
def holding(table: AnyTable, field: str, hidden: bool) -> sa.Select[Any]:
    rows = sa.select(table.table.c.id).where(*referring(table, field, hidden))
    return rows.order_by(table.table.c.id).limit(sa.bindparam("limit"))


@cache
def locking(table: AnyTable, field: str, hidden: bool) -> Locking:
    return Locking.of(sa.select(table.table.c.id).where(*referring(table, field, hidden)).order_by(table.table.c.id))


@cache
def found(table: AnyTable, field: str, hidden: bool) -> sa.Select[Any]:
    return table.rows.where(*referring(table, field, hidden)).order_by(table.table.c.id)


@cache
def ending(table: AnyTable, field: str, hidden: bool) -> sa.Executable:
    return sa.delete(table.table).where(*referring(table, field, hidden)).returning(*table.columns)


@cache
def clearing(table: AnyTable, field: str, hidden: bool) -> sa.Executable:
    version = table.table.c.version + 1
    values = {
        field: None,
        "version": version,
        "updated_at": sa.bindparam("cleared_at", type_=table.table.c.updated_at.type),
    }
    rows = sa.update(table.table).where(*referring(table, field, hidden))
    return rows.values(values).returning(*table.columns)
