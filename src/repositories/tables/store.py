"""What all SQL stores of entities share: add, save, remove, with version, tombstone and change.

Its counterpart in memory is `repositories.memory.table`.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from domain.entities import Entity
from domain.errors import Conflict, Refusal, Stale
from domain.values import flaw_in, is_id
from repositories.engines.statements import Parameters
from repositories.tables import many
from repositories.tables.reading import SqlReadStore
from repositories.tables.table import EntityTable
from repositories.tables.writes import write
from repositories.units import Writing

N = TypeVar("N")
E = TypeVar("E", bound=Entity)


@cache
def names_of(new: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(new))


class SqlStore(SqlReadStore[N, E]):
    """The store of a writing unit of work."""

    def __init__(self, table: EntityTable[N, E], unit: Writing) -> None:
        super().__init__(table, unit)
        self.unit = unit

    @property
    def table(self) -> EntityTable[N, E]:
        return self._table

    async def get(self, id: int, *, hidden: bool = False) -> E:
        return self._shown(await self._locked(id), hidden)

    async def hold(self, id: int) -> E:
        waits = self.unit.locks.may_wait(self._kind, id)
        rows = await self._table.get_held.fetch(self._executor, {"id": id}, waits=waits) if is_id(id) else ()
        return self._shown(self._table.meet(self.unit, self._one(rows, "id")), hidden=False)

    async def get_many(self, ids: Collection[int]) -> Sequence[E]:
        return await many.lock_many(self.unit, self._table, ids)

    async def find(self, field: str, value: str) -> E:
        key = self._table.key_of(field, value)
        if flaw_in(key):
            return self._one((), field)
        waits = self.unit.locks.may_wait_for_any(self._kind)
        rows = await self._table.find_locked[field].fetch(self._executor, {"key": key}, waits=waits)
        return self._table.meet(self.unit, self._one(rows, field))

    async def find_many(self, field: str, values: Collection[str]) -> Mapping[str, E]:
        keys, waits = many.keys_as_rows(self._table, field, values), self.unit.locks.may_wait_for_any(self._kind)
        rows = await many.finding(self._table, field).fetch(self._executor, keys, waits=waits)
        found = [self._table.meet(self.unit, self._table.make(*row)) for row in rows]
        return many.by_value(self._table, field, values, found)

    @write
    async def add(self, new: N) -> E:
        if self._table.entity.references:
            await self.unit.relations.require(self.unit, self._table.entity, new)
        values = self.values_of_new(new)
        entity: Any = self._table.entity
        columns = self._table.with_keys(dict(values))
        try:
            ((id,),) = await self._executor.fetch(self._table.insert, columns)
        except Conflict as conflict:
            raise await self.in_full(conflict, columns) from conflict
        added: E = entity(id=id, **values)
        self.unit.journal.added(self._table.know(self.unit, added))
        return added

    def values_of_new(self, new: N) -> dict[str, Any]:
        """The fields of the entity that `add` creates, except for its id."""
        values = {name: getattr(new, name) for name in names_of(cast("Any", type(new)))}
        return {**values, "created_at": self.unit.now, "updated_at": self.unit.now, "version": 1}

    @write
    async def save(self, entity: E) -> E:
        before = await self._before(entity)
        saved = many.next_version(self.unit, self._table, entity, before)
        if self._table.entity.references:
            await self.unit.relations.require(self.unit, self._table.entity, saved, before)
        if saved.is_hidden and not before.is_hidden:
            await self.unit.relations.release(self.unit, [saved], erased=False)
        this = {"saved_id": entity.id, "saved_version": entity.version}
        try:
            await self._require_one(self._table.update, {**self._table.differing(before, saved), **this})
        except Conflict as conflict:
            raise await self.in_full(conflict, self._table.values_of(saved), entity.id) from conflict
        self.unit.journal.saved(before, self._table.know(self.unit, saved))
        if before.is_hidden and not saved.is_hidden:
            await self.unit.relations.bring_back(self.unit, [before])
        return saved

    @write
    async def remove(self, entity: E) -> None:
        self.unit.journal.removed(await self._delete(entity))

    @write
    async def end(self, entity: E) -> None:
        self.unit.journal.ended(await self._delete(entity))

    @write
    async def add_many(self, new: Sequence[N]) -> Sequence[E]:
        return await many.add_many(self.unit, self._table, new)

    @write
    async def save_many(self, entities: Sequence[E]) -> Sequence[E]:
        return await many.save_many(self.unit, self._table, entities)

    @write
    async def end_many(self, entities: Sequence[E]) -> None:
        await many.end_many(self.unit, self._table, entities)

    @write
    async def end_all(self, field: str, value: int) -> int:
        return await self.unit.relations.end_all(self.unit, self._table, field, value)

    async def _delete(self, entity: E) -> E:
        before = await self._before(entity)
        await self.unit.relations.release(self.unit, [before], erased=True)
        await self._require_one(self._table.delete, {"saved_id": entity.id, "saved_version": entity.version})
        self.unit.known.pop((self._kind, entity.id), None)
        return before

    async def _require_one(self, statement: sa.Executable, parameters: Parameters) -> None:
        if not await self._executor.fetch(statement, parameters):
            raise Stale(f"The {self._kind} was changed meanwhile.")

    async def in_full(self, conflict: Conflict, columns: Parameters, id: int | None = None) -> Conflict:
        """The conflict with all unique fields whose values are taken. The database names only one and ends the
        transaction.

        So the others are looked up outside of the transaction. If that fails, only the first one is named.
        """
        taken: dict[str, int | None] = {}
        with suppress(Refusal):
            for names in self._table.entity.unique:
                holder = await self._holder_of(names, columns)
                if names == conflict.fields or holder not in {None, id}:
                    taken[names[-1]] = holder
            return Conflict(*conflict.fields, kind=self._kind, taken=taken)
        return conflict

    async def _holder_of(self, names: tuple[str, ...], columns: Parameters) -> int | None:
        """The id of the entity that has this value, if the field is unique by itself."""
        name = names[-1]
        key = columns[self._table.key(name).name] if len(names) == 1 else None
        rows = () if key is None else await self.unit.database.reader.fetch(self._table.find[name], {"key": key})
        return self._table.make(*rows[0]).id if rows else None

    async def _before(self, entity: E) -> E:
        known = self.unit.known.get((self._kind, entity.id))
        if known is None:
            await self._locked(entity.id)
            known = self.unit.known[self._kind, entity.id]
        return cast("E", known)

    async def _locked(self, id: int) -> E:
        waits = self.unit.locks.may_wait(self._kind, id)
        rows = await self._table.get_locked.fetch(self._executor, {"id": id}, waits=waits) if is_id(id) else ()
        return self._table.meet(self.unit, self._one(rows, "id"))
