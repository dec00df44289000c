"""PostgreSQL over asyncpg: the same pair, one pool that writes in transactions and one that reads in autocommit."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from domain.errors import Busy, Conflict, Contended, NotReady, Refusal, Uncertain
from repositories import migrations
from repositories.lanes import MAX_SNAPSHOTS, Lane, Parameters, Rows, Snapshots, prepare
from repositories.meter import NO_METER, Kind, Meter, Pool, timed
from repositories.migrations import SchemaStatus
from repositories.schema import read_json

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]
    DriversPool = asyncpg.Pool[asyncpg.Record]

DIALECT: Final = PGDialect_asyncpg()  # type: ignore[no-untyped-call]

CONNECT_TIMEOUT_S: Final = 5

SESSION: Final[Mapping[str, str]] = {
    "application_name": "roster",
    "timezone": "UTC",
    "statement_timeout": "15s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",  # its compiling costs more than these short statements
}
READ_ONLY: Final[Mapping[str, str]] = {**SESSION, "default_transaction_read_only": "on"}

SNAPSHOT_IDLE_S: Final = 60
"""How long a snapshot may wait for the client that reads it."""

COMMIT_ORDER_LOCK: Final = 0x526F73746572
"""An advisory lock, "Roster" in ASCII, that a writing transaction holds from its change rows to its end."""

SCHEMA_LOCK: Final = COMMIT_ORDER_LOCK + 1

CLAIM: Final = sa.select(sa.func.pg_try_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("name"), 0)))

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a command on a connection whose end has come in, and was not yet looked at
    OSError,  # time-outs too
)

CONTENDED: Final = {"40001", "40P01"}  # serialization failure, deadlock
CONNECTION_LOST: Final = ("08", "57P01", "57P02", "57P03", "25P03")  # by class or code
OVERLOADED: Final = {"53300", "55P03", "57014"}  # too many connections, lock and statement time-outs
NO_ROOM: Final = {"53100", "53200"}


class ConnectionLane:
    """Reads on one connection, in the transaction that it is in."""

    def __init__(self, connection: "Connection", meter: Meter, kind: Kind) -> None:
        self._connection = connection
        self._meter = meter
        self._kind: Kind = kind

    async def rows(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        prepared = prepare(statement, DIALECT, parameters)
        with timed(self._meter, self._kind), refusing():
            rows = await self._connection.fetch(prepared.sql, *prepared.arguments(parameters))
        return prepared.read(rows)


class PostgresLane:
    """Reads straight on the driver, each statement on a connection of its own."""

    def __init__(self, connections: "Connections", kind: Kind) -> None:
        self._connections = connections
        self._kind: Kind = kind

    async def rows(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        async with self._connections.one() as connection:
            return await ConnectionLane(connection, self._connections.meter, self._kind).rows(statement, parameters)


class PostgresTransaction(ConnectionLane):
    """A transaction on a connection of its own. It begins as its first statement comes."""

    def __init__(self, connection: "Connection", meter: Meter) -> None:
        super().__init__(connection, meter, "write")
        self._begun = False

    async def rows(self, statement: sa.Executable, parameters: Parameters | None = None, *, last: bool = False) -> Rows:
        if not self._begun:
            self._begun = True  # whatever comes in between, there may be something to undo
            with refusing():
                await self._connection.execute("BEGIN")
        rows = await super().rows(statement, parameters)
        if last:
            await self.commit()
        return rows

    async def commit(self) -> None:
        if not self._begun:
            return
        with timed(self._meter, "commit"), refusing(refuse_commit):
            done = await self._connection.execute("COMMIT")
        self._begun = False
        if done != "COMMIT":  # what the server says when an earlier statement had failed
            raise RuntimeError(f"COMMIT was answered by {done}")

    async def rollback(self) -> None:
        if not self._begun:
            return
        self._begun = False
        try:
            await self._connection.execute("ROLLBACK")
        except BaseException as error:
            self._give_up()
            if not isinstance(error, DRIVER_ERRORS):
                raise

    def _give_up(self) -> None:
        """A connection that may be in a transaction must not be used again: the pool makes another one."""
        with suppress(asyncpg.InterfaceError):  # it is lost already
            self._connection.terminate()


class Connections:
    """A pool, whose callers wait so long for a connection and no longer."""

    def __init__(self, pool: "DriversPool", timeout_s: float, meter: Meter, name: Pool) -> None:
        self.meter = meter
        self._pool = pool
        self._timeout_s = timeout_s
        self._name: Pool = name
        meter.size(name, pool.get_max_size())

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def one(self) -> "AsyncIterator[Connection]":
        """Raises `Busy`, and `Contended` if one cannot be made."""
        connection = await self._acquire()
        self.meter.in_use(self._name, 1)
        try:
            yield connection
        finally:
            self.meter.in_use(self._name, -1)
            await self._pool.release(connection)

    async def _acquire(self) -> "Connection":
        started = time.perf_counter()
        try:
            with refusing():
                async with asyncio.timeout(self._timeout_s):  # the pool's own would take a task for each connection
                    return await self._pool.acquire()
        finally:
            self.meter.waited(self._name, time.perf_counter() - started)


class PostgresDatabase:
    """The directory in a PostgreSQL database."""

    warning = None
    commit_order = sa.select(sa.func.pg_advisory_xact_lock(COMMIT_ORDER_LOCK))
    """Taken just before the change rows are numbered, so that what commits later has the higher number: a reader
    of the feed that remembers one number misses nothing. Numbers drawn without it become visible in any order."""

    def __init__(self, url: sa.URL, *, pool_size: int, pool_timeout_s: float, meter: Meter = NO_METER) -> None:
        self.name = f"PostgreSQL, {url.database} at {url.host or 'a local socket'}"
        self._pool_size = pool_size
        self._pool_timeout_s = pool_timeout_s
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._writing: Connections | None = None
        self._reading: Connections | None = None
        self._streaming: Connections | None = None
        self._snapshots = Snapshots()
        self._meter = meter

    @property
    def reader(self) -> PostgresLane:
        return PostgresLane(started(self._reading), "read")

    @property
    def scans(self) -> PostgresLane:
        return PostgresLane(started(self._reading), "scan")

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[ConnectionLane]:
        async with self._snapshots.place(), AsyncExitStack() as stack:
            connection = await stack.enter_async_context(started(self._streaming).one())
            with refusing():
                await stack.enter_async_context(connection.transaction(isolation="repeatable_read", readonly=True))
                await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{SNAPSHOT_IDLE_S}s'")
            yield ConnectionLane(connection, self._meter, "scan")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        async with started(self._writing).one() as connection:
            transaction = PostgresTransaction(connection, self._meter)
            try:
                yield transaction
            finally:
                await transaction.rollback()

    async def start(self) -> None:
        """Open the pools. Raises `NotReady` if the schema is behind: upgrading is a step of its own here."""
        if self._reading is not None:
            return
        (await self.status()).require_head()
        with self._reached():
            self._reading = await self._pool("read", READ_ONLY, min_size=1, max_size=self._pool_size)
            self._writing = await self._pool("write", SESSION, min_size=0, max_size=self._pool_size)
            self._streaming = await self._pool("stream", READ_ONLY, min_size=0, max_size=MAX_SNAPSHOTS)

    async def _pool(self, name: Pool, session: Mapping[str, str], *, min_size: int, max_size: int) -> Connections:
        pool = asyncpg.create_pool(
            self._dsn,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT_S,
            server_settings=dict(session),
            init=read_json_as_stored,
            reset=leave_as_is,
        )
        return Connections(await pool, self._pool_timeout_s, self._meter, name)

    async def stop(self) -> None:
        for connections in filter(None, (self._reading, self._writing, self._streaming)):
            await connections.close()
        self._reading = self._writing = self._streaming = None

    async def upgrade(self) -> None:
        """Bring the schema to its head. Several processes may do so at once."""
        async with self._connected() as connection:
            await connection.execute(sa.text("SET LOCAL lock_timeout = '60s'"))
            await connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEMA_LOCK)))
            await connection.run_sync(migrations.upgrade)

    async def status(self) -> SchemaStatus:
        async with self._connected() as connection:
            return await connection.run_sync(migrations.status)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection of SQLAlchemy's, for Alembic, in a transaction."""
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            poolclass=sa.NullPool,
            hide_parameters=True,  # they are not for logs
        )
        with self._reached():
            async with engine.begin() as connection:
                yield connection

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """The driver reads the URL itself, in libpq's terms: sslmode, host of a socket and the like."""
        return await asyncpg.connect(self._dsn, timeout=CONNECT_TIMEOUT_S, server_settings=dict(SESSION))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (OSError, asyncpg.PostgresError) as error:
            raise NotReady(f"{self.name} cannot be reached: {error}.") from error
        except sa.exc.DBAPIError as error:
            raise NotReady(f"{self.name} refused: {error.orig}.") from error

    async def claim(self, lane: Lane, name: str) -> bool:
        ((held,),) = await lane.rows(CLAIM, {"name": name})
        return bool(held)

    async def scrub(self) -> None:
        """Dead rows are PostgreSQL's to clear away: autovacuum does."""

    async def is_ready(self) -> bool:
        try:
            ((current,),) = await self.reader.rows(migrations.CURRENT)
        except (Refusal, asyncpg.PostgresError):
            return False
        return bool(current == migrations.head())


