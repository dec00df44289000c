"""Core statements, compiled once and run straight on a driver: half the CPU of an AsyncSession.

This is not all of SQLAlchemy. What would need more than compiled text and type processors is refused at its first use
(`Unsupported`): it would otherwise write NULL or fail in odd ways. A unit of work has an AsyncSession for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from domain.values import MAX_ID
from repositories.engines.schema import Iso, read_json

Parameters = Mapping[str, Any]
Row = Any
"""The values of the columns in their order, to unpack: a tuple, or the driver's own kind of row."""
Rows = Sequence[Row]
Processor = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What a driver gives for a statement of its own form. The description is that of PEP 249, None without rows."""

    rows: Rows
    description: Sequence[tuple[Any, ...]] | None
    rowcount: int
    lastrowid: int | None = None


class Unsupported(TypeError):
    """A statement that an executor cannot run. The message says which part of it, and what to use instead."""


def bounded(number: int) -> int:
    """The number, or the nearest one from 0 to the largest id: a driver fails on a number of more than 64 bits."""
    return max(0, min(number, MAX_ID))


LARGE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Prepared:
    """The text of a statement for a driver, the order and binders of its parameters, and the readers of its columns."""

    sql: str
    defaults: Mapping[str, Any]
    order: Sequence[tuple[str, Processor | None]]
    readers: Sequence[tuple[int, Processor]]
    documents: Sequence[int]
    """Which columns have JSON."""

    def arguments(self, parameters: Parameters | None) -> list[Any]:
        values = {**self.defaults, **parameters} if parameters else self.defaults
        return [bind(values[name]) if bind else values[name] for name, bind in self.order]

    def read(self, rows: Rows) -> Rows:
        """The rows with Python values. It goes column by column: a page has a hundred rows and four types."""
        if not rows or not self.readers:
            return rows
        columns = list(zip(*rows, strict=True))
        for index, reader in self.readers:
            if columns[index].count(None) < len(rows):
                columns[index] = tuple([None if value is None else reader(value) for value in columns[index]])
        return list(zip(*columns, strict=True))

    def is_large(self, rows: Rows) -> bool:
        """Whether the rows have so much JSON that it takes a millisecond or more to read."""
        return any(sum(map(len, filter(None, map(itemgetter(each), rows)))) > LARGE for each in self.documents)


COMPOSED: Final = "composed"
"""The execution option of a statement that was composed for a client's filter or sort: one of very many."""


def prepare(statement: sa.Executable, dialect: sa.Dialect, parameters: Parameters | None) -> Prepared:
    """Compile a statement, once. Raises `Unsupported`.

    Composed statements have a cache of their own, so that a client with many filters displaces no other statement.
    """
    if isinstance(statement, sa.Select):
        if statement.get_execution_options().get(COMPOSED):
            return compiled_composed(statement, dialect)
        return compiled_written(statement, dialect)
    return compiled_written(statement, dialect, tuple(parameters or ()))


def compiled(statement: Any, dialect: sa.Dialect, columns: Sequence[str] | None = None) -> Prepared:
    """`columns` are those that an INSERT or UPDATE sets by parameters."""
    result = statement.compile(dialect=dialect, column_keys=columns)
    require_plain(result)
    for name, parameter in result.binds.items():
        require_known_type(parameter.type, dialect, f"The parameter {name}")
    returned = list(getattr(statement, "exported_columns", ()))  # a text has none
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
    )


def reader_of(type: Any, dialect: sa.Dialect) -> Processor | None:
    """What makes a Python value of a driver's, which is not null.

    JSON and times are read at once. The types' own processors look for null too, and are one to three more calls for
    each value: over a page of a hundred users, a twentieth of the request's CPU.
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
    """The statement is its text: nothing is computed or expanded at each execution. Raises `Unsupported`."""
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
"""The types that both drivers take and give alike, through the types' own processors."""


def require_known_type(type: Any, dialect: sa.Dialect, where: str) -> None:
    """Raises `Unsupported`. A type may have a variant for one dialect."""
    for each in (type, type.dialect_impl(dialect)):
        if not is_known(each):
            raise Unsupported(
                f"{where} is of the type {each.__class__.__name__}, which the drivers do not take and give alike. "
                "Use a type of `repositories.engines.schema`, or the unit's session."
            )


def is_known(type: Any) -> bool:
    plain = type.impl_instance if isinstance(type, sa.types.TypeDecorator) else type
    return (
        isinstance(plain, KNOWN_TYPES) and not isinstance(plain, JSONB | sa.Enum) and not isinstance(type, sa.Interval)
    )
