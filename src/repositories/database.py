"""The database behind the stores: what both engines promise, and which one a URL means."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol

import sqlalchemy as sa

from domain.errors import NotReady
from repositories.lanes import Lane, Transaction
from repositories.meter import NO_METER, Meter
from repositories.migrations import SchemaStatus
from repositories.sqlite import SqliteDatabase


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
    def reader(self) -> Lane:
        """The way of reading units of work."""
        ...

    @property
    def scans(self) -> Lane:
        """The way of what they read that may take long, and keeps nothing else waiting."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Lane]:
        """A way whose reads are all of the moment of the first. Raises `Busy` while `MAX_SNAPSHOTS` are in use."""
        ...

    @property
    def commit_order(self) -> sa.Select[Any] | None:
        """What runs before a change is numbered, where commits could overtake each other; else nothing."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """The way of a writing unit of work. Leaving it undoes what was not committed. Raises `Busy`."""
        ...

    async def claim(self, lane: Lane, name: str) -> bool:
        """Hold a name, across all processes, until the transaction ends; False if another one holds it."""
        ...

    async def scrub(self) -> None:
        """Leave no trace in the files of what was erased just now, as far as that is in this engine's power."""
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
        from repositories.postgres import PostgresDatabase  # noqa: PLC0415  # nor its driver, for a server on SQLite

        return PostgresDatabase(parsed, pool_size=pool_size, pool_timeout_s=pool_timeout_s, meter=meter)
    if parsed.drivername not in SQLITE:
        raise NotReady("The database URL begins with sqlite:/// or postgresql://.")
    if not parsed.database or parsed.database == ":memory:":
        raise NotReady("SQLite needs a file, as in sqlite:///roster.db: in memory all requests share a transaction.")
    return SqliteDatabase(Path(parsed.database), serving=serving, pool_timeout_s=pool_timeout_s, meter=meter)


def parse(url: str) -> sa.URL:
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # whose texts quote the URL, and it may hold a password
        raise NotReady("The database URL cannot be read. It looks like sqlite:///roster.db.") from None