def started(connections: Connections | None) -> Connections:
    assert connections is not None, "the database was not started"  # noqa: S101
    return connections


async def read_json_as_stored(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=read_json)


async def leave_as_is(connection: Any) -> None:
    """No reset between uses: no connection here keeps a state, and the round trip costs as much as a read."""


def refuse(error: Exception) -> Refusal | None:
    """Which refusal an error of the driver is; None if it is a defect."""
    code = code_of(error)
    if code == "23505":
        return Conflict(field_of(getattr(error, "constraint_name", "")))
    if isinstance(error, TimeoutError) or code in OVERLOADED:
        return Busy("The database is busy. Try again shortly.")
    if code in NO_ROOM:
        return Busy("The database has no room left.")
    if code in CONTENDED or is_lost(error):
        return Contended("The database asked to run this again.")
    return None


def refuse_commit(error: Exception) -> Refusal | None:
    """The same for an error of a COMMIT."""
    if is_lost(error) or code_of(error) == "40003":
        return Uncertain("The connection broke while committing. The change may have been stored or not.")
    return refuse(error)


def code_of(error: Exception) -> str:
    return getattr(error, "sqlstate", None) or ""


def is_lost(error: Exception) -> bool:
    return isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError) or code_of(
        error
    ).startswith(CONNECTION_LOST)


@contextmanager
def refusing(refuse: Callable[[Exception], Refusal | None] = refuse) -> Iterator[None]:
    try:
        yield
    except DRIVER_ERRORS as error:
        raise (refuse(error) or error) from error


def field_of(constraint: str) -> str:
    """`uq_users_email_key` guards the field email, whose folded form is the key; `pk_users` guards the id."""
    if constraint.startswith("pk_"):
        return "id"
    _, _, column = constraint.removeprefix("uq_").partition("_")
    return column.removesuffix("_key")
