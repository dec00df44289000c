"""PostgreSQL through asyncpg, with three pools: for writing, for reading in autocommit, and for snapshots."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from domain.errors import Contended, NotReady, Unreachable
from domain.findings import Finding
from domain.limits import LIMITS, Limits
from repositories.engines import revisions
from repositories.engines.alarms import Alarms
from repositories.engines.epochs import begin_epoch
from repositories.engines.executors import Executor, Transaction
from repositories.engines.meter import NO_METER, Meter, Pool
from repositories.engines.postgres.commits import GroupCommits
from repositories.engines.postgres.copies import copied, copied_into
from repositories.engines.postgres.errors import asking, reaching
from repositories.engines.postgres.examination import examine
from repositories.engines.postgres.executors import ConnectionExecutor, PooledExecutor, PostgresTransaction, snapshot_on
from repositories.engines.postgres.pools import Connections
from repositories.engines.postgres.replicas import PostgresReplicas
from repositories.engines.postgres.servers import READ_ONLY, SESSION, Server
from repositories.engines.revisions import SchemaStatus, Upgrade
from repositories.engines.upkeep.backups import Backup, Restored
from repositories.engines.upkeep.copies import State, Target
from repositories.engines.upkeep.scrubbing import Scrubbed, Vacuumed

if TYPE_CHECKING:
    from repositories.engines.postgres.pools import Connection as PoolConnection

T = TypeVar("T")

COMMIT_ORDER_LOCK: Final = 0x526F73746572
"""The advisory lock ("Roster" in ASCII) that a writing transaction holds from the INSERT of its changes until its
end."""

SCHEMA_LOCK: Final = COMMIT_ORDER_LOCK + 1

HOLD: Final = sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("name"), 0)))
CLAIM: Final = sa.select(sa.func.pg_try_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("name"), 0)))


BACKEND: Final = "SELECT pg_backend_pid()"
POOLED: Final = (
    "{} is behind a pooler in transaction mode, which prepared statements do not survive. Set it to session mode, or "
    "connect past it."
)


class PostgresDatabase:
    """The directory in a PostgreSQL database."""

    warning = None
    locks_rows = True
    commit_order = sa.select(sa.func.pg_advisory_xact_lock(COMMIT_ORDER_LOCK))
    """Takes the lock just before the changes are numbered. So a later commit has a higher number, and a reader of the
    feed who remembers one number misses nothing. Without the lock, numbers could become visible in any order."""

    def __init__(
        self,
        url: sa.URL,
        *,
        serving: bool = False,
        pool_size: int,
        pool_timeout_s: float,
        replicas: Sequence[sa.URL] = (),
        replica_lag_s: float = 0,
        limits: Limits = LIMITS,
        meter: Meter = NO_METER,
    ) -> None:
        self._server = Server(url, pool_timeout_s=pool_timeout_s, limits=limits)
        self.name = f"PostgreSQL, {url.database} at {self._server.place}"
        self.replicas = (
            None
            if not replicas
            else PostgresReplicas(
                self._server,
                [Server(each, pool_timeout_s=pool_timeout_s, limits=limits) for each in replicas],
                lag_s=replica_lag_s,
                pool_size=pool_size,
                meter=meter,
            )
        )
        self._serving = serving
        self._pool_size = pool_size
        self._shown_dsn = url.set(drivername="postgresql", password=None).render_as_string()
        self._writing: Connections | None = None
        self._commits: GroupCommits | None = None
        self._reading: Connections | None = None
        self._streaming: Connections | None = None
        self._limits = limits
        self._meter = Alarms(meter, self.name)

    @cached_property
    def engine(self) -> AsyncEngine:
        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._server.connect,
            poolclass=sa.NullPool,
            hide_parameters=True,  # parameters do not belong in logs
        )

    @property
    def reader(self) -> PooledExecutor:
        return PooledExecutor(started(self._reading), "read")

    @property
    def scans(self) -> PooledExecutor:
        return PooledExecutor(started(self._reading), "scan")

    def snapshot(self) -> AbstractAsyncContextManager[ConnectionExecutor]:
        return snapshot_on(started(self._streaming), self._limits)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        async with AsyncExitStack() as lease:
            transaction = PostgresTransaction(lease, started(self._writing), started(self._commits), self._limits.end_s)
            try:
                yield transaction
            finally:
                await transaction.rollback()

    async def start(self) -> None:
        """Open the pools. Raises `NotReady` if the schema is old: on PostgreSQL, upgrading is a separate step."""
        if self._reading is not None:
            return
        with reaching(self.name):
            reading = await self._pool("read", READ_ONLY, min_size=1, max_size=self._pool_size)
            try:
                async with reading.one() as connection:
                    (await self._status_on(connection)).require_usable()
            except BaseException:
                await reading.close()
                raise
            self._reading = reading
            self._writing = await self._pool("write", SESSION, min_size=0, max_size=self._pool_size)
            self._commits = GroupCommits(self._writing)
            self._streaming = await self._pool("stream", READ_ONLY, min_size=0, max_size=self._limits.snapshots)
        if self.replicas is not None and self._serving:
            self.replicas.start()

    async def _pool(self, name: Pool, session: Mapping[str, str], *, min_size: int, max_size: int) -> Connections:
        self._meter.size(name, max_size)
        return await self._server.pool(name, session, self._meter, min_size=min_size, max_size=max_size)

    async def stop(self) -> None:
        if self.replicas is not None:
            await self.replicas.stop()
        pools = filter(None, (self._reading, self._writing, self._streaming))
        await asyncio.gather(*[connections.close() for connections in pools])
        self._reading = self._writing = self._streaming = self._commits = None

    async def upgrade(self) -> Upgrade:
        """Upgrade the schema to the newest revision. Several processes may do this at once."""
        async with self._connected() as connection:
            await connection.execute(sa.text("SET LOCAL lock_timeout = '60s'"))
            await connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEMA_LOCK)))
            await connection.run_sync(self._require_own)
            upgrade = await connection.run_sync(revisions.upgrade)
        upgrade.tell(self.name)
        return upgrade

    async def examine(self) -> Sequence[Finding]:
        async with self._connected() as connection:
            found = await connection.run_sync(lambda sync: list(examine(sync, self._pool_size)))
        return [*found, *(await self.replicas.examine() if self.replicas is not None else ())]

    async def backup(self, to: Path) -> Backup:
        raise NotReady(
            f"PostgreSQL has a program for it. Run: pg_dump --format=custom --file={to} {quote(self._shown_dsn)}"
        )

    async def restore(self, backup: Path, now: datetime) -> Restored:  # noqa: ARG002
        raise NotReady(
            "PostgreSQL has a program for it. Stop all servers of this directory. Run: pg_restore --clean --if-exists "
            f"--single-transaction --dbname={quote(self._shown_dsn)} {backup} "
            "Then, before you start the servers: roster db epoch"
        )

    @asynccontextmanager
    async def copied(self, *, live: bool) -> AsyncIterator[State]:
        (await self.status()).require_head()
        async with copied(self.name, self._server, live=live) as state:
            yield state

    @asynccontextmanager
    async def copied_into(self) -> AsyncIterator[Target]:
        async with copied_into(self.name, self._server, self._run_at_length) as target:
            if (await self.status()).current is None:
                await self.upgrade()
            yield target

    async def _run_at_length(self, work: Callable[[sa.Connection], T]) -> T:
        async with self._connected() as connection:
            await connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            return await connection.run_sync(work)

    async def begin_epoch(self, now: datetime, *, beyond: int = 0) -> int:
        async with self._connected() as connection:
            (await connection.run_sync(revisions.status)).require_head()
            await connection.execute(self.commit_order)
            return await connection.run_sync(begin_epoch, now, beyond)

    async def status(self) -> SchemaStatus:
        with reaching(self.name):
            connection = await self._server.connect()
        try:
            return await self._status_on(connection)
        finally:
            await connection.close()

    async def _status_on(self, connection: "PoolConnection | asyncpg.Connection[asyncpg.Record]") -> SchemaStatus:
        """Not through SQLAlchemy's engine, which would take a quarter of the time of a start."""
        with asking(self.name):
            columns = revisions.by_table(map(tuple, await connection.fetch(revisions.COLUMNS["postgresql"])))
            query = revisions.revision_query(columns)
            status = revisions.status_in(map(tuple, await connection.fetch(query) if query else ()))
        revisions.require_own(columns, status, self.name)
        return status

    def _require_own(self, connection: sa.Connection) -> None:
        revisions.require_own(revisions.columns_of(connection), revisions.status(connection), self.name)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on a connection of SQLAlchemy, which Alembic needs."""
        with reaching(self.name):
            async with self.engine.begin() as connection:
                yield connection

    async def claim(self, executor: Executor, name: str) -> bool:
        ((held,),) = await executor.fetch(CLAIM, {"name": name})
        return bool(held)

    async def hold(self, executor: Executor, name: str) -> None:
        await executor.fetch(HOLD, {"name": name})

    async def note_erasure(self, executor: Transaction) -> None:
        """Nothing to do: autovacuum removes dead rows."""

    async def has_traces(self) -> bool:
        return False

    async def scrub(self, *, gives_way: bool = True) -> Scrubbed:  # noqa: ARG002
        return Scrubbed.ALL

    async def vacuum(self) -> Vacuumed:
        raise NotReady("PostgreSQL removes erased rows by autovacuum. To remove them at once, run VACUUM in psql.")

    async def require_sessions(self) -> None:
        """One connection prepares a statement, another one uses the server, and the first one runs its statement.

        Behind a pooler in transaction mode that does not keep track of statements, the statement is then unknown, or
        even the one of another connection.
        """
        if self._reading is None or self._writing is None:  # another store was put in its place
            return
        async with self._reading.one() as one, self._writing.one() as other:
            try:
                await one.fetchval(BACKEND)
                async with other.transaction():
                    await other.fetchval(BACKEND)
                    await one.fetchval(BACKEND)
            except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError) as error:
                raise NotReady(POOLED.format(self.name)) from error

    async def require_ready(self) -> None:
        self._meter.require_undamaged()
        try:
            status = await revisions.current_status(self.reader)
        except (Contended, asyncpg.PostgresError) as error:
            raise Unreachable from error
        status.require_usable()


def started(part: T | None) -> T:
    assert part is not None, "the database was not started"  # noqa: S101
    return part
