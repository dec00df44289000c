"""What all SQL stores of entities share, for reading: get, find, list.

Its counterpart in memory is `repositories.memory.table`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

from domain.entities import Entity
from domain.errors import Gone, NotFound
from domain.lists.filters import Filter
from domain.lists.pages import BY_ID, JsonPage, Page, Position, Sort
from domain.lists.projections import Projection
from domain.stores import Hidden
from domain.values import flaw_in, is_id
from repositories.changes import SqlReadChanges
from repositories.engines.statements import Parameters, Rows, bounded
from repositories.lists.pages import Query, page, total
from repositories.tables import documents, many
from repositories.tables.table import EntityTable
from repositories.units import Reading, Writing

N = TypeVar("N")
E = TypeVar("E", bound=Entity)


class SqlReadStore(Generic[N, E]):
    """The store of a reading unit of work. Reads that may scan the whole table run on the executor for scans."""

    def __init__(self, table: EntityTable[N, E], unit: Reading | Writing) -> None:
        self._table = table
        self._kind = table.entity.kind
        self._executor = unit.executor
        self._scans = unit.scans
        self._unit = unit

    async def get(self, id: int, *, hidden: bool = False) -> E:
        rows = await self._executor.fetch(self._table.get, {"id": id}) if is_id(id) else ()
        return self._shown(self._one(rows, "id"), hidden)

    async def find(self, field: str, value: str) -> E:
        key = self._table.key_of(field, value)
        rows = () if flaw_in(key) else await self._executor.fetch(self._table.find[field], {"key": key})
        return self._one(rows, field)

    async def find_hidden(self, field: str, value: str) -> E:
        key = self._table.key_of(field, value)
        rows = () if flaw_in(key) else await self._executor.fetch(self._table.find_hidden[field], {"key": key})
        return self._one(rows, field)

    async def get_many(self, ids: Collection[int]) -> Sequence[E]:
        return await many.get_many(self._executor, self._table, ids)

    async def find_many(self, field: str, values: Collection[str]) -> Mapping[str, E]:
        keys = many.keys_as_rows(self._table, field, values)
        rows = await self._executor.fetch(many.finding(self._table, field).reads, keys)
        return many.by_value(self._table, field, values, [self._table.make(*row) for row in rows])

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
        rows = await self._listed(filter=filter, sort=sort, hidden=hidden, after=after, skip=skip, limit=limit)
        return [self._table.make(*row) for row in rows]

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
        asked: Any = {"filter": filter, "sort": sort, "hidden": hidden, "after": after, "skip": skip}
        rows = await self._listed(**asked, limit=limit + 1)
        if rows:
            return Page.of([self._table.make(*row) for row in rows], limit, rows[0][-1])
        # before the list, so that the list shows all changes up to this one
        seq = await SqlReadChanges(self._unit).last()
        rows = await self._listed(**asked, limit=limit + 1)
        return Page.of([self._table.make(*row) for row in rows], limit, seq)

    async def _listed(
        self,
        *,
        filter: Filter | None,
        sort: Sort,
        hidden: Hidden,
        after: Position | None,
        skip: int,
        limit: int,
    ) -> Rows:
        """The rows of a list. Each ends with the number of the last change, read by the same statement, so that it fits
        the rows."""
        if filter is None and sort == BY_ID and hidden is Hidden.NO and skip <= 0:
            return await self._executor.fetch(self._table.by_id, first_after(after, bounded(limit)))
        listing = self._table.listings[hidden]
        return await self._ask(page(listing, filter, sort, after, bounded(limit), skip=bounded(skip)))

    async def page_as_json(
        self,
        projection: Projection[Any],
        *,
        filter: Filter | None = None,
        sort: Sort = BY_ID,
        hidden: Hidden = Hidden.NO,
        after: Position | None = None,
        limit: int,
    ) -> JsonPage:
        limit = bounded(limit)
        if filter is None and sort == BY_ID and hidden is Hidden.NO:
            statement = documents.by_id(self._table, projection, limit + 1)
            rows = await self._executor.fetch(statement, first_after(after, limit + 1))
        else:
            listing = documents.listing_of(self._table, projection, sort, hidden)
            query = page(listing, filter, sort, after, limit + 1)
            gathered = documents.gathered(query.statement)
            rows = await self._ask(Query(gathered, query.parameters, scans=query.scans))
        return documents.read(rows, limit)

    async def count(self, filter: Filter | None = None, *, hidden: Hidden = Hidden.NO, most: int | None = None) -> int:
        rows = await self._ask(total(self._table.listings[hidden], filter, most))
        return int(rows[0][0])

    async def _ask(self, query: Query) -> Rows:
        executor = self._scans if query.scans else self._executor
        return await executor.fetch(query.statement, query.parameters)

    def _one(self, rows: Rows, field: str) -> E:
        if not rows:
            raise NotFound(f"There is no {self._kind} with this {field}.")
        return self._table.make(*rows[0])

    def _shown(self, entity: E, hidden: bool) -> E:
        if not hidden and entity.is_hidden:
            raise Gone(f"This {self._kind} is {str(entity.hidden_since).removesuffix('_at')}.")
        return entity


def first_after(after: Position | None, limit: int) -> Parameters:
    """The parameters of a page of the list by id."""
    (last,) = (0,) if after is None else BY_ID.keys_at(after)
    return {"after": last, "limit": limit}
