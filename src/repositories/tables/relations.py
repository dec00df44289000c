"""References between tables: whether the referred entity exists, and what happens to entities that refer to it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, cached_property
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from domain.entities import Entity
from domain.errors import Fault, InUse, Invalid
from domain.references import Reference, Then
from repositories.engines.executors import Executor
from repositories.locks import Locking, Ranks
from repositories.tables.many import ids_as_rows, sharing
from repositories.tables.set_wise import can_end, end_all, referring
from repositories.tables.table import EntityTable
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
        in_order = sorted(changed(entity, new, before), key=lambda each: unit.locks.place(each[0].to.kind, each[1]))
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

    async def require_many(
        self, unit: Writing, entity: type[Entity], pairs: Sequence[tuple[Any, Entity | None]]
    ) -> None:
        """The same for many entities, new and before. Pointers begin with the number of the entity, from 0."""
        named: defaultdict[str, set[int]] = defaultdict(set)
        wanted = [(number, *each) for number, pair in enumerate(pairs) for each in changed(entity, *pair)]
        for _, reference, id in wanted:
            named[reference.to.kind].add(id)
        there = {kind: await self._hold(unit, kind, ids) for kind, ids in in_order_of_locks(unit, named)}
        faults = [
            Fault(f"/{number}/{reference.field}", "not_found", f"There is no {reference.to.kind} with this id.")
            for number, reference, id in wanted
            if id not in there[reference.to.kind] and not getattr(pairs[number][0], "is_hidden", False)
        ]
        if faults:
            raise Invalid(faults)

    async def _hold(self, unit: Writing, kind: str, ids: set[int]) -> set[int]:
        """Lock those of the entities that are there, and return their ids."""
        waits = all(unit.locks.may_wait(kind, id) for id in ids)
        rows = await sharing(self._tables[kind]).fetch(unit.executor, ids_as_rows(ids), waits=waits)
        for row in rows:
            unit.locks.locked(kind, row[0])
        return {row[0] for row in rows}

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
                case Then.HIDE:
                    await self._hide_all(unit, table, reference.field, entity)
                case Then.KEEP:
                    pass

    async def _hide_all(self, unit: Writing, table: AnyTable, field: str, entity: Entity) -> None:
        """Hide the entities that refer to one that becomes hidden, as of the same time."""
        await lock_all(unit, table, field, entity.id, hidden=False)
        values = {"referred_id": entity.id, "at": unit.now, "since": hidden_at(entity)}
        rows = await unit.executor.fetch(hiding(table, field), values)
        for after in [table.make(*row) for row in rows]:
            await self.release(unit, after, erased=False)
            note_saved(unit, replace(after, **{str(after.hidden_since): None}), after)

    async def bring_back(self, unit: Writing, entity: Entity) -> None:
        """Show the entities that were hidden with this one, as it was before it is shown again."""
        for table, reference in self.referrers_of(entity.kind):
            if reference.on_delete is Then.HIDE:
                await self._show_all(unit, table, reference.field, entity)

    async def _show_all(self, unit: Writing, table: AnyTable, field: str, entity: Entity) -> None:
        await lock_all(unit, table, field, entity.id, hidden=True)
        rows = await unit.executor.fetch(showing(table, field), {"referred_id": entity.id, "at": unit.now})
        for after in [table.make(*row) for row in rows]:
            before = replace(after, **{str(after.hidden_since): hidden_at(entity)})
            note_saved(unit, before, after)
            await self.bring_back(unit, before)

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
    for row in await unit.executor.fetch(clearing(table, field, hidden), {"referred_id": id, "at": unit.now}):
        after = table.make(*row)
        note_saved(unit, replace(after, **{field: id}), after)


def note_saved(unit: Writing, before: Any, after: Any) -> None:
    """A statement has changed this entity. `before` has all but its version."""
    unit.journal.saved(replace(before, version=after.version - 1), after)
    unit.known.pop((after.kind, after.id), None)


def changed(entity: type[Entity], new: object, before: Entity | None) -> Sequence[tuple[Reference, int]]:
    """The references to look at: those that are new, or all if the entity becomes visible again."""
    return [
        (reference, id)
        for reference in entity.references
        if (id := getattr(new, reference.field)) is not None
        and (before is None or before.is_hidden or id != getattr(before, reference.field))
    ]


def in_order_of_locks(unit: Writing, named: Mapping[str, set[int]]) -> Sequence[tuple[str, set[int]]]:
    return sorted(named.items(), key=lambda each: unit.locks.place(each[0], 0))


def hidden_at(entity: Entity) -> datetime | None:
    since: datetime | None = getattr(entity, str(entity.hidden_since))
    return since


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
    return setting(table, referring(table, field, hidden), {field: None})


@cache
def hiding(table: AnyTable, field: str) -> sa.Executable:
    since = str(table.entity.hidden_since)
    at = sa.bindparam("since", type_=table.table.c[since].type)
    return setting(table, referring(table, field, hidden=False), {since: at})


@cache
def showing(table: AnyTable, field: str) -> sa.Executable:
    hidden = [*referring(table, field, hidden=True), sa.not_(table.shown)]
    return setting(table, hidden, {str(table.entity.hidden_since): None})


def setting(table: AnyTable, rows: Sequence[sa.ColumnElement[bool]], values: Mapping[str, Any]) -> sa.Executable:
    """Change all these rows by one statement, as a save changes one."""
    columns = table.table.c
    stamps = {"version": columns.version + 1, "updated_at": sa.bindparam("at", type_=columns.updated_at.type)}
    return sa.update(table.table).where(*rows).values({**values, **stamps}).returning(*table.columns)
