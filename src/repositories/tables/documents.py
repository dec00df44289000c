"""Entities as JSON that the database writes: pages of lists, and the values in changes.

So Python decodes no value, creates no objects, and encodes nothing. Attributes are passed on as they are stored.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.sql.functions import FunctionElement

from domain.lists.pages import BY_ID, DEFAULT_LIMIT, JsonPage, Sort
from domain.lists.projections import Projection, defaults_of
from domain.stores import Hidden
from repositories.changes import LAST_CHANGE
from repositories.engines.functions import spelled
from repositories.engines.statements import MANY, Rows
from repositories.lists.pages import LIMIT, SHAPES, Listing, composed
from repositories.tables.table import EntityTable

PROJECTIONS: Final = 64
"""The most projections and sorts for which statements are cached."""


@lru_cache(PROJECTIONS)
def listing_of(table: EntityTable[Any, Any], projection: Projection[Any], sort: Sort, hidden: Hidden) -> Listing:
    """A listing whose rows are the JSON of an entity, its id, and its keys in the sort."""
    listing = table.listings[hidden]
    keys = [listing.key(order.field).label(f"key_{number}") for number, order in enumerate(sort.orders)]
    return replace(listing, columns=[line_of(table, projection), table.table.c.id, *keys], state=None)


def by_id(table: EntityTable[Any, Any], projection: Projection[Any], limit: int) -> sa.Select[Any]:
    """The statement of the most frequent list: the entities that are not hidden, sorted by id."""
    return by_id_of(table, projection, has_default_limit=limit == DEFAULT_LIMIT + 1)


@lru_cache(PROJECTIONS)
def by_id_of(table: EntityTable[Any, Any], projection: Projection[Any], *, has_default_limit: bool) -> sa.Select[Any]:
    """The default limit is a part of the statement. PostgreSQL expects a tenth of the table from a limit that is a
    parameter, so in a large table it would plan the statement again each time, which takes 0.2 ms."""
    limit: sa.ColumnElement[int] = sa.literal_column(str(DEFAULT_LIMIT + 1)) if has_default_limit else LIMIT
    listing = listing_of(table, projection, BY_ID, Hidden.NO)
    rows = sa.select(*listing.columns).where(*table.behind)
    return gathered(rows.order_by(table.table.c.id).limit(limit))


@lru_cache(SHAPES)
def gathered(page: sa.Select[Any]) -> sa.Select[Any]:
    """A statement that returns a page as one row: the number of the last change, the items as lines, and for each key
    of the sort a JSON array with those of all items. The lines are null if the page is empty.

    Both databases read a sorted subquery in its order.
    """
    line, _, *keys = page.subquery("page").c
    together = [Together(as_json(key)).label(key.name) for key in keys]
    return composed(sa.select(LAST_CHANGE, Lines(line).label("lines"), *together)).execution_options(**{MANY: True})


def read(rows: Rows, limit: int) -> JsonPage:
    """The page of a row of `gathered`, which has one item more than the page if more items follow."""
    ((seq, text, *keys),) = rows
    items = [] if text is None else text.split("\n")
    end = tuple(json.loads(key)[limit - 1] for key in keys) if 0 < limit < len(items) else None
    return JsonPage(items[:limit], end, seq)


def line_of(table: EntityTable[Any, Any], projection: Projection[Any]) -> sa.Label[str]:
    defaults = defaults_of(cast("Any", projection.entity))
    omitted = {
        name: defaults.get(name)
        for name in (projection.names if projection.sparse else ())
        if name in defaults or is_nullable(table.column(name))
    }
    return text_of(table, projection.names, omitted).label("line")


def text_of(table: EntityTable[Any, Any], names: Sequence[str], omitted: Mapping[str, Any]) -> sa.ColumnElement[str]:
    """A JSON object of some fields, as text. A field is left out if it has its value in `omitted`.

    It is put together as a text, because a function that leaves out members which are null would leave out those of the
    values too. Each member begins with a comma. The first comma is cut off, if possible from the pattern, which costs
    nothing for each row.
    """
    parts = [part_of(table, name, omitted) for name in names]
    pattern, values = "".join(pattern for pattern, _ in parts), [value for _, value in parts]
    if names[0] not in omitted:
        return Format(literal("{" + pattern[1:] + "}"), *values)
    return literal("{").concat(sa.func.substr(Format(literal(pattern), *values), 2)).concat(literal("}"))


def part_of(table: EntityTable[Any, Any], name: str, omitted: Mapping[str, Any]) -> tuple[str, sa.ColumnElement[Any]]:
    """A member as a part of the pattern, and the value for it. The value of a member that may be left out is the whole
    member."""
    column = table.column(name)
    if name not in omitted:
        text = json_of(column)
        return f',"{name}":%s', or_null(text) if is_nullable(column) else text
    member = literal(f',"{name}":').concat(json_of(column))
    return "%s", sa.case((has(column, omitted[name]), literal("")), else_=member)


def or_null(text: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    return sa.func.coalesce(sa.cast(text, sa.Text), literal("null"))


def is_nullable(column: sa.ColumnElement[Any]) -> bool:
    return isinstance(column, sa.Column) and bool(column.nullable)


def has(column: sa.ColumnElement[Any], value: Any) -> sa.ColumnElement[bool]:
    if value is None:
        return column.is_(None)
    if isinstance(column.type, sa.JSON):
        return sa.cast(column, sa.Text) == literal(json.dumps(value))
    return column == (sa.literal_column(str(value)) if isinstance(value, int) else literal(str(value)))


def json_of(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """The JSON of a value, as text. It is null if the value is."""
    is_json = isinstance(column.type, (sa.JSON, sa.Integer))
    text = column if is_json else JsonTextOf(as_json(column))
    return sa.type_coerce(text, sa.Text)


def as_json(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    if isinstance(column.type, sa.DateTime):
        return JsonTime(column)
    return JsonText(column) if isinstance(column.type, sa.JSON) else column


def literal(text: str) -> sa.ColumnElement[str]:
    """A text from the code as a literal of SQL, so that the statement needs no parameter for it."""
    return sa.literal_column("'" + text.replace("'", "''") + "'", sa.Text)


@spelled(sqlite="json_object({})", postgresql="json_build_object({})")
class JsonObjectOf(FunctionElement[Any]):
    """A JSON object of alternating names and values."""

    type = sa.JSON()
    inherit_cache = True


@spelled(sqlite="json_array({})", postgresql="json_build_array({})")
class JsonArrayOf(FunctionElement[Any]):
    """A JSON array of values, some of which may be JSON arrays."""

    type = sa.JSON()
    inherit_cache = True


@spelled(
    sqlite="replace(replace({}, '+00:00', 'Z'), '.000000Z', 'Z')",
    postgresql="""replace(to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z')""",
)
class JsonTime(FunctionElement[Any]):
    """A time in the form of the record of changes: RFC 3339, without the fraction if it is zero."""

    inherit_cache = True


