"""A PostgreSQL database as the source or the target of a copy."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from domain.errors import NotReady
from repositories.engines.postgres.errors import DRIVER_ERRORS, first_line
from repositories.engines.postgres.executors import DIALECT
from repositories.engines.postgres.servers import SESSION, Server
from repositories.engines.schema import metadata
from repositories.engines.upkeep.copies import BATCH, COUNTERS, STOP_SOURCE, STOP_TARGET, Rows, plain, reading

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

Converters = Sequence[tuple[int, Callable[[Any], Any]]]
T = TypeVar("T")

COPYING: Final = {
    **SESSION,
    "application_name": "roster copy",
    "idle_in_transaction_session_timeout": "0",
    "synchronous_commit": "off",
}
UNLIMITED: Final = "SET statement_timeout = 0"
CLOSE_S: Final = 5

BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
NO_COPY: Final = "SELECT pg_try_advisory_lock(hashtextextended('copy', 0))"
NO_SERVER: Final = (
    "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'roster'"
)
LOOKS: Final = 20
AGAIN_S: Final = 0.1
"""The wait before sessions are counted again, in seconds, because an ended session is visible for a moment."""


class PostgresState:
    def __init__(self, name: str, connection: "Connection") -> None:
        self._name = name
        self._connection = connection

    async def batches(self, table: sa.Table) -> AsyncGenerator[Rows]:
        with naming_the_database(self._name):
            cursor = await self._connection.cursor(text_of(reading(table)))
            while rows := await cursor.fetch(BATCH):
                yield converted(rows, converters(table, DIALECT, SQLITE))

    async def fetch(self, statement: sa.Executable) -> Rows:
        with naming_the_database(self._name):
            return list(map(tuple, await self._connection.fetch(text_of(statement))))

    async def counters(self) -> Mapping[str, int]:
        with naming_the_database(self._name):
            return dict(map(tuple, await self._connection.fetch(COUNTERS["postgresql"])))


class Run(Protocol):
    def __call__(self, work: Callable[[sa.Connection], T]) -> Awaitable[T]: ...


class PostgresTarget:
    """A PostgreSQL target. After `run` commits, that and all earlier writes are on the disk."""

    def __init__(self, name: str, server: Server, connection: "Connection", run: Run) -> None:
        self._name = name
        self._server = server
        self._connection = connection
        self._run = run

    @asynccontextmanager
    async def state(self) -> AsyncIterator[PostgresState]:
        async with connected(self._server, self._name) as connection:
            with naming_the_database(self._name):
                await connection.execute(BEGIN)
            yield PostgresState(self._name, connection)

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        return await self._run(work)

    async def write(self, table: sa.Table, rows: Rows) -> None:
        records = converted(rows, converters(table, SQLITE, DIALECT))
        with naming_the_database(self._name):
            await self._connection.copy_records_to_table(
                table.name, records=records, columns=[each.name for each in table.columns]
            )


@asynccontextmanager
async def copied(name: str, server: Server, *, live: bool) -> AsyncIterator[PostgresState]:
    """See `Database.copied`. Other writers wait for its end, or are refused."""
    async with connected(server, name) as connection:
        if not live:
            await require(NO_SERVER, connection, name, f"Another server has {name} open. {STOP_SOURCE}")
        with naming_the_database(name):
            await connection.execute(BEGIN)
        if not live:
            await keep_others_from_writing(connection, name)
        yield PostgresState(name, connection)


async def keep_others_from_writing(connection: "Connection", name: str) -> None:
    tables = ", ".join(table.name for table in metadata.sorted_tables)
    try:
        with naming_the_database(name):
            await connection.execute(f"LOCK TABLE {tables} IN SHARE MODE")
    except NotReady as error:
        if isinstance(error.__cause__, asyncpg.LockNotAvailableError):
            raise NotReady(f"Another program writes to {name}. {STOP_SOURCE}") from error
        raise


@asynccontextmanager
async def copied_into(name: str, server: Server, run: Run) -> AsyncIterator[PostgresTarget]:
    """See `Database.copied_into`."""
    async with connected(server, name) as connection:
        await require(NO_SERVER, connection, name, f"Another server has {name} open. {STOP_TARGET}")
        await require(NO_COPY, connection, name, f"Another copy is made into {name}. Nothing was changed.")
        yield PostgresTarget(name, server, connection, run)


@asynccontextmanager
async def connected(server: Server, name: str) -> "AsyncIterator[Connection]":
    with naming_the_database(name):
        connection = await server.connect(COPYING)
    try:
        with naming_the_database(name):
            await connection.execute(UNLIMITED)
        yield connection
    finally:
        with suppress(*DRIVER_ERRORS):
            await connection.close(timeout=CLOSE_S)


async def require(question: str, connection: "Connection", name: str, otherwise: str) -> None:
    for _ in range(LOOKS):
        with naming_the_database(name):
            if await connection.fetchval(question):
                return
        await asyncio.sleep(AGAIN_S)
    raise NotReady(otherwise)


@contextmanager
def naming_the_database(name: str) -> Iterator[None]:
    try:
        yield
    except DRIVER_ERRORS as error:
        raise NotReady(f"{name}: {first_line(error)}.") from error


@cache
def text_of(statement: sa.Executable) -> str:
    return str(statement.compile(dialect=DIALECT))  # type: ignore[attr-defined]


SQLITE: Final = sqlite.dialect()
ALIKE: Final = (sa.String, sa.Integer, sa.Float, sa.LargeBinary, sa.JSON)
"""Types whose values are the same in both drivers. JSON is text here."""

NUMERIC_OID: Final = 1700
"""The object id of PostgreSQL's type numeric. SQLAlchemy asks for the id of no other type."""


@cache
def converters(table: sa.Table, source: sa.Dialect, target: sa.Dialect) -> Converters:
    """Functions that convert values of one driver to values of the other, by the index of the column."""
    return [
        (number, step)
        for number, type in enumerate(column.type for column in table.columns)
        if not isinstance(plain(type), ALIKE)
        for step in (
            type.dialect_impl(source).result_processor(source, NUMERIC_OID),
            type.dialect_impl(target).bind_processor(target),
        )
        if step is not None
    ]


def converted(rows: Iterable[Iterable[Any]], converters: Converters) -> Rows:
    columns: list[Any] = list(zip(*rows, strict=True))
    for number, convert in converters:
        columns[number] = map(convert, columns[number])
    return list(zip(*columns, strict=True))
