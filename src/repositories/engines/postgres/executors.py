"""Executors on PostgreSQL: reads use any connection of a pool, writes run in transactions."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from domain.errors import Contended, Refusal
from domain.limits import Limits
from repositories.engines.executors import TransactionState
from repositories.engines.json_rows import ENCODER
from repositories.engines.meter import Kind, Meter, timed
from repositories.engines.postgres.commits import GroupCommits, Whole
from repositories.engines.postgres.errors import refusal_of, refusal_of_commit, refusal_of_write, translating_errors
from repositories.engines.postgres.pools import undo
from repositories.engines.statements import Parameters, Result, Rows, prepare

if TYPE_CHECKING:
    from repositories.engines.postgres.pools import Connection, Connections

DIALECT: Final = PGDialect_asyncpg(json_serializer=ENCODER.encode)  # type: ignore[no-untyped-call]


class ConnectionExecutor:
    """Runs statements on one connection, in its transaction."""

    def __init__(
        self,
        connection: "Connection",
        meter: Meter,
        kind: Kind,
        refusal_of: Callable[[Exception], Refusal | None] = refusal_of,
    ) -> None:
        self.connection = connection
        self._meter = meter
        self._kind: Kind = kind
        self._refusal_of = refusal_of

    async def fetch(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        prepared = prepare(statement, DIALECT, parameters)
        with timed(self._meter, self._kind), translating_errors(self._refusal_of):
            rows = await self.connection.fetch(prepared.sql, *prepared.arguments(parameters))
        return prepared.read(rows)

    async def run(self, sql: str, arguments: Sequence[Any], *, many: bool = False) -> Result:
        with timed(self._meter, self._kind), translating_errors(self._refusal_of):
            return await (execute_many if many else execute)(self.connection, sql, arguments)


async def execute(connection: "Connection", sql: str, arguments: Sequence[Any]) -> Result:
    """Like the driver's `fetch`, with the description and the count that a session needs."""
    prepare: Any = connection._prepare  # type: ignore[attr-defined]  # noqa: SLF001  # the public method prepares again each time
    try:
        statement = await prepare(sql, use_cache=True)
        rows = await statement.fetch(*arguments)
    except asyncpg.InvalidCachedStatementError as error:
        await connection.reload_schema_state()
        raise Contended("The schema was changed meanwhile.") from error
    description = [(column.name, column.type.oid, *[None] * 5) for column in statement.get_attributes()]
    return Result(rows, description or None, count_in(statement.get_statusmsg()))


async def execute_many(connection: "Connection", sql: str, arguments: Sequence[Sequence[Any]]) -> Result:
    await connection.executemany(sql, arguments)
    return Result((), None, -1)  # the driver does not count rows here


def count_in(status: str) -> int:
    """The number of rows in a status: 3 in `INSERT 0 3`, and none in `SAVEPOINT`."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else -1


class PooledExecutor:
    """Reads in autocommit. Each statement uses any connection of the pool."""

    def __init__(self, connections: "Connections", kind: Kind) -> None:
        self._connections = connections
        self._kind: Kind = kind

    async def fetch(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        async with self._connections.one() as connection:
            return await ConnectionExecutor(connection, self._connections.meter, self._kind).fetch(
                statement, parameters
            )

    async def run(self, sql: str, arguments: Sequence[Any], *, many: bool = False) -> Result:
        async with self._connections.one() as connection:
            return await ConnectionExecutor(connection, self._connections.meter, self._kind).run(
                sql, arguments, many=many
            )


BEGIN_SNAPSHOT: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = '{}ms'"
)
"""A snapshot may be idle for as long as its stream may take, because it waits for the client."""


@asynccontextmanager
async def snapshot_on(connections: "Connections", limits: Limits) -> AsyncIterator[ConnectionExecutor]:
    """An executor whose reads all see the same state. It has a connection of its own."""
    async with connections.one() as connection:
        try:
            with translating_errors():
                await connection.execute(BEGIN_SNAPSHOT.format(round(limits.stream_s * 1000)))
            yield ConnectionExecutor(connection, connections.meter, "scan")
        finally:
            await undo(connection, limits.end_s)


class PostgresTransaction(TransactionState):
    """A transaction on its own connection. It takes the connection and begins with its first statement."""

    def __init__(self, lease: AsyncExitStack, connections: "Connections", commits: GroupCommits, end_s: float) -> None:
        self._lease = lease
        self._connections = connections
        self._commits = commits
        self._end_s = end_s
        self._executor: ConnectionExecutor | None = None

    async def fetch(
        self, statement: sa.Executable, parameters: Parameters | None = None, *, last: bool = False
    ) -> Rows:
        await self.make_way(statement)
        executor = await self._begun()
        try:
            rows = await executor.fetch(statement, parameters)
        except Refusal:
            self.fail()
            raise
        if last:
            await self.commit()
        return rows

    async def write(
        self, statement: sa.Executable, parameters: Parameters | None = None, *, otherwise: Refusal | None = None
    ) -> None:
        if not await self.fetch(statement, parameters) and otherwise is not None:
            self.fail()
            raise otherwise

    async def run(self, sql: str, arguments: Sequence[Any], *, many: bool = False) -> Result:
        executor = await self._begun()
        try:
            return await executor.run(sql, arguments, many=many)
        except Refusal:
            self.fail()
            raise

    async def _begun(self) -> ConnectionExecutor:
        self.require_open()
        if self._executor is None:
            connection = await self._lease.enter_async_context(self._connections.one())
            self._executor = ConnectionExecutor(connection, self._connections.meter, "write", refusal_of_write)
            with translating_errors(refusal_of_write):  # if this is cancelled, the transaction may have begun
                await connection.execute("BEGIN")
        return self._executor

    @property
    def has_begun(self) -> bool:
        return self._executor is not None

    async def run_alone(
        self, statements: Sequence[sa.Executable], parameters: Parameters, together: sa.Executable | None = None
    ) -> Rows:
        self.require_open()
        self.has_ended = True
        (alone,) = statements
        assert together is not None  # noqa: S101
        shared = prepare(together, DIALECT, None)
        return await self._commits.run(Whole(prepare(alone, DIALECT, parameters), shared, parameters))

    async def commit(self) -> None:
        self.require_open()
        self.has_ended = True
        if self._executor is None:
            return
        with timed(self._connections.meter, "commit"), translating_errors(refusal_of_commit):
            done = await self._executor.connection.execute("COMMIT")
        self._executor = None
        if done != "COMMIT":  # PostgreSQL answers ROLLBACK, without an error, if an earlier statement failed
            raise RuntimeError(f"COMMIT was answered by {done}")

    async def rollback(self) -> None:
        self.has_ended = True
        if self._executor is not None:
            executor, self._executor = self._executor, None
            await undo(executor.connection, self._end_s)
