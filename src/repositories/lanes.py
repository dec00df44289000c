"""The ways by which a store's statements run. A store does not know which one it was given.

A writing unit of work takes `SessionLane`: one AsyncSession in one transaction. A reading one takes the lane of its
database, which runs the compiled statement straight on the driver: at half the CPU of an AsyncSession.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Busy, Refusal
from domain.values import MAX_ID

Parameters = Mapping[str, Any]
Row = Any
"""The values of the columns in their order, to unpack: a tuple, or what a driver has in its place."""
Rows = Sequence[Row]
Refuse = Callable[[Exception], Refusal | None]
"""Says which refusal a driver's error is, or None if it is a defect."""


class Lane(Protocol):
    async def rows(self, statement: sa.Executable, parameters: Parameters = ...) -> Rows:
        """All rows that the statement returns. A driver's error arrives as the refusal that it is."""
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


class SessionLane:
    def __init__(self, session: AsyncSession, refuse: Refuse) -> None:
        self._session = session
        self._refuse = refuse

    async def rows(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        try:
            result = await self._session.execute(statement, parameters)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise (self._refuse(error) or error) from error
        return result.all() if result.returns_rows else ()  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as its driver takes it, and how to turn parameters and rows over."""

    sql: str
    defaults: Mapping[str, Any]
    order: Sequence[str]
    binders: Mapping[str, Callable[[Any], Any]]
    readers: Sequence[tuple[int, Callable[[Any], Any]]]

    def arguments(self, parameters: Parameters | None) -> list[Any]:
        values = {**self.defaults, **parameters} if parameters else self.defaults
        return [self.binders[name](values[name]) if name in self.binders else values[name] for name in self.order]

    def read(self, rows: Rows) -> Rows:
        return [self._read(row) for row in rows] if self.readers else rows

    def _read(self, row: Row) -> Row:
        values = list(row)
        for index, reader in self.readers:
            values[index] = reader(values[index])
        return values


COMPOSED: Final = "composed"
"""The execution option of a statement that was put together as a client asked, one of very many."""


def prepare(statement: sa.Executable, dialect: sa.Dialect) -> Prepared:
    """Compile a statement once. Takes those without IN lists, whose text depends on their parameters.

    Composed statements are kept apart: whoever sends many filters displaces no statement of another call.
    """
    if statement.get_execution_options().get(COMPOSED):
        return compiled_composed(statement, dialect)
    return compiled_written(statement, dialect)


def compiled(statement: sa.Executable, dialect: sa.Dialect) -> Prepared:
    assert isinstance(statement, sa.Select)  # noqa: S101  # a reading lane is given nothing else
    result = statement.compile(dialect=dialect)
    binders = {
        name: bind
        for name, parameter in result.binds.items()
        if (bind := parameter.type.dialect_impl(dialect).bind_processor(dialect))
    }
    readers = [
        (index, reader)
        for index, column in enumerate(statement.selected_columns)
        if (reader := column.type.dialect_impl(dialect).result_processor(dialect, None))
    ]
    return Prepared(
        sql=result.string,
        defaults=result.params,
        order=result.positiontup or (),
        binders=binders,
        readers=readers,
    )


compiled_written: Final = lru_cache(maxsize=512)(compiled)
compiled_composed: Final = lru_cache(maxsize=512)(compiled)
