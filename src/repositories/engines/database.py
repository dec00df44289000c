"""The database behind the stores: what both engines promise, and which one a URL means."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import sqlalchemy as sa

from domain.errors import NotReady
from repositories.engines.executors import Executor, Transaction
from repositories.engines.meter import NO_METER, Meter
from repositories.engines.revisions import SchemaStatus
from repositories.engines.sqlite.database import SqliteDatabase

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

    def snapshot(self) -> AbstractAsyncContextManager[Executor]:
        """All of its reads see the state at the first one. Raises `Busy` while `MAX_SNAPSHOTS` are in use."""
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

    async def scrub(self) -> None:
        """Remove erased rows from the files, as far as this engine can."""
        ...

    async def start(self) -> None:
        """Get ready to serve; nothing, if it is. Raises `NotReady`, for an operator, if that cannot be."""
        ...

    async def stop(self) -> None: ...

    async def upgrade(self) -> None:
        """Bring the schema to its head. Any number of processes may do so at once."""
        ...

    async def status(self) -> SchemaStatus: ...

    async def is_ready(self) -> bool:
        """Whether reads are answered and the schema is at its head."""
        ...


POSTGRES: Final = {"postgres", "postgresql", "postgresql+asyncpg"}
SQLITE: Final = {"sqlite", "sqlite+aiosqlite"}


def database_at(url: str, *, serving: bool, pool_size: int, pool_timeout_s: float, meter: Meter = NO_METER) -> Database:
    """The database of a URL: `sqlite:///file.db`, or `postgresql://user:password@host/name`.

    `serving` says that this process is the server, not a command beside it. Raises `NotReady` for other URLs.
    """
    parsed = parse(url)
    if parsed.drivername in POSTGRES:
        from repositories.engines.postgres.database import PostgresDatabase  # noqa: PLC0415  # a server on SQLite does not load the driver

        return PostgresDatabase(parsed, pool_size=pool_size, pool_timeout_s=pool_timeout_s, meter=meter)
    if parsed.drivername not in SQLITE:
        raise NotReady("The database URL begins with sqlite:/// or postgresql://.")
    if not parsed.database or parsed.database == ":memory:":
        raise NotReady("SQLite needs a file, as in sqlite:///roster.db: in memory all requests share a transaction.")
    return SqliteDatabase(Path(parsed.database), serving=serving, pool_timeout_s=pool_timeout_s, meter=meter)


def parse(url: str) -> sa.URL:
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # their texts quote the URL, which may hold a password
        raise NotReady("The database URL cannot be read. It looks like sqlite:///roster.db.") from None
