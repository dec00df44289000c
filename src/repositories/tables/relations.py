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
from domain.references import Reference, ReferentialAction
from repositories.engines.executors import Executor
from repositories.locks import Locking, Ranks
from repositories.tables.many import ids_as_rows, sharing
from repositories.tables.set_wise import Referring, end_all, referred
from repositories.tables.table import EntityTable
from repositories.units import Writing

NAMED: Final = 3
"""How many of the referring entities an error names."""

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

    def table_of(self, kind: str) -> AnyTable:
        return self._tables[kind]

    def referrers_of(self, kind: str) -> Sequence[Referrers]:
        return [
            Referrers(table, reference)
            for table in self._tables.values()
            for reference in table.entity.references
            if reference.to.kind == kind
        ]

    def kinds_about(self, kind: str) -> Sequence[str]:
        """The kinds whose values are personal data of the entity of this kind that they refer to."""
        return [table.entity.kind for table, reference in self.referrers_of(kind) if reference.about]

    async def require(self, unit: Writing, entity: type[Entity], new: object, before: Entity | None = None) -> None:
        """Lock all entities that a new or changed entity refers to. Raises `Invalid` for each reference to a missing
        entity.

        An unchanged reference is checked only if the entity becomes visible again.
        """
        in_order = sorted(changed(entity, new, before), key=lambda each: unit.locks.place(each[0].to.kind, each[1]))
        faults = [fault for reference, id in in_order for fault in await self._faults_at(unit, reference, id)]
        if faults and not getattr(new, "is_hidden", False):
            raise Invalid(sorted(faults, key=lambda fault: fault.pointer))

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
        """The same for many entities, given as pairs of new and old state. Pointers begin with the index of the entity,
        from 0."""
        if not entity.references:
            return
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
        """Lock the entities that exist and are not hidden, and return their ids."""
        waits = all(unit.locks.may_wait(kind, id) for id in ids)
        rows = await sharing(self._tables[kind]).fetch(unit.executor, ids_as_rows(ids), waits=waits)
        for row in rows:
            unit.locks.locked(kind, row[0])
        return {row[0] for row in rows}

    async def release(self, unit: Writing, entities: Sequence[Entity], *, erased: bool) -> None:
        """Do what the references of entities that refer to these declare for their deletion, or for their end or
        erasure. All are of one kind.

        Raises `InUse`.
        """
        if not entities:
            return
        ids = [each.id for each in entities]
        for table, reference in self.referrers_of(entities[0].kind):
            those = Referring(reference.field, hidden=erased, to_one=len(ids) == 1)
            match reference.on_purge if erased else reference.on_delete:
                case ReferentialAction.REFUSE:
                    await require_none(unit.executor, table, those, ids)
                case ReferentialAction.END:
                    await self._end_all(unit, table, those, ids)
                case ReferentialAction.CLEAR:
                    await clear_all(unit, table, those, ids)
                case ReferentialAction.HIDE:
                    await self._hide_all(unit, table, those, entities)
                case ReferentialAction.KEEP:
                    pass

    async def _hide_all(self, unit: Writing, table: AnyTable, those: Referring, entities: Sequence[Entity]) -> None:
        """Hide the entities that refer to entities that become hidden, with the same time."""
        ids_at: defaultdict[datetime | None, list[int]] = defaultdict(list)
        for each in entities:
            ids_at[hidden_at(each)].append(each.id)
        for since, ids in ids_at.items():
            its = those._replace(to_one=len(ids) == 1)
            await lock_all(unit, table, its, ids)
            rows = await unit.executor.fetch(hiding(table, its), {**referred(ids), "at": unit.now, "since": since})
            hidden = [table.make(*row) for row in rows]
            await self.release(unit, hidden, erased=False)
            for after in hidden:
                note_saved(unit, replace(after, **{str(after.hidden_since): None}), after)

    async def bring_back(self, unit: Writing, entities: Sequence[Entity]) -> None:
        """Restore the entities that were hidden together with these, which are of one kind. `entities` is their state
        before the restoration."""
        for table, reference in self.referrers_of(entities[0].kind) if entities else ():
            if reference.on_delete is ReferentialAction.HIDE:
                those = Referring(reference.field, hidden=True, to_one=len(entities) == 1)
                await self._show_all(unit, table, those, entities)

    async def _show_all(self, unit: Writing, table: AnyTable, those: Referring, entities: Sequence[Entity]) -> None:
        since = {each.id: hidden_at(each) for each in entities}
        await lock_all(unit, table, those, list(since))
        rows = await unit.executor.fetch(showing(table, those), {**referred(list(since)), "at": unit.now})
        shown = [table.make(*row) for row in rows]
        befores = [replace(after, **{str(after.hidden_since): since[getattr(after, those.field)]}) for after in shown]
        for before, after in zip(befores, shown, strict=True):
            note_saved(unit, before, after)
        await self.bring_back(unit, befores)

    async def end_all(self, unit: Writing, table: AnyTable, field: str, id: int) -> int:
        return await self._end_all(unit, table, Referring(field, hidden=True, to_one=True), [id])

    async def _end_all(self, unit: Writing, table: AnyTable, those: Referring, ids: Sequence[int]) -> int:
        await lock_all(unit, table, those, ids)
        kind = table.entity.kind
        if table.can_record and not unit.journal.has(kind) and not self.referrers_of(kind):
            unit.known = {subject: each for subject, each in unit.known.items() if subject[0] != kind}
            return await end_all(unit, table, those, ids)
        rows = await unit.executor.fetch(found(table, those), referred(ids))
        await self.release(unit, [table.make(*row) for row in rows], erased=True)
        for row in await unit.executor.fetch(ending(table, those), referred(ids)):
            ended = table.make(*row)
            unit.journal.ended(ended)
            unit.known.pop((ended.kind, ended.id), None)
        return len(rows)