@spelled(sqlite="json({})", postgresql="{}")
class JsonText(FunctionElement[Any]):
    """A column that holds JSON, as JSON and not as a string."""

    inherit_cache = True


@spelled(sqlite="json_quote({})", postgresql="CAST(to_json({}) AS TEXT)")
class JsonTextOf(FunctionElement[Any]):
    """A value, as the text of its JSON."""

    inherit_cache = True


@spelled(sqlite="({})", postgresql="CAST({} AS JSON)")
class JsonOfText(FunctionElement[Any]):
    """JSON from its text."""

    type = sa.JSON()
    inherit_cache = True


@spelled(sqlite="printf({})", postgresql="format({})")
class Format(FunctionElement[str]):
    """A pattern in which each `%s` stands for the text of the next value, or for nothing if that is null."""

    type = sa.Text()
    inherit_cache = True


@spelled(sqlite="group_concat({}, char(10))", postgresql="string_agg({}, chr(10))")
class Lines(FunctionElement[str]):
    """The texts of a column as lines, without a line break at the end."""

    type = sa.Text()
    inherit_cache = True


@spelled(sqlite="json_group_array({})", postgresql="CAST(json_agg({}) AS TEXT)")
class Together(FunctionElement[str]):
    """The values of a column as a JSON array."""

    type = sa.Text()
    inherit_cache = True
