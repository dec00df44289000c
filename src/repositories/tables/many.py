"""Many entities of one kind at once, by a few statements for any number of entities.

All rows are one parameter (see `repositories.engines.json_rows`), so that each of these statements is compiled once.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, Generic, TypeAlias, TypeVar, cast

import sqlalchemy as sa

from domain.entities import Entity
from domain.errors import NotFound, Stale
from domain.values import flaw_in, is_id
from repositories.engines.executors import Executor
from repositories.engines.json_rows import ROWS, as_parameter, rows_of
from repositories.engines.statements import Parameters
from repositories.locks import Locking
from repositories.tables.table import EntityTable
from repositories.units import Writing

E = TypeVar("E", bound=Entity)

Table: TypeAlias = EntityTable[Any, E]


def ids_as_rows(ids: Iterable[int]) -> Parameters:
    return {ROWS: as_parameter((id,) for id in sorted({*ids}) if is_id(id))}


async def get_many(executor: Executor, table: Table[E], ids: Collection[int]) -> Sequence[E]:
    """The entities with these ids, including hidden ones, in the order of their ids. Ids without an entity are left
    out."""
    return [table.make(*row) for row in await executor.fetch(getting(table).reads, ids_as_rows(ids))]


async def lock_many(unit: Writing, table: Table[E], ids: Collection[int]) -> Sequence[E]:
    """The same, locked."""
    waits = all(unit.locks.may_wait(table.entity.kind, id) for id in ids)
    rows = await getting(table).fetch(unit.executor, ids_as_rows(ids), waits=waits)
    return [table.meet(unit, table.make(*row)) for row in rows]


def keys_as_rows(table: Table[Any], field: str, values: Iterable[str]) -> Parameters:
    keys = {table.key_of(field, value) for value in values}
    return {ROWS: as_parameter((key,) for key in sorted(keys) if not flaw_in(key))}


def by_value(table: Table[E], field: str, values: Iterable[str], found: Sequence[E]) -> Mapping[str, E]:
    """The entities by the values that were asked for. Several spellings of a value may have the same key."""
    by_key = {table.key_of(field, getattr(entity, field)): entity for entity in found}
    return {value: by_key[key] for value in values if (key := table.key_of(field, value)) in by_key}


async def add_many(unit: Writing, table: Table[E], new: Sequence[Any]) -> Sequence[E]:
    if not new:
        return []
    await unit.relations.require_many(unit, table.entity, [(each, None) for each in new])
    kind: Any = type(new[0])
    addition = addition_to(table, kind)
    rows = [addition.row(each) for each in new]
    parameters = {ROWS: as_parameter(rows), "now": unit.now}
    ids = sorted(row[0] for row in await unit.executor.fetch(addition.insert, parameters))  # in the order of rows
    added = [addition.entity(row, id, unit.now) for row, id in zip(rows, ids, strict=True)]
    if table.can_record:
        unit.journal.added_many(added)
    else:
        for each in added:
            unit.journal.added(table.know(unit, each))
    return added


class Addition(Generic[E]):
    """Turns new entities into rows of a table, and these rows into entities.

    A field of the entity that is neither in the profile nor set by every store has its default.
    """

    def __init__(self, table: Table[E], new: type) -> None:
        entity = {each.name: each.default for each in fields(cast("Any", table.entity))}
        self._profile = [each.name for each in fields(new)]
        self._forms = [(place, table.forms[name]) for place, name in enumerate(self._profile) if name in table.forms]
        columns = [*self._profile, *[f"{self._profile[place]}_key" for place, _ in self._forms]]
        stored = [*columns, "id", "created_at", "updated_at"]
        others = [name for name in entity if name not in stored and name != "version"]
        self._others = [1, *[entity[name] for name in others]]
        self._in_order = itemgetter(*map([*stored, "version", *others].index, entity))
        self._make = table.make
        self.insert = inserting(table, columns)

    def row(self, new: object) -> Sequence[Any]:
        values = [getattr(new, name) for name in self._profile]
        keys = [None if (value := values[place]) is None else form(value) for place, form in self._forms]
        return [*values, *keys]

    def entity(self, row: Sequence[Any], id: int, now: datetime) -> E:
        return self._make(*self._in_order([*row, id, now, now, *self._others]))


@cache
def addition_to(table: Table[E], new: Any) -> Addition[E]:
    return Addition(table, new)


async def save_many(unit: Writing, table: Table[E], entities: Sequence[E]) -> Sequence[E]:
    if not entities:
        return []
    befores = await require_versions(unit, table, entities)
    saved = [next_version(unit, table, each, before) for each, before in zip(entities, befores, strict=True)]
    pairs = list(zip(saved, befores, strict=True))
    await unit.relations.require_many(unit, table.entity, pairs)
    hidden = [each for each, before in pairs if each.is_hidden and not before.is_hidden]
    await unit.relations.release(unit, hidden, erased=False)
    values = [{"id": each.id, **table.values_of(each)} for each in saved]
    rows = [tuple(each.values()) for each in values]
    await unit.executor.fetch(updating(table, tuple(values[0])), {ROWS: as_parameter(rows)})
    for each, before in pairs:
        unit.journal.saved(before, table.know(unit, each))
    shown = [before for each, before in pairs if before.is_hidden and not each.is_hidden]
    await unit.relations.bring_back(unit, shown)
    return saved


def next_version(unit: Writing, table: Table[E], entity: E, before: E) -> E:
    kept = {name: getattr(before, name) for name in table.unsaved}
    changed: Any = {"updated_at": unit.now, "version": entity.version + 1, **kept}
    return replace(cast("Any", entity), **changed)  # type: ignore[no-any-return]


async def end_many(unit: Writing, table: Table[E], entities: Sequence[E]) -> None:
    if not entities:
        return
    befores = await require_versions(unit, table, entities)
    await unit.relations.release(unit, befores, erased=True)
    await unit.executor.fetch(deleting(table), ids_as_rows(each.id for each in befores))
    for each in befores:
        unit.known.pop((each.kind, each.id), None)
        unit.journal.ended(each)


async def require_versions(unit: Writing, table: Table[E], entities: Sequence[E]) -> Sequence[E]:
    """The stored entities, locked. Raises `Stale` and `NotFound`."""
    kind = table.entity.kind
    await lock_many(unit, table, [each.id for each in entities if (kind, each.id) not in unit.known])
    if any((kind, each.id) not in unit.known for each in entities):
        raise NotFound(f"There is no {kind} with this id.")
    befores = [cast("E", unit.known[kind, each.id]) for each in entities]
    if any(each.version != before.version for each, before in zip(entities, befores, strict=True)):
        raise Stale(f"The {kind} was changed meanwhile.")
    return befores


@cache
def getting(table: Table[Any]) -> Locking:
    id = table.table.c.id
    return Locking.of(table.rows.where(id.in_(rows_of(id))).order_by(id))


@cache
def finding(table: Table[Any], field: str) -> Locking:
    key = table.key(field)
    return Locking.of(table.rows.where(table.shown, key.in_(rows_of(key))).order_by(table.table.c.id))


@cache
def sharing(table: Table[Any]) -> Locking:
    """The ids of those entities that are not hidden, with a shared lock."""
    id = table.table.c.id
    return Locking.of(sa.select(id).where(table.shown, id.in_(rows_of(id))).order_by(id), shared=True)


def inserting(table: Table[Any], names: Sequence[str]) -> sa.Insert:
    """An INSERT of rows with these columns, for entities that are new `now`."""
    now = sa.bindparam("now", type_=table.table.c.created_at.type)
    rows = rows_of(*[table.table.c[name] for name in names]).add_columns(now, now, sa.literal_column("1"))
    return (
        sa.insert(table.table)
        .from_select([*names, "created_at", "updated_at", "version"], rows)
        .returning(table.table.c.id)
    )


@cache
def updating(table: Table[Any], names: tuple[str, ...]) -> sa.Update:
    """An UPDATE of many rows. The first name is the id. The rows have been locked and their versions compared."""
    rows = rows_of(*[table.table.c[name] for name in names]).subquery("new")
    values = {name: rows.c[name] for name in names[1:]}
    return sa.update(table.table).where(table.table.c.id == rows.c.id).values(values)


@cache
def deleting(table: Table[Any]) -> sa.Delete:
    id = table.table.c.id
    return sa.delete(table.table).where(id.in_(rows_of(id)))
