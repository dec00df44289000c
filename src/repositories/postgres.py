"""PostgreSQL over asyncpg: the same pair, one pool that writes in transactions and one that reads in autocommit."""

import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

from domain.errors import Busy, Conflict, Contended, NotReady, Refusal, Uncertain
from repositories import migrations
from repositories.lanes import MAX_SNAPSHOTS, Lane, Parameters, Rows, Snapshots, prepare
from repositories.meter import NO_METER, Kind, Meter, Pool
from repositories.migrations import SchemaStatus

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

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

CONTENDED: Final = {"40001", "40P01"}  # serialization failure, deadlock
CONNECTION_LOST: Final = ("08", "57P01", "57P02", "57P03", "25P03")  # by class or code
OVERLOADED: Final = {"53300", "55P03", "57014"}  # too many connections, lock and statement time-outs
NO_ROOM: Final = {"53100", "53200"}


class ConnectionLane:
    """Reads on one connection, in the transaction that it is in."""

    def __init__(
        self, connection: "PoolConnectionProxy[asyncpg.Record]", dialect: sa.Dialect, meter: Meter, kind: Kind
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._meter = meter
        self._kind = kind

    async def rows(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        prepared = prepare(statement, self._dialect)
        started = time.perf_counter()
        try:
            with refusing():
                rows = await self._connection.fetch(prepared.sql, *prepared.arguments(parameters))
        finally:
            self._meter.took(self._kind, time.perf_counter() - started)
        return prepared.read(rows)


class PostgresLane:
    """Reads straight on the driver, each statement on a connection of its own."""

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", dialect: sa.Dialect, timeout_s: float, meter: Meter, kind: Kind
    ) -> None:
        self._pool = pool
        self._dialect = dialect
        self._timeout_s = timeout_s
        self._meter = meter
        self._kind = kind

    async def rows(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        with refusing():
            async with Lease(self._pool, self._timeout_s, self._meter, "read") as connection:
                return await ConnectionLane(connection, self._dialect, self._meter, self._kind).rows(
                    statement, parameters
                )


class Lease:
    """A connection of a pool for as long as the block lasts."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", timeout_s: float, meter: Meter, name: Pool) -> None:
        self._acquired = pool.acquire(timeout=timeout_s)
        self._meter = meter
        self._name = name

    async def __aenter__(self) -> "PoolConnectionProxy[asyncpg.Record]":
        started = time.perf_counter()
        try:
            connection = await self._acquired.__aenter__()
        finally:
            self._meter.waited(self._name, time.perf_counter() - started)
        self._meter.in_use(self._name, 1)
        return connection

    async def __aexit__(self, *error: object) -> None:
        self._meter.in_use(self._name, -1)
        await self._acquired.__aexit__(*error)


class PostgresDatabase:
    """The directory in a PostgreSQL database."""

    warning = None
    order_commits = sa.select(sa.func.pg_advisory_xact_lock(COMMIT_ORDER_LOCK))
    """Taken just before the change rows are numbered, so that what commits later has the higher number: a reader
    of the feed that remembers one number misses nothing. Numbers drawn without it become visible in any order."""

    def __init__(self, url: sa.URL, *, pool_size: int, pool_timeout_s: float, meter: Meter = NO_METER) -> None:
        self.name = f"PostgreSQL, {url.database} at {url.host or 'a local socket'}"
        self._pool_size = pool_size
        self._pool_timeout_s = pool_timeout_s
        self._reading: asyncpg.Pool[asyncpg.Record] | None = None
        self._streaming: asyncpg.Pool[asyncpg.Record] | None = None
        self._meter = meter
        self._snapshots = Snapshots()
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._writer = create_async_engine(
            url,
            async_creator=self._connect,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_timeout_s,
            hide_parameters=True,  # they are not for logs
        )

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """The driver reads the URL itself, in libpq's terms: sslmode, host of a socket and the like."""
        return await asyncpg.connect(self._dsn, timeout=CONNECT_TIMEOUT_S, server_settings=dict(SESSION))

    @property
    def reader(self) -> PostgresLane:
        return self._lane("read")

    @property
    def scans(self) -> PostgresLane:
        return self._lane("scan")

    def _lane(self, kind: Kind) -> PostgresLane:
        assert self._reading is not None, "the database was not started"  # noqa: S101
        return PostgresLane(self._reading, self._writer.dialect, self._pool_timeout_s, self._meter, kind)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[ConnectionLane]:
        assert self._streaming is not None, "the database was not started"  # noqa: S101
        async with self._snapshots.place(), AsyncExitStack() as stack:
            with refusing():
                lease = Lease(self._streaming, self._pool_timeout_s, self._meter, "stream")
                connection = await stack.enter_async_context(lease)
                await stack.enter_async_context(connection.transaction(isolation="repeatable_read", readonly=True))
                await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{SNAPSHOT_IDLE_S}s'")
            yield ConnectionLane(connection, self._writer.dialect, self._meter, "scan")

    def session(self) -> AsyncSession:
        return AsyncSession(self._writer)

    async def start(self) -> None:
        """Open the pools. Raises `NotReady` if the schema is behind: upgrading is a step of its own here."""
        if self._reading is not None:
            return
        (await self.status()).require_head()
        with self._reached():
            self._reading = await self._pool(min_size=1, max_size=self._pool_size)
            self._streaming = await self._pool(min_size=0, max_size=MAX_SNAPSHOTS)  # no short read waits for them
        self._meter.size("read", self._pool_size)
        self._meter.size("stream", MAX_SNAPSHOTS)

    def _pool(self, *, min_size: int, max_size: int) -> "asyncpg.Pool[asyncpg.Record]":
        return asyncpg.create_pool(
            self._dsn,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT_S,
            server_settings=dict(READ_ONLY),
            init=read_json,
            reset=leave_as_is,
        )

    async def stop(self) -> None:
        for pool in filter(None, (self._reading, self._streaming)):
            await pool.close()
        self._reading = self._streaming = None
        await self._writer.dispose()

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
        with self._reached():
            async with self._writer.begin() as connection:
                yield connection

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

    def refuse(self, error: Exception) -> Refusal | None:
        return refuse(error)

    def refuse_commit(self, error: Exception) -> Refusal | None:
        if is_lost(error) or code_of(error) == "40003":
            return Uncertain("The connection broke while committing. The change may have been stored or not.")
        return refuse(error)


@contextmanager
def refusing() -> Iterator[None]:
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise (refuse(error) or error) from error


async def read_json(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec("json", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


async def leave_as_is(connection: Any) -> None:
    """No reset between reads: a reading connection holds no state, and the round trip costs as much as a read."""


def original_of(error: Exception) -> Any:
    """The driver's own error, with its code and the name of the constraint."""
    adapted = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return getattr(adapted, "__cause__", None) or adapted


def code_of(error: Exception) -> str:
    return getattr(original_of(error), "sqlstate", None) or ""


def is_lost(error: Exception) -> bool:
    invalidated = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
    original = original_of(error)
    return (
        invalidated
        or isinstance(original, OSError | asyncpg.InterfaceError)
        or code_of(error).startswith(CONNECTION_LOST)
    )


def refuse(error: Exception) -> Refusal | None:
    """Which refusal an error of the driver is; None if it is a defect."""
    code = code_of(error)
    if code == "23505":
        return Conflict(field_of(original_of(error).constraint_name))
    if isinstance(error, sa.exc.TimeoutError | TimeoutError) or code in OVERLOADED:
        return Busy("The database is busy. Try again shortly.")
    if code in NO_ROOM:
        return Busy("The database has no room left.")
    if code in CONTENDED or is_lost(error):
        return Contended("The database asked to run this again.")
    return None


def field_of(constraint: str) -> str:
    """`uq_users_email_key` guards the field email, whose folded form is the key; `pk_users` guards the id."""
    if constraint.startswith("pk_"):
        return "id"
    _, _, column = constraint.removeprefix("uq_").partition("_")
    return column.removesuffix("_key")
