"""Many rows as one parameter: a JSON array of arrays, which both databases read as a table.

So a statement for 5,000 rows has the same text as a statement for one row. With IN, or with VALUES for each row, it
would be compiled again for each number of rows, and could have at most 32,000 values.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from repositories.engines.functions import spelled

ROWS: Final = "rows"
"""The name of the parameter."""


def as_parameter(rows: Iterable[Sequence[Any]]) -> str:
    """Encode rows. Values are numbers, strings, None and times, and any JSON for JSON columns."""
    return ENCODER.encode(list(rows))


@lru_cache(16)
def plain(value: object) -> str:
    """Encode a time in the form that the columns of both databases can read."""
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is not a JSON value")
    return value.astimezone(UTC).isoformat(timespec="microseconds")


ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain)


def rows_of(*columns: sa.Column[Any]) -> sa.Select[Any]:
    """The rows of the parameter as a SELECT, in their order. Each value is cast to the type of its column."""
    items = JsonArray(sa.bindparam(ROWS, type_=sa.Text())).table_valued("value", name="item")
    values = [Item(items.c.value, number, column) for number, column in enumerate(columns)]
    return sa.select(*[value.label(column.name) for value, column in zip(values, columns, strict=True)])


@spelled(sqlite="json_each({})", postgresql="json_array_elements(CAST({} AS JSON))")
class JsonArray(FunctionElement[Any]):
    """The items of a JSON array as a table."""

    inherit_cache = True


class Item(FunctionElement[Any]):
    """One item of a row, in the type of a column."""

    inherit_cache = False  # the number is not in the cache key, and such statements are constants

    def __init__(self, row: sa.ColumnElement[Any], number: int, column: sa.Column[Any]) -> None:
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
