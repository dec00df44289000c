"""Many rows as one parameter: a JSON array of arrays, which both databases read as a table.

So a statement for 5,000 rows has the same text as a statement for one row. With IN, or with VALUES for each row, it
would be compiled again for each number of rows, and could have at most 32,000 values.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from repositories.engines.functions import spelled, spelling

ROWS: Final = "rows"
"""The name of the parameter."""

NUMBER: Final = "number"


def as_parameter(rows: Iterable[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Encode rows. Values are numbers, strings, None and times, and objects and arrays for JSON columns."""
    return list(rows)


@lru_cache(16)
def plain(value: object) -> str:
    """Encode a time in the form that the columns of both databases can read."""
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is not a JSON value")
    return value.astimezone(UTC).isoformat(timespec="microseconds")


ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain)


def rows_of(*columns: sa.ColumnClause[Any]) -> sa.Select[Any]:
    """The rows of the parameter as a SELECT, in their order. Each value is cast to the type of its column."""
    items = JsonArray(sa.bindparam(ROWS, type_=Rows())).table_valued("value", name="item")
    return sa.select(*values_in(items.c.value, columns))


def numbered_rows_of(*columns: sa.ColumnClause[Any]) -> sa.Select[Any]:
    """The same, with the `number` of each row, from 1. Only for PostgreSQL."""
    array = NumberedJsonArray(sa.bindparam(ROWS, type_=Rows()))
    items = array.table_valued("value", sa.column(NUMBER, sa.BigInteger()), name="item").render_derived()
    return sa.select(items.c[NUMBER], *values_in(items.c.value, columns))


def values_in(row: sa.ColumnElement[Any], columns: Sequence[sa.ColumnClause[Any]]) -> Sequence[sa.Label[Any]]:
    return [Item(row, number, column).label(column.name) for number, column in enumerate(columns)]


class Rows(sa.types.TypeDecorator[Sequence[Sequence[Any]]]):
    """Rows as JSON. A JSON document in a row is sent to PostgreSQL as a text, so that it is stored unchanged."""

    impl = sa.Text
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], str]:
        return with_texts if dialect.name == "postgresql" else ENCODER.encode


DOCUMENTS: Final = frozenset({dict, list, tuple})


def with_texts(rows: Iterable[Sequence[Any]]) -> str:
    write = ENCODER.encode
    return write([[write(value) if type(value) in DOCUMENTS else value for value in row] for row in rows])


@spelled(sqlite="json_each({})", postgresql="jsonb_array_elements(CAST({} AS JSONB))")
class JsonArray(FunctionElement[Any]):
    """The items of a JSON array as a table. JSONB is parsed once. With JSON, an item would be parsed again for each of
    its values."""

    inherit_cache = True


class NumberedJsonArray(FunctionElement[Any]):
    """The same, with the number of each item, from 1. Only for PostgreSQL."""

    inherit_cache = True


compiles(NumberedJsonArray, "postgresql")(spelling("jsonb_array_elements(CAST({} AS JSONB)) WITH ORDINALITY"))


class Item(FunctionElement[Any]):
    """One item of a row, in the type of a column."""

    inherit_cache = False  # the number is not in the cache key, and such statements are constants

    def __init__(self, row: sa.ColumnElement[Any], number: int, column: sa.ColumnClause[Any]) -> None:
        super().__init__(row)
        self.number = number
        self.type = column.type


@compiles(Item, "sqlite")
def item_on_sqlite(element: Item, compiler: SQLCompiler, **_: object) -> str:
    return f"({compiler.process(element.clauses)} ->> {element.number})"


@compiles(Item, "postgresql")
def item_on_postgres(element: Item, compiler: SQLCompiler, **_: object) -> str:
    plain = element.type.impl_instance if isinstance(element.type, sa.types.TypeDecorator) else element.type
    is_text = isinstance(plain, sa.Text)  # a cast must not have the collation
    type_ = "TEXT" if is_text else element.type.compile(compiler.dialect)
    return f"CAST({compiler.process(element.clauses)} ->> {element.number} AS {type_})"
