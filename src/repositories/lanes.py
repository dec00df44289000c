"""The ways by which a store's statements run. A store does not know which one it was given.

A reading unit of work takes a lane of its database, a writing one a transaction. Both compile a statement once and run
it straight on the driver: by way of an AsyncSession, a whole request took twice the CPU, to read as well as to create.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

import sqlalchemy as sa

from domain.errors import Busy
from domain.values import MAX_ID

Parameters = Mapping[str, Any]
Row = Any
"""The values of the columns in their order, to unpack: a tuple, or what a driver has in its place."""
Rows = Sequence[Row]


class Lane(Protocol):
    async def rows(self, statement: sa.Executable, parameters: Parameters = ...) -> Rows:
        """All rows that the statement returns. A driver's error arrives as the refusal that it is."""
        ...


class Transaction(Lane, Protocol):
    """A lane in one transaction, which begins with its first statement."""

    async def rows(self, statement: sa.Executable, parameters: Parameters = ..., *, last: bool = False) -> Rows:
        """As of any lane. With the `last` statement it commits, which may save a trip."""
        ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None:
        """Undo what was not committed; nothing, if there is nothing."""
        ...


def bounded(number: int) -> int:
    """The number, or the nearest from 0 to the largest id: a driver fails on one of more than 64 bits."""
    return max(0, min(number, MAX_ID))


MAX_SNAPSHOTS: Final = 4
"""How many long reads go on at a time in one process: each holds a connection for as long as its client reads."""


class Snapshots:
    """Places for long reads."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MAX_SNAPSHOTS)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        if self._places.locked():
            raise Busy("Too many streams are under way. Try again shortly.")
        async with self._places:
            yield


Processor = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as its driver takes it, and how to turn parameters and rows over."""

    sql: str
    defaults: Mapping[str, Any]
    order: Sequence[tuple[str, Processor | None]]
    readers: Sequence[tuple[int, Processor]]

    def arguments(self, parameters: Parameters | None) -> list[Any]:
        values = {**self.defaults, **parameters} if parameters else self.defaults
        return [bind(values[name]) if bind else values[name] for name, bind in self.order]

    def read(self, rows: Rows) -> Rows:
        """The rows as their columns' types have them. Column by column: a page has a hundred rows and four types."""
        if not rows or not self.readers:
            return rows
        columns = list(zip(*rows, strict=True))
        for index, reader in self.readers:
            columns[index] = tuple([None if value is None else reader(value) for value in columns[index]])
        return list(zip(*columns, strict=True))


COMPOSED: Final = "composed"
"""The execution option of a statement that was put together as a client asked, one of very many."""


def prepare(statement: sa.Executable, dialect: sa.Dialect, parameters: Parameters | None) -> Prepared:
    """Compile a statement once. Takes those without IN lists, whose text depends on their parameters.

    Composed statements are kept apart: whoever sends many filters displaces no statement of another call.
    """
    if isinstance(statement, sa.Select):
        if statement.get_execution_options().get(COMPOSED):
            return compiled_composed(statement, dialect)
        return compiled_written(statement, dialect)
    return compiled_written(statement, dialect, tuple(parameters or ()))


def compiled(statement: Any, dialect: sa.Dialect, columns: Sequence[str] | None = None) -> Prepared:
    """`columns` are those that an INSERT or UPDATE sets, besides what it sets by itself."""
    result = statement.compile(dialect=dialect, column_keys=columns)
    binders = {
        name: parameter.type.dialect_impl(dialect).bind_processor(dialect) for name, parameter in result.binds.items()
    }
    readers = [
        (index, reader)
        for index, column in enumerate(getattr(statement, "exported_columns", ()))  # a text has none
        if (reader := column.type.dialect_impl(dialect).result_processor(dialect, None))
    ]
    return Prepared(
        sql=result.string,
        defaults=result.params,
        order=[(name, binders[name]) for name in result.positiontup or ()],
        readers=readers,
    )


compiled_written: Final = lru_cache(maxsize=512)(compiled)
compiled_composed: Final = lru_cache(maxsize=512)(compiled)
