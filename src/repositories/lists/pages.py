"""Pages of lists in SQL, for any table: with any filter and any sort, from any position.

A statement is composed once for each shape of filter, sort and position. Values are parameters.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from domain.lists.fields import Field
from domain.lists.filters import And, Comparison, Filter, Operator
from domain.lists.pages import Keys, Order, Position, Sort
from repositories.engines.statements import COMPOSED, PAGE, bounded
from repositories.lists.filters import Columns, Condition, Relationships, Shape, condition, parameters_of
from repositories.lists.functions import Chosen, Member

SHAPES: Final = 256
"""How many statements are cached."""

LIMIT: Final = sa.bindparam("limit", type_=sa.BigInteger())
SKIP: Final = sa.bindparam("skip", type_=sa.BigInteger())
REACH: Final = sa.bindparam("reach", type_=sa.BigInteger())
"""How many rows are read, including skipped rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """What is needed to make lists of a table. Its lists have the rows for which `shown` is true.

    `keys` are the columns that filters and sorts compare, by field. If `indexed`, each column that lists can be sorted
    by is the first column of an index of the shown rows. `unique` are the fields, and groups of fields, that are unique
    among shown rows. `related` are the fields of ids. `state` is an additional last column, with the same value in all
    rows.
    """

    columns: Sequence[sa.ColumnElement[Any]]
    keys: Columns
    shown: Condition
    unique: Sequence[Sequence[str]]
    indexed: bool = True
    related: Relationships = field(default_factory=dict)
    state: sa.ColumnElement[Any] | None = None

    def key(self, field: Field) -> sa.ColumnElement[Any]:
        """The column of a field that lists can be sorted by."""
        column = self.keys[field.name]
        if len(field.path) > 1:
            return Chosen(column, *field.path)
        return Member(column, *field.path) if field.path else column


class Query(NamedTuple):
    """A statement with its parameters. If it `scans`, it may read the whole table, even if it returns few rows."""

    statement: sa.Select[Any]
    parameters: Mapping[str, object]
    scans: bool


def page(
    listing: Listing, filter: Filter | None, sort: Sort, after: Position | None, limit: int, *, skip: int = 0
) -> Query:
    """The query for the rows of one page. Raises `Malformed` for a position of another sort."""
    keys = None if after is None else sort.keys_at(after)
    statement = page_statement(listing, shape_of(filter), sort, nulls_in(keys), skips=skip > 0)
    parameters = {**parameters_of(filter), **parameters_at(keys), "limit": limit}
    if skip:
        parameters.update(skip=skip, reach=bounded(skip + limit))
    is_quick = finds_one(filter, listing) or (filter is None and listing.indexed and is_indexed(sort) and not skip)
    return Query(statement, parameters, scans=not is_quick)


def total(listing: Listing, filter: Filter | None, most: int | None = None) -> Query:
    """The query for the number of rows. With `most`, at most that many rows are read."""
    statement = total_statement(listing, shape_of(filter), stops=most is not None)
    parameters = parameters_of(filter) if most is None else {**parameters_of(filter), "limit": bounded(most)}
    return Query(statement, parameters, scans=not finds_one(filter, listing))


def finds_one(filter: Filter | None, listing: Listing) -> bool:
    """Whether the filter finds at most one row, because it compares all fields of a unique index by `eq`."""
    equal = set(fields_equal_in(filter))
    return any(equal.issuperset(names) for names in listing.unique)


def fields_equal_in(filter: Filter | None) -> Iterator[str]:
    """The fields that must be equal to a value for the filter to match."""
    match filter:
        case And(parts=parts):
            for part in parts:
                yield from fields_equal_in(part)
        case Comparison(field=field, operator=Operator.EQ):
            yield field.name


def is_indexed(sort: Sort) -> bool:
    """Whether an index has the rows in this order: by one field, or by one field and the id in the same direction."""
    if any(order.field.path for order in sort.orders):
        return False
    return len(sort.orders) == 1 or (len(sort.orders) == 2 and is_one_way(sort))  # noqa: PLR2004


def is_one_way(sort: Sort) -> bool:
    return len({order.descending for order in sort.orders}) == 1


def shape_of(filter: Filter | None) -> Shape | None:
    return None if filter is None else Shape.of(filter)


Nulls = tuple[bool, ...] | None
"""For each key of a position whether it is null; None if there is no position."""


def nulls_in(keys: Keys | None) -> Nulls:
    return None if keys is None else tuple(key is None for key in keys)


def parameters_at(keys: Keys | None) -> Mapping[str, object]:
    return {f"after_{number}": key for number, key in enumerate(keys or ()) if key is not None}


@lru_cache(maxsize=SHAPES)
def total_statement(listing: Listing, shape: Shape | None, *, stops: bool) -> sa.Select[Any]:
    if stops:
        some: sa.Select[Any] = sa.select(sa.literal_column("1").label("one")).select_from(listing.columns[0].table)
        rows = some.where(*shown(listing, shape)).limit(LIMIT).subquery()
        return composed(sa.select(sa.func.count()).select_from(rows))
    return composed(sa.select(sa.func.count()).where(*shown(listing, shape)))


