"""Core statements, compiled once and run directly on a driver. This takes half of the CPU of an AsyncSession.

Only a part of SQLAlchemy works this way. A statement that needs more than its compiled text and type processors is
refused at its first use (`Unsupported`). It would otherwise write NULL or fail with a misleading error. Use the
AsyncSession of the unit of work for such statements.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from domain.values import MAX_ID
from repositories.engines.json_rows import ROWS
from repositories.engines.schema import Iso, read_json

Parameters = Mapping[str, Any]
Row = Any
"""The values of the columns in order, which can be unpacked: a tuple, or the driver's own type of row."""
Rows = Sequence[Row]
Processor = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a statement that a session has compiled. `description` is that of PEP 249, and None if there are no
    rows."""

    rows: Rows
    description: Sequence[tuple[Any, ...]] | None
    rowcount: int
    lastrowid: int | None = None


class Unsupported(TypeError):
    """An executor cannot run this statement. The message says which part of it, and what to use instead."""


def bounded(number: int) -> int:
    """The number, limited to the range from 0 to the largest id, because drivers fail with more than 64 bits."""
    return max(0, min(number, MAX_ID))


LARGE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Prepared:
    """A compiled statement: its text, the order and processors of its parameters, and the processors of its columns."""

    sql: str
    defaults: Mapping[str, Any]
    order: Sequence[tuple[str, Processor | None]]
    readers: Sequence[tuple[int, Processor]]
    documents: Sequence[int]
    """The columns that contain JSON."""

    reads_many: bool
    """Whether the statement may read several rows: it has a limit or rows as a parameter, or the option `MANY`."""

    is_gathered: bool
    """Whether the statement returns all rows as one text (see `gathered`)."""

    def arguments(self, parameters: Parameters | None) -> list[Any]:
        values = {**self.defaults, **parameters} if parameters else self.defaults
        return [bind(values[name]) if bind else values[name] for name, bind in self.order]

    def read(self, rows: Rows) -> Rows:
        """Convert the values of rows to Python values, column by column, which is faster than row by row."""
        if self.is_gathered:
            return self._read_gathered(rows[0][0])
        if not rows or not self.readers:
            return rows
        columns = list(zip(*rows, strict=True))
        for index, reader in self.readers:
            if columns[index].count(None) < len(rows):
                columns[index] = tuple([None if value is None else reader(value) for value in columns[index]])
        return list(zip(*columns, strict=True))

    def _read_gathered(self, text: str) -> Rows:
        rows: list[list[Any]] = json.loads(text)
        for index, reader in self.readers:
            if index not in self.documents:
                for row in rows:
                    if row[index] is not None:
                        row[index] = reader(row[index])
        return rows

    def is_large(self, rows: Rows) -> bool:
        """Whether the rows have so much JSON that decoding it takes a millisecond or more."""
        if self.is_gathered:
            return len(rows[0][0]) > LARGE
        return any(sum(map(len, filter(None, map(itemgetter(each), rows)))) > LARGE for each in self.documents)


LIMIT: Final = "limit"
OF_MANY: Final = {LIMIT, ROWS}
"""The parameters of statements that may read many rows."""

MANY: Final = "many"
"""The execution option of statements that read many rows although no parameter shows it."""

COMPOSED: Final = "composed"
"""The execution option of statements that are composed for a client's filter or sort. There are very many of these."""

PAGE: Final = "page"
"""The execution option of statements that return the rows of a page, which SQLite returns as one text (`gathered`)."""


def prepare(statement: sa.Executable, dialect: sa.Dialect, parameters: Parameters | None) -> Prepared:
    """Compile a statement once. Raises `Unsupported`.

    Composed statements have a separate cache, so that many different filters cannot push other statements out of it.
    """
    if isinstance(statement, sa.Select):
        if statement.get_execution_options().get(COMPOSED):
            return compiled_composed(statement, dialect)
        return compiled_written(statement, dialect)
    return compiled_written(statement, dialect, tuple(parameters or ()))