async def require_none(executor: Executor, table: AnyTable, those: Referring, ids: Sequence[int]) -> None:
    """Raises `InUse` if an entity refers to one of them."""
    rows = await executor.fetch(holding(table, those), {**referred(ids), "limit": NAMED + 1})
    if rows:
        holders = [(table.entity.kind, row[0]) for row in rows[:NAMED]]
        raise InUse(those.field, holders, more=len(rows) > NAMED)


async def clear_all(unit: Writing, table: AnyTable, those: Referring, ids: Sequence[int]) -> None:
    await lock_all(unit, table, those, ids)
    rows = await unit.executor.fetch(found(table, those), referred(ids))
    id_in = {each.id: getattr(each, those.field) for each in (table.make(*row) for row in rows)}
    for row in await unit.executor.fetch(clearing(table, those), {**referred(ids), "at": unit.now}):
        after = table.make(*row)
        note_saved(unit, replace(after, **{those.field: id_in[after.id]}), after)


def note_saved(unit: Writing, before: Any, after: Any) -> None:
    """Note that a statement has changed this entity. `before` needs no correct version."""
    unit.journal.saved(replace(before, version=after.version - 1), after)
    unit.known.pop((after.kind, after.id), None)


def changed(entity: type[Entity], new: object, before: Entity | None) -> Sequence[tuple[Reference, int]]:
    """The references to check: those that are new, or all if the entity becomes visible again."""
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


async def lock_all(unit: Writing, table: AnyTable, those: Referring, ids: Sequence[int]) -> None:
    """Lock the rows that refer to these entities, in the order of their ids, if the database needs locks."""
    kind = table.entity.kind
    if not unit.locks.are_needed:
        return
    waits = unit.locks.may_wait_for_any(kind)
    for row in await locking(table, those).fetch(unit.executor, referred(ids), waits=waits):
        unit.locks.locked(kind, row[0])


@cache
def holding(table: AnyTable, those: Referring) -> sa.Select[Any]:
    rows = sa.select(table.table.c.id).where(*those.conditions(table))
    return rows.order_by(table.table.c.id).limit(sa.bindparam("limit"))


@cache
def locking(table: AnyTable, those: Referring) -> Locking:
    return Locking.of(sa.select(table.table.c.id).where(*those.conditions(table)).order_by(table.table.c.id))


@cache
def found(table: AnyTable, those: Referring) -> sa.Select[Any]:
    return table.rows.where(*those.conditions(table)).order_by(table.table.c.id)


@cache
def ending(table: AnyTable, those: Referring) -> sa.Executable:
    return sa.delete(table.table).where(*those.conditions(table)).returning(*table.columns)


@cache
def clearing(table: AnyTable, those: Referring) -> sa.Executable:
    return setting(table, those.conditions(table), {those.field: None})


@cache
def hiding(table: AnyTable, those: Referring) -> sa.Executable:
    since = str(table.entity.hidden_since)
    at = sa.bindparam("since", type_=table.table.c[since].type)
    return setting(table, those.conditions(table), {since: at})


@cache
def showing(table: AnyTable, those: Referring) -> sa.Executable:
    hidden = [*those.conditions(table), sa.not_(table.shown)]
    return setting(table, hidden, {str(table.entity.hidden_since): None})


def setting(table: AnyTable, rows: Sequence[sa.ColumnElement[bool]], values: Mapping[str, Any]) -> sa.Executable:
    """An UPDATE of all these rows, which also raises their versions, as `save` does for one row."""
    columns = table.table.c
    stamps = {"version": columns.version + 1, "updated_at": sa.bindparam("at", type_=columns.updated_at.type)}
    return sa.update(table.table).where(*rows).values({**values, **stamps}).returning(*table.columns)