@lru_cache(maxsize=SHAPES)
def page_statement(listing: Listing, shape: Shape | None, sort: Sort, nulls: Nulls, *, skips: bool) -> sa.Select[Any]:
    keys = [SortKey.of(order, listing, number) for number, order in enumerate(sort.orders)]
    rows = sa.select(*listing.columns).where(*shown(listing, shape))
    if len(keys) > 1 and is_indexed(sort):
        found = in_parts(listing, parts(rows, keys[0], keys[1], nulls), keys[0], skips=skips)
    else:
        following = rows if nulls is None else rows.where(beyond(keys, nulls))
        found = cut(following.order_by(*[key.order_with_nulls for key in keys]), skips=skips)
    return page_of(found if listing.state is None else found.add_columns(listing.state))


def cut(rows: sa.Select[Any], *, skips: bool) -> sa.Select[Any]:
    return rows.limit(LIMIT).offset(SKIP) if skips else rows.limit(LIMIT)


def composed(statement: sa.Select[Any]) -> sa.Select[Any]:
    return statement.execution_options(**{COMPOSED: True})


def page_of(rows: sa.Select[Any]) -> sa.Select[Any]:
    return composed(rows).execution_options(**{PAGE: True})


def shown(listing: Listing, shape: Shape | None) -> Sequence[Condition]:
    if shape is None:
        return [listing.shown]
    return [listing.shown, condition(shape.example, listing.keys, listing.related, listing.shown)]


@dataclass(frozen=True, slots=True)
class SortKey:
    """A column that rows are sorted by, with its value at the end of the previous page."""

    column: sa.ColumnElement[Any]
    after: sa.BindParameter[Any]
    descending: bool
    optional: bool

    @classmethod
    def of(cls, order: Order, listing: Listing, number: int) -> "SortKey":
        column = listing.key(order.field)
        after = sa.bindparam(f"after_{number}", type_=column.type)
        return cls(column, after, order.descending, order.field.optional)

    @property
    def order(self) -> sa.UnaryExpression[Any]:
        return self.column.desc() if self.descending else self.column.asc()

    @property
    def order_with_nulls(self) -> sa.UnaryExpression[Any]:
        """The ORDER BY with nulls as the highest value. This is written only for columns that may have nulls."""
        if not self.optional:
            return self.order
        return self.order.nulls_first() if self.descending else self.order.nulls_last()

    def same(self, null: bool) -> Condition:
        return self.column.is_(None) if null else self.column == self.after

    @property
    def further(self) -> Condition:
        return self.column < self.after if self.descending else self.column > self.after

    def beyond(self, null: bool) -> Condition:
        if null:
            return self.column.is_not(None) if self.descending else sa.false()
        return sa.or_(self.further, self.column.is_(None)) if self.optional and not self.descending else self.further


def beyond(keys: Sequence[SortKey], nulls: tuple[bool, ...]) -> Condition:
    """The rows after the position, in a list whose order no index has."""
    return sa.or_(*[differs_first_at(number, keys, nulls) for number in range(len(keys))])


def differs_first_at(number: int, keys: Sequence[SortKey], nulls: tuple[bool, ...]) -> Condition:
    same = [key.same(null) for key, null in zip(keys[:number], nulls[:number], strict=True)]
    return sa.and_(*same, keys[number].beyond(nulls[number]))


def parts(rows: sa.Select[Any], key: SortKey, id: SortKey, nulls: Nulls) -> Sequence[sa.Select[Any]]:
    """The rows after the position, in a list whose order an index has. Each part is a range of the index.

    With one condition, "after this value, or with this value and a higher id", SQLite would begin at the first row with
    this value. After an import thousands of rows may have the same value. For "after this value, or null" neither
    database would use the index.
    """
    valued = (rows.where(key.column.is_not(None)) if key.optional else rows).order_by(key.order, id.order)
    null = rows.where(key.column.is_(None)).order_by(id.order)
    whole = ([null, valued] if key.descending else [valued, null]) if key.optional else [valued]
    if nulls is None:
        return whole
    behind = whole[1:] if nulls[0] is key.descending else []
    if nulls[0]:
        return [null.where(id.further), *behind]
    return [rows.where(key.same(null=False), id.further).order_by(id.order), valued.where(key.further), *behind]


def in_parts(listing: Listing, parts: Sequence[sa.Select[Any]], key: SortKey, *, skips: bool) -> sa.Select[Any]:
    """A page from these parts, one after the other. No part reads more rows than the page needs."""
    if len(parts) == 1:
        return cut(parts[0], skips=skips)
    reach = REACH if skips else LIMIT
    all = sa.union_all(*[numbered(part, key, number, reach) for number, part in enumerate(parts)]).subquery()
    way = sa.desc if key.descending else sa.asc
    rows = sa.select(*[all.c[column.name] for column in listing.columns])
    return cut(rows.order_by(all.c.part, way(all.c.part_key), way(all.c.id)), skips=skips)


def numbered(part: sa.Select[Any], key: SortKey, number: int, reach: sa.BindParameter[Any]) -> sa.Select[Any]:
    numbered = part.add_columns(sa.literal_column(str(number)).label("part"), key.column.label("part_key"))
    return numbered.limit(reach).subquery().select()