def compiled(statement: Any, dialect: sa.Dialect, columns: Sequence[str] | None = None) -> Prepared:
    """`columns` are the columns that an INSERT or UPDATE sets by parameters."""
    result = statement.compile(dialect=dialect, column_keys=columns)
    if is_gathered := dialect.name == "sqlite" and can_be_gathered(statement):
        result = gathered(statement).compile(dialect=dialect)
    require_plain(result)
    for name, parameter in result.binds.items():
        require_known_type(parameter.type, dialect, f"The parameter {name}")
    returned = list(getattr(statement, "exported_columns", ()))  # a textual statement has none
    for column in returned:
        require_known_type(column.type, dialect, f"The column {getattr(column, 'key', None) or column}")
    binders = {
        name: parameter.type.dialect_impl(dialect).bind_processor(dialect) for name, parameter in result.binds.items()
    }
    readers = [(index, reader) for index, column in enumerate(returned) if (reader := reader_of(column.type, dialect))]
    return Prepared(
        sql=result.string,
        defaults=result.params,
        order=[(name, binders[name]) for name in result.positiontup or ()],
        readers=readers,
        documents=[index for index, reader in readers if reader is read_json],
        reads_many=MANY in statement.get_execution_options() or not OF_MANY.isdisjoint(result.binds),
        is_gathered=is_gathered,
    )


def can_be_gathered(statement: Any) -> bool:
    """Whether the statement is a page of a list whose values all have a form in JSON."""
    return PAGE in statement.get_execution_options() and not any(
        isinstance(each.type, sa.LargeBinary) for each in statement.exported_columns
    )


def gathered(page: "sa.Select[Any]") -> "sa.Select[Any]":
    """A statement that returns the rows of another one as a single text: a JSON array of arrays.

    The driver locks and unlocks the interpreter (GIL) for each row, and creates an object for each value. For a page of
    a hundred users that takes longer than SQLite's JSON and Python's decoder together.
    """
    rows = page.cte("page")
    values = [sa.func.json(each) if isinstance(each.type, sa.JSON) else each for each in rows.c]
    return sa.select(sa.func.json_group_array(sa.func.json_array(*values)))


def reader_of(type: Any, dialect: sa.Dialect) -> Processor | None:
    """The function that converts a value of the driver, which is not null, to a Python value.

    JSON and times are converted directly. The processors of SQLAlchemy's types also check for null, and need one to
    three more calls for each value. For a page of a hundred users that is 5 % of the CPU of the request.
    """
    own = type.dialect_impl(dialect)
    if isinstance(own, sa.JSON):
        return read_json
    if isinstance(own, Iso):
        return datetime.fromisoformat
    processor: Processor | None = own.result_processor(dialect, None)
    return processor


compiled_written: Final = lru_cache(maxsize=512)(compiled)
compiled_composed: Final = lru_cache(maxsize=512)(compiled)

USE_THE_SESSION: Final = "Set it by a parameter, or use the unit's session."


def require_plain(result: Any) -> None:
    """Raises `Unsupported` if anything of the statement is computed or expanded at each execution."""
    if prefetched := [*result.insert_prefetch, *result.update_prefetch]:
        names = ", ".join(str(column) for column in prefetched)
        raise Unsupported(f"{names}: an executor does not run Python-side `default` or `onupdate`. {USE_THE_SESSION}")
    if expanded := [*result.post_compile_params, *result.literal_execute_params]:
        names = ", ".join(sorted(result.bind_names[parameter] for parameter in expanded))
        raise Unsupported(
            f"{names}: an executor does not expand parameters, as IN needs it. "
            "Pass a JSON array to a subquery, or use the unit's session."
        )


KNOWN_TYPES: Final = (
    sa.String,
    sa.Integer,
    sa.Boolean,
    sa.DateTime,
    sa.JSON,
    sa.LargeBinary,
    sa.types.UserDefinedType,
    sa.types.NullType,
)
"""The types that work the same with both drivers, through the processors of the types."""


def require_known_type(type: Any, dialect: sa.Dialect, where: str) -> None:
    """Raises `Unsupported` for a type that is not known to work. A type may have a variant for one dialect."""
    for each in (type, type.dialect_impl(dialect)):
        if not is_known(each):
            raise Unsupported(
                f"{where} is of the type {each.__class__.__name__}, which does not work the same with both drivers. "
                "Use a type of `repositories.engines.schema`, or the unit's session."
            )


def is_known(type: Any) -> bool:
    plain = type.impl_instance if isinstance(type, sa.types.TypeDecorator) else type
    return (
        isinstance(plain, KNOWN_TYPES) and not isinstance(plain, JSONB | sa.Enum) and not isinstance(type, sa.Interval)
    )
