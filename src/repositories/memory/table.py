"""What all stores in memory share. It is the counterpart of `reading` and `store` in `repositories.tables`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache, cmp_to_key
from typing import Any, Final, Generic, TypeVar, cast

from domain.entities import Entity
from domain.errors import Conflict, Gone, NotFound, Stale
from domain.lists.fields import Field, field_of
from domain.lists.filters import Filter, matches
from domain.lists.pages import BY_ID, JsonPage, Keys, Page, Position, Sort
from domain.lists.projections import Projection
from domain.stores import Hidden
from domain.values import copied
from repositories.memory.relations import MemoryRelations
from repositories.memory.units import MemoryReading, MemoryWriting, Tables
from repositories.tables.writes import write

N = TypeVar("N")
T = TypeVar("T")
E = TypeVar("E", bound=Entity)

Relationships = Mapping[str, Callable[[Tables, int], Sequence[Entity]]]
"""For each field of ids a function that finds the related entities of an entity, by its id."""

NONE_RELATED: Final[Relationships] = {}


class Seen:
    """An entity with its fields of ids, for filters."""

    def __init__(self, entity: Entity, related: Relationships, tables: Tables) -> None:
        self._entity = entity
        self._related = related
        self._tables = tables

    def __getattr__(self, name: str) -> Any:
        if name in self._related:
            return list(self._related[name](self._tables, self._entity.id))
        return getattr(self._entity, name)


class MemoryReadStore(Generic[N, E]):
    """The entities of one kind. It stores and returns copies, because JSON in a frozen entity is mutable."""

    def __init__(
        self, entity: type[E], unit: MemoryReading | MemoryWriting, related: Relationships = NONE_RELATED
    ) -> None:
        self._entity = entity
        self._related = related
        self._kind = entity.kind
        self._unit = unit
        self._fields = fields_in(cast("Any", entity))

    async def get(self, id: int, *, hidden: bool = False) -> E:
        entity = self._row(id)
        if not hidden and entity.is_hidden:
            raise Gone(f"This {self._kind} is {str(entity.hidden_since).removesuffix('_at')}.")
        return own(entity)

    async def find(self, field: str, value: str) -> E:
        for row in self._shown():
            if self._key(row, field) is not None and self._key(row, field) == self._form(field, value):
                return own(row)
        raise NotFound(f"There is no {self._kind} with this {field}.")

    async def find_hidden(self, field: str, value: str) -> E:
        for row in sorted(self._rows.values(), key=lambda row: row.id, reverse=True):
            if (
                row.is_hidden
                and self._key(row, field) is not None
                and self._key(row, field) == self._form(field, value)
            ):
                return own(row)
        raise NotFound(f"There is no {self._kind} with this {field}.")

    async def get_many(self, ids: Collection[int]) -> Sequence[E]:
        return [await self.get(id, hidden=True) for id in sorted({*ids} & self._rows.keys())]

    async def find_many(self, field: str, values: Collection[str]) -> Mapping[str, E]:
        by_key = {self._key(row, field): row for row in self._shown()}
        wanted = {value: by_key.get(self._form(field, value)) for value in values}
        return {value: own(row) for value, row in wanted.items() if row is not None}

    async def list(
        self,
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
        after: Position | None = None,
        skip: int = 0,
        limit: int,
    ) -> Sequence[E]:
        rows = sorted(((sort.keys_of(row), row) for row in self._shown(filter, hidden)), key=in_order_of(sort))
        last = None if after is None else sort.keys_at(after)
        following = [row for keys, row in rows if last is None or sort.compare(keys, last) > 0]
        return [own(row) for row in following[max(0, skip) :][: max(0, limit)]]

    async def page(
        self,
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
        after: Position | None = None,
        skip: int = 0,
        limit: int,
    ) -> Page[E]:
        found = await self.list(filter=filter, sort=sort, hidden=hidden, after=after, skip=skip, limit=limit + 1)
        return Page.of(found, limit, self._unit.tables.last_change)

    async def page_as_json(
        self,
        projection: Projection[E],
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
        after: Position | None = None,
        limit: int,
    ) -> JsonPage:
        page = await self.page(filter=filter, sort=sort, hidden=hidden, after=after, limit=limit)
        return projection.page(page, sort)

    async def count(self, filter: Filter | None = None, *, hidden: Hidden = Hidden.NO, most: int | None = None) -> int:
        found = len(self._shown(filter, hidden))
        return found if most is None else min(found, max(0, most))

    @property
    def _rows(self) -> dict[int, E]:
        return self._unit.tables.rows[self._kind].by_id

    def _row(self, id: int) -> E:
        if id not in self._rows:
            raise NotFound(f"There is no {self._kind} with this id.")
        return self._rows[id]

    def _shown(self, filter: Filter | None = None, hidden: Hidden = Hidden.NO) -> Sequence[E]:
        return [row for row in self._rows.values() if hidden.has(row) and matches(filter, self._seen(row))]

    def _seen(self, row: E) -> object:
        """An entity with its fields of ids, for filters."""
        return Seen(row, self._related, self._unit.tables) if self._related else row

    def _key(self, entity: E, name: str) -> Any:
        return self._fields[name].key_in(entity)

    def _form(self, name: str, value: str) -> Any:
        """A value in the form in which the field is compared."""
        return self._fields[name].form(value)


class MemoryStore(MemoryReadStore[N, E]):
    """The entities within one unit of work."""

    def __init__(self, entity: type[E], unit: MemoryWriting, related: Relationships = NONE_RELATED) -> None:
        super().__init__(entity, unit, related)
        self.unit = unit
        self._relations = MemoryRelations(unit)

    async def hold(self, id: int) -> E:
        return await self.get(id)

    @write
    async def add(self, new: N) -> E:
        now = self.unit.now
        table = self.unit.tables.rows[self._kind]
        table.last_id += 1
        profile = {each.name: getattr(new, each.name) for each in fields(cast("Any", new))}
        entity: Any = self._entity
        added: E = entity(id=table.last_id, created_at=now, updated_at=now, version=1, **profile)
        self._relations.require(added, None)
        self.unit.journal.added(self._keep(added))
        return added

    @write
    async def save(self, entity: E) -> E:
        before = self._at_version(entity)
        changed: Any = {"updated_at": self.unit.now, "version": entity.version + 1}
        saved: E = replace(cast("Any", entity), **changed)
        self._relations.require(saved, before)
        if saved.is_hidden and not before.is_hidden:
            self._relations.release(saved, erased=False)
        self.unit.journal.saved(before, self._keep(saved))
        if before.is_hidden and not saved.is_hidden:
            self._relations.bring_back(before)
        return saved

    @write
    async def remove(self, entity: E) -> None:
        self.unit.journal.removed(self._delete(entity))

    @write
    async def end(self, entity: E) -> None:
        self.unit.journal.ended(self._delete(entity))

    @write
    async def add_many(self, new: Sequence[N]) -> Sequence[E]:
        self._relations.require_many(self._entity, [(each, None) for each in new])
        return [await self.add(each) for each in new]

    @write
    async def save_many(self, entities: Sequence[E]) -> Sequence[E]:
        self._relations.require_many(self._entity, [(each, self._at_version(each)) for each in entities])
        return [await self.save(each) for each in entities]

    @write
    async def end_many(self, entities: Sequence[E]) -> None:
        for each in entities:
            await self.end(each)

    @write
    async def end_all(self, field: str, value: int) -> int:
        found = [row for row in self._rows.values() if getattr(row, field) == value]
        for row in found:
            self.unit.journal.ended(self._delete(row))
        return len(found)

    def _keep(self, entity: E) -> E:
        """Store an entity, and return a copy. Raises `Conflict`."""
        if not entity.is_hidden:
            self._require_unique(entity)
        self._rows[entity.id] = kept = own(entity)
        return kept

    def _at_version(self, entity: E) -> E:
        """The stored entity. Raises `Stale` and `NotFound`."""
        kept = self._row(entity.id)
        if kept.version != entity.version:
            raise Stale(f"The {self._kind} was changed meanwhile.")
        return kept

    def _delete(self, entity: E) -> E:
        kept = self._at_version(entity)
        self._relations.release(kept, erased=True)
        del self._rows[entity.id]
        return kept

    def _require_unique(self, entity: E) -> None:
        taken = [(names, self._other_with(names, entity)) for names in self._entity.unique]
        found = [(names, id) for names, id in taken if id is not None]
        if found:
            raise Conflict(*found[0][0], kind=self._kind, taken=dict(taken_by(names, id) for names, id in found))

    def _other_with(self, names: Sequence[str], entity: E) -> int | None:
        """The id of another entity with the same values in these fields. One that is deleted does not count, and None
        is equal to nothing."""
        keys = [self._key(entity, name) for name in names]
        if None in keys:
            return None
        shown = (other for other in self._shown() if other.id != entity.id)
        return next((other.id for other in shown if keys == [self._key(other, name) for name in names]), None)


@cache
def taken_by(names: tuple[str, ...], id: int) -> tuple[str, int | None]:
    """The field of a conflict, and the id of the entity that has its value. As in SQL, fields that are unique together
    are not looked up."""
    return names[-1], id if len(names) == 1 else None


@cache
def fields_in(entity: Any) -> Mapping[str, Field]:
    return {each.name: field_of(each.name, each.type, sorts=True) for each in fields(entity)}


def own(value: T) -> T:
    """A copy of an entity with copies of its JSON values. Nothing else in it is mutable."""
    kind: Any = type(value)
    copy = object.__new__(kind)
    for name in names_in(kind):
        part = getattr(value, name)
        object.__setattr__(copy, name, copied(part) if isinstance(part, dict | list) else part)
    return cast("T", copy)


@cache
def names_in(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


def in_order_of(sort: Sort) -> Callable[[tuple[Keys, object]], Any]:
    """A `key` for `sorted`, for pairs of sort keys and an item."""
    return cmp_to_key(lambda one, other: sort.compare(one[0], other[0]))


def reading(
    _: type[N], entity: type[E], related: Relationships = NONE_RELATED
) -> Callable[[MemoryReading], MemoryReadStore[N, E]]:
    """A factory of stores for reading units, for a kind that needs no methods of its own."""
    return lambda unit: MemoryReadStore(entity, unit, related)


def writing(
    _: type[N], entity: type[E], related: Relationships = NONE_RELATED
) -> Callable[[MemoryWriting], MemoryStore[N, E]]:
    """The same for writing units."""
    return lambda unit: MemoryStore(entity, unit, related)
