"""The database behind the stores: what both engines promise, and which one a URL means."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from domain.errors import NotReady
from domain.findings import Finding
from domain.limits import LIMITS, Limits
from repositories.engines.backups import Backup, Restored
from repositories.engines.copies import State, Target
from repositories.engines.executors import Executor, Transaction
from repositories.engines.meter import NO_METER, Meter
from repositories.engines.replicas import Replicas
from repositories.engines.revisions import SchemaStatus, Upgrade
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.urls import POSTGRES, parse, parse_replicas

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


class Database(Protocol):
    @property
    def name(self) -> str:
        """For people: engine and place, without credentials."""
        ...

    @property
    def warning(self) -> str | None:
        """What an operator should know about this engine when the server starts."""
        ...

    @property
    def engine(self) -> "AsyncEngine":
        """What sessions compile their statements with, once the database was started. They never connect with it."""
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
        """Where units of work may read besides. They serve once the database was started."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Executor]:
        """All of its reads see the state at the first one. `Limits.snapshots` are in use at most."""
        ...

    @property
    def locks_rows(self) -> bool:
        """Whether several units write at a time, so that rows have locks."""
        ...

    @property
    def commit_order(self) -> sa.Select[Any] | None:
        """What runs before a change is numbered, on an engine whose commits could overtake each other."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Runs a writing unit of work. Leaving it undoes what was not committed. Raises `Busy`."""
        ...

    async def claim(self, executor: Executor, name: str) -> bool:
        """Claim a name until the transaction ends. False if another transaction, in any process, has it."""
        ...

    async def hold(self, executor: Executor, name: str) -> None:
        """Hold a name until the transaction ends, and wait for another one that holds it."""
        ...

    async def note_erasure(self, executor: Transaction) -> None:
        """Note, within the transaction that erases, that the files are to be scrubbed."""
        ...

    async def has_traces(self) -> bool:
        """Whether this process is to scrub the files: what was noted is not done, by whoever was to do it."""
        ...

    async def scrub(self, *, gives_way: bool = True) -> bool:
        """Remove erased rows from the files, as far as this engine can. Returns whether none is left.

        If it gives way to other writers, it may have to be called again.
        """
        ...

    async def start(self) -> None:
        """Get ready to serve. Does nothing if it is ready. Raises `NotReady`, for the operator, if it cannot be."""
        ...

    async def stop(self) -> None: ...

    async def upgrade(self) -> Upgrade:
        """Bring the schema to its head, in a new database too. Any number of processes may do so at once.

        Raises `NotReady` if the database belongs to another program.
        """
        ...

    async def backup(self, to: Path) -> Backup:
        """Copy the directory to a new file, also while it is written to. The copy is checked and counted.

        Raises `NotReady`, on PostgreSQL too, where it says what to run instead.
        """
        ...

    async def restore(self, backup: Path, now: datetime) -> Restored:
        """Put a backup in the place of the directory, at the head of the schema and in a new epoch.

        What was there is kept beside it. Raises `NotReady` if a server is running, and on PostgreSQL, where it says
        what to run instead.
        """
        ...

    def copied(self, *, live: bool) -> AbstractAsyncContextManager[State]:
        """The directory as it is now, to copy it. Unless it is `live`, nobody writes to it until the block ends.

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
        """Look at what this engine needs to serve well. Writes nothing. Raises `NotReady` if it cannot be reached."""
        ...

    async def status(self) -> SchemaStatus:
        """Raises `NotReady` if there is no such database, or if it belongs to another program."""
        ...

    async def require_ready(self) -> None:
        """Raises `Unreachable`, `Damaged`, or `NotReady` if this Roster cannot use the schema."""
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
    """The database of a URL: `sqlite:///file.db`, or `postgresql://user:password@host/name`.

    `serving` says that this process is the server, not a command beside it. Only a server creates a file that is not
    there and, with `auto_upgrade`, upgrades it; `handover_s` is how long it waits for another server to let go of the
    file. And only a server reads from the replicas at `replica_url`, URLs with commas between them. Raises `NotReady`
    for other URLs.
    """
    parsed, replicas = parse(url), parse_replicas(replica_url)
    if parsed.drivername in POSTGRES:
        from repositories.engines.postgres.database import PostgresDatabase  # noqa: PLC0415  # a server on SQLite does not load the driver

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
