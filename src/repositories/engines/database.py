"""The interface of a database, which both engines implement, and the choice of an engine by a URL."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from domain.errors import NotReady
from domain.findings import Finding
from domain.limits import LIMITS, Limits
from repositories.engines.executors import Executor, Transaction
from repositories.engines.meter import NO_METER, Meter
from repositories.engines.replicas import Replicas
from repositories.engines.revisions import SchemaStatus, Upgrade
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.upkeep.backups import Backup, Restored
from repositories.engines.upkeep.copies import State, Target
from repositories.engines.upkeep.scrubbing import Scrubbed, Vacuumed
from repositories.engines.urls import POSTGRES, parse, parse_replicas

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


class Database(Protocol):
    @property
    def name(self) -> str:
        """A name for people: the engine and its address, without credentials."""
        ...

    @property
    def warning(self) -> str | None:
        """A warning for the operator when the server starts, if there is one."""
        ...

    @property
    def engine(self) -> "AsyncEngine":
        """The SQLAlchemy engine that sessions use to compile their statements. It never connects. Available after
        `start`."""
        ...

    @property
    def reader(self) -> Executor:
        """Runs the short reads of reading units of work."""
        ...

    @property
    def scans(self) -> Executor:
        """Runs reads that may scan a table. Short reads do not wait for them."""
        ...

    @property
    def replicas(self) -> Replicas | None:
        """The replicas from which units of work may read, if any. They are used after `start`."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Executor]:
        """An executor whose reads all see the state at the first read. At most `Limits.snapshots` are in use."""
        ...

    @property
    def locks_rows(self) -> bool:
        """Whether several units can write at a time, so that rows need locks."""
        ...

    @property
    def commit_order(self) -> sa.Select[Any] | None:
        """A statement that runs before a change is numbered, on an engine whose commits could otherwise overtake each
        other."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """The transaction of a writing unit of work. Leaving the block undoes everything that is not committed.

        Its first statement waits for its turn to write, or for a connection, and may raise `Busy`.
        """
        ...

    async def claim(self, executor: Executor, name: str) -> bool:
        """Claim a name until the transaction ends. Returns False if another transaction, in any process, has claimed
        it."""
        ...

    async def hold(self, executor: Executor, name: str) -> None:
        """Hold a name until the transaction ends. Wait if another transaction holds it."""
        ...

    async def note_erasure(self, executor: Transaction) -> None:
        """Note, in the transaction that erases, that the files have to be scrubbed."""
        ...

    async def has_traces(self) -> bool:
        """Whether this process has to scrub the files, because a noted erasure was not followed by a scrubbing."""
        ...

    async def scrub(self, *, gives_way: bool = True) -> Scrubbed:
        """Remove erased rows from the files, as far as this engine can.

        If it `gives_way` to other writers, it may have to be called again.
        """
        ...

    async def start(self) -> None:
        """Open the database. Does nothing if it is open. Raises `NotReady`, with a message for the operator, if that
        fails."""
        ...

    async def stop(self) -> None: ...

    async def upgrade(self) -> Upgrade:
        """Upgrade the schema to the newest revision. Creates the schema in a new database.

        Several processes may do this at once. Raises `NotReady` if the database belongs to another program.
        """
        ...

    async def backup(self, to: Path) -> Backup:
        """Copy the directory to a new file, even while others write. The copy is checked, and its rows are counted.

        Raises `NotReady`. On PostgreSQL it always does, with the command to run instead.
        """
        ...

    async def vacuum(self) -> Vacuumed:
        """Rewrite the files, so that nothing of erased rows is left in them, and unused space is given back.

        Raises `NotReady` if a server is running. On PostgreSQL it always does, because autovacuum does this.
        """
        ...

    async def restore(self, backup: Path, now: datetime) -> Restored:
        """Replace the directory by a backup, with the newest schema and in a new epoch. The previous file is kept.

        Raises `NotReady` if a server is running. On PostgreSQL it always does, with the command to run instead.
        """
        ...

    def copied(self, *, live: bool) -> AbstractAsyncContextManager[State]:
        """The directory as it is now, as the source of a copy. Unless `live`, nobody can write to it until the block
        ends.

        Raises `NotReady` if the schema is not at its head, and if a server is running, unless it is `live`.
        """
        ...

    def copied_into(self) -> AbstractAsyncContextManager[Target]:
        """Where a copy is made. A database that is not there is created, if it is a file. Nobody else writes to it.

        Raises `NotReady` if a server is running.
        """
        ...

    async def begin_epoch(self, now: datetime, *, beyond: int = 0) -> int:
        """See `domain.work.UnitsOfWork.begin_epoch`. Raises `NotReady`."""
        ...

    async def examine(self) -> Sequence[Finding]:
        """Examine everything that this engine needs to work well. Writes nothing. Raises `NotReady` if it cannot be
        reached."""
        ...

    async def status(self) -> SchemaStatus:
        """The revision of the schema. Raises `NotReady` if there is no such database, or if it belongs to another
        program."""
        ...

    async def require_sessions(self) -> None:
        """Raises `NotReady` if a pooler gives one connection several servers, which prepared statements do not survive.

        For a server, once it has started the database; before that it does nothing.
        """
        ...

    async def require_ready(self) -> None:
        """Raises `Unreachable`, `Damaged` or `FilesRemoved`, or `NotReady` if this version of Roster cannot use the
        schema."""
        ...


def database_at(
    url: str,
    *,
    serving: bool,
    pool_size: int,
    pool_timeout_s: float,
    auto_upgrade: bool = True,
    handover_s: float = 0,
    replica_url: str = "",
    replica_lag_s: float = 0,
    limits: Limits = LIMITS,
    meter: Meter = NO_METER,
) -> Database:
    """The database at a URL: `sqlite:///file.db`, or `postgresql://user:password@host/name`.

    `serving` says that this process is the server, and not a command. Only a server creates a missing file and, with
    `auto_upgrade`, upgrades its schema. It waits up to `handover_s` seconds for another server to release the file.
    Only a server reads from replicas. `replica_url` is one or several URLs, separated by commas. `pool_timeout_s` and
    `replica_lag_s` are seconds. Raises `NotReady` for other URLs.
    """
    parsed, replicas = parse(url), parse_replicas(replica_url)
    if parsed.drivername in POSTGRES:
        from repositories.engines.postgres.database import PostgresDatabase  # noqa: PLC0415  # so that a server on SQLite does not import the driver

        return PostgresDatabase(
            parsed,
            serving=serving,
            pool_size=pool_size,
            pool_timeout_s=pool_timeout_s,
            replicas=replicas,
            replica_lag_s=replica_lag_s,
            limits=limits,
            meter=meter,
        )
    if replicas:
        raise NotReady("ROSTER_REPLICA_URL is for PostgreSQL: SQLite has no replicas. Unset it, or move to PostgreSQL.")
    return SqliteDatabase(
        Path(parsed.database or ""),
        serving=serving,
        pool_timeout_s=pool_timeout_s,
        auto_upgrade=auto_upgrade,
        handover_s=handover_s,
        limits=limits,
        meter=meter,
    )
