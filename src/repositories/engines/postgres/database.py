"""PostgreSQL over asyncpg: a pool that writes, a pool that reads in autocommit, a pool for snapshots."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cached_property
from typing import Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from domain.errors import Contended, NotReady, Unreachable
from repositories.engines import revisions
from repositories.engines.alarms import Alarms
from repositories.engines.executors import MAX_SNAPSHOTS, Executor, Snapshots
from repositories.engines.meter import NO_METER, Meter, Pool
from repositories.engines.postgres.errors import refusing
from repositories.engines.postgres.executors import ConnectionExecutor, PooledExecutor, PostgresTransaction
from repositories.engines.postgres.pools import Connections, leave_as_is, read_json_as_stored
from repositories.engines.revisions import SchemaStatus, Upgrade

CONNECT_TIMEOUT_S: Final = 5
DEFAULT_PORT: Final = 5432

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
"""The advisory lock ("Roster" in ASCII) that a writing transaction holds from its change rows to its end."""

SCHEMA_LOCK: Final = COMMIT_ORDER_LOCK + 1

CLAIM: Final = sa.select(sa.func.pg_try_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("name"), 0)))


class PostgresDatabase:
    """The directory in a PostgreSQL database."""

    warning = None
    locks_rows = True
    commit_order = sa.select(sa.func.pg_advisory_xact_lock(COMMIT_ORDER_LOCK))
    """The lock is taken just before the change rows are numbered. So a later commit has the higher number, and a reader
    of the feed who remembers one number misses nothing. Without the lock, numbers become visible in any order."""

    def __init__(self, url: sa.URL, *, pool_size: int, pool_timeout_s: float, meter: Meter = NO_METER) -> None:
        self.name = f"PostgreSQL, {url.database} at {place_of(url)}"
        self._pool_size = pool_size
        self._pool_timeout_s = pool_timeout_s
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._writing: Connections | None = None
        self._reading: Connections | None = None
        self._streaming: Connections | None = None
        self._snapshots = Snapshots()
        self._meter = Alarms(meter, self.name)

    @cached_property
    def engine(self) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            poolclass=sa.NullPool,
            hide_parameters=True,  # parameters do not belong in logs
        )

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """The driver reads the URL itself, in libpq's terms: sslmode, host of a socket and the like."""
        return await asyncpg.connect(self._dsn, timeout=CONNECT_TIMEOUT_S, server_settings=dict(SESSION))

    @property
    def reader(self) -> PooledExecutor:
        return PooledExecutor(started(self._reading), "read")

    @property
    def scans(self) -> PooledExecutor:
        return PooledExecutor(started(self._reading), "scan")

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[ConnectionExecutor]:
        async with self._snapshots.place(), AsyncExitStack() as stack:
            connection = await stack.enter_async_context(started(self._streaming).one())
            with refusing():
                await stack.enter_async_context(connection.transaction(isolation="repeatable_read", readonly=True))
                await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{SNAPSHOT_IDLE_S}s'")
            yield ConnectionExecutor(connection, self._meter, "scan")

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

    async def upgrade(self) -> Upgrade:
        """Bring the schema to its head. Several processes may do so at once."""
        async with self._connected() as connection:
            await connection.execute(sa.text("SET LOCAL lock_timeout = '60s'"))
            await connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEMA_LOCK)))
            await connection.run_sync(revisions.require_own, self.name)
            upgrade = await connection.run_sync(revisions.upgrade)
        upgrade.tell(self.name)
        return upgrade

    async def status(self) -> SchemaStatus:
        async with self._connected() as connection:
            await connection.run_sync(revisions.require_own, self.name)
            return await connection.run_sync(revisions.status)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on a connection of SQLAlchemy's own, as Alembic needs it."""
        with self._reached():
            async with self.engine.begin() as connection:
                yield connection

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (OSError, asyncpg.PostgresError) as error:
            raise NotReady(f"{self.name} cannot be reached: {error}.") from error
        except sa.exc.DBAPIError as error:
            raise NotReady(f"{self.name} refused: {error.orig}.") from error

    async def claim(self, executor: Executor, name: str) -> bool:
        ((held,),) = await executor.fetch(CLAIM, {"name": name})
        return bool(held)

    async def scrub(self) -> None:
        """Autovacuum removes dead rows."""

    async def require_ready(self) -> None:
        self._meter.require_undamaged()
        try:
            ((current,),) = await self.reader.fetch(revisions.CURRENT)
        except (Contended, asyncpg.PostgresError) as error:
            raise Unreachable from error
        revisions.status_of(current).require_head()


def place_of(url: sa.URL) -> str:
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host
    return f"{host}:{url.port or DEFAULT_PORT}" if host else "a local socket"


def started(connections: Connections | None) -> Connections:
    assert connections is not None, "the database was not started"  # noqa: S101
    return connections
