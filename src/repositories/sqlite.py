"""SQLite: one file, one writer, many readers.

One process serves a file, held by a lock beside it; commands may write beside the server. In that process one
connection writes, in transactions that begin as IMMEDIATE (a deferred one that reads before it writes fails under
load), and it alone checkpoints. Reads share a second connection in autocommit: each is one statement, fetched whole.
Those that may read a whole table share a third one, so that no short read waits for them.
"""

import asyncio
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite as sqlite_dialect

from domain.errors import Busy, Conflict, Contended, NotReady, Refusal, Uncertain
from repositories import migrations
from repositories.lanes import MAX_SNAPSHOTS, Lane, Parameters, Prepared, Rows, Snapshots, prepare
from repositories.meter import NO_METER, Kind, Meter, timed
from repositories.migrations import SchemaStatus
from repositories.schema import read_json
from repositories.sqlite_connection import Connection, commit, fetch, open_file, run, step, step_and_commit, undo

T = TypeVar("T")

DIALECT: Final = sqlite_dialect.dialect(json_deserializer=read_json)

SCAN_TIMEOUT_S: Final = 15
STEPS_BETWEEN_LOOKS: Final = 10_000
"""How many instructions SQLite carries out between two looks at the clock: fractions of a millisecond."""

DURABLE: Final = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL")
"""FULL, since NORMAL loses every write since the last checkpoint when the power fails."""

ERASING: Final = ("PRAGMA secure_delete=ON",)
"""What is deleted is overwritten with zeros, so that an erased person is in the file no more."""

REWRITTEN_BYTES: Final = 64 * 1024 * 1024
"""Up to this size the file is rewritten after an erasure: when SQLite splits a page it leaves copies of the rows that
it moved, which nothing overwrites. Rewriting more would keep other writes waiting: that is for an operator (VACUUM)."""

EVERYWHERE: Final = ("PRAGMA foreign_keys=ON", "PRAGMA temp_store=MEMORY")
NO_CHECKPOINTS: Final = ("PRAGMA wal_autocheckpoint=0",)
TO_READ: Final = (*EVERYWHERE, *NO_CHECKPOINTS, "PRAGMA query_only=ON")

NOT_STARTED: Final = "the database was not started"

WAL_RESET_FIXED_IN: Final = (3, 51, 3)
"""Before it, two connections that write or checkpoint in the same instant may corrupt a file. Hence one writer."""


def rewrite(connection: sqlite3.Connection) -> None:
    """Whatever comes in between, the erasure is committed: there is nothing to refuse any more."""
    with suppress(sqlite3.Error):
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        ((page_bytes,),) = connection.execute("PRAGMA page_size").fetchall()
        if pages * page_bytes <= REWRITTEN_BYTES:
            connection.execute("VACUUM").close()
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


def fetch_in_time(sql: str, arguments: Sequence[Any], seconds: float, connection: sqlite3.Connection) -> list[Any]:
    """All rows. Interrupted, as SQLite calls it, when the time is over."""
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_LOOKS)
    try:
        return connection.execute(sql, arguments).fetchall()
    finally:
        connection.set_progress_handler(None, 0)


class SqliteLane:
    """Reads that share a connection, so that its thread serves several per wake-up.

    So nobody waits to be given it: what is in use are the reads under way, and their time is that in the queue too.
    """

    kind: Kind = "read"

    def __init__(self, connection: Connection, meter: Meter) -> None:
        self._connection = connection
        self._meter = meter

    async def rows(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        prepared = prepare(statement, DIALECT, parameters)
        self._meter.in_use("read", 1)
        try:
            with timed(self._meter, self.kind), refusing():
                rows = await self._fetch(prepared, prepared.arguments(parameters))
        finally:
            self._meter.in_use("read", -1)
        return prepared.read(rows)

    async def _fetch(self, prepared: Prepared, arguments: Sequence[Any]) -> Rows:
        return await self._connection.read_together(partial(fetch, prepared.sql, arguments))


class ScanLane(SqliteLane):
    """Reads that may take long, each for `SCAN_TIMEOUT_S` at the most: those behind it wait for the connection."""

    kind = "scan"

    async def _fetch(self, prepared: Prepared, arguments: Sequence[Any]) -> Rows:
        return await self._connection.read(partial(fetch_in_time, prepared.sql, arguments, SCAN_TIMEOUT_S))


class Turns:
    """Who may use the connection that writes: one after the other, in the order in which they ask."""

    def __init__(self, timeout_s: float, meter: Meter) -> None:
        self._timeout_s = timeout_s
        self._meter = meter
        self._lock = asyncio.Lock()

    async def take(self) -> None:
        """Raises `Busy`."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._lock.acquire()
        except TimeoutError:
            raise Busy("Too many writes are waiting. Try again shortly.") from None
        finally:
            self._meter.waited("write", time.perf_counter() - started)
        self._meter.in_use("write", 1)

    def leave(self) -> None:
        self._meter.in_use("write", -1)
        self._lock.release()


class SqliteTransaction:
    """A transaction on the connection that writes. It takes its turn with its first statement.

    It begins, as IMMEDIATE, in the same trip as that, and ends in the trip of its last one. Once that is under way the
    turn is the next one's, whose trip comes behind it: under load a writer would wait for the event loop once more.
    """

    def __init__(self, connection: Connection, turns: Turns, meter: Meter) -> None:
        self._connection = connection
        self._turns = turns
        self._meter = meter
        self._has_turn = False
        self._begun = False

    async def rows(self, statement: sa.Executable, parameters: Parameters | None = None, *, last: bool = False) -> Rows:
        prepared = prepare(statement, DIALECT, parameters)
        arguments = prepared.arguments(parameters)
        if not self._has_turn:
            await self._turns.take()
            self._has_turn = True
        if last:
            ending = partial(step_and_commit, prepared.sql, arguments, not self._begun)
            return prepared.read(await self._end(ending, "commit"))
        rows = await self._trip(partial(step, prepared.sql, arguments, not self._begun))
        self._begun = True
        return prepared.read(rows)

    async def commit(self) -> None:
        if self._begun:
            await self._end(commit, "commit")

    async def rollback(self) -> None:
        if self._has_turn:
            await self._end(undo, "write")

    async def _trip(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with timed(self._meter, "write"), refusing():
            return await self._connection.trip(work)

    async def _end(self, work: Callable[[sqlite3.Connection], T], kind: Kind) -> T:
        """It is not to be interrupted: whoever is cancelled in a COMMIT has committed or has not."""
        with timed(self._meter, kind), refusing():
            under_way = self._connection.send(work)
            self._has_turn = self._begun = False
            self._turns.leave()
            return await self._connection.end_of(under_way)


class SqliteDatabase:
    """The directory in one file. With `serving` it takes the file's lock: one server process for each file."""

    commit_order = None  # one writer at a time: they are in order

    def __init__(self, path: Path, *, serving: bool, pool_timeout_s: float, meter: Meter = NO_METER) -> None:
        self.name = f"SQLite {sqlite3.sqlite_version}, {path}"
        self.warning = warning_about(sqlite3.sqlite_version_info)
        self._path = path
        self._serving = serving
        self._lock: int | None = None
        self._writing: Connection | None = None
        self._reading: Connection | None = None
        self._scanning: Connection | None = None
        self._turns = Turns(pool_timeout_s, meter)
        self._meter = meter
        self._snapshots = Snapshots()
        self._durable = DURABLE if serving else (*DURABLE, *NO_CHECKPOINTS)

    @property
    def reader(self) -> SqliteLane:
        assert self._reading is not None, NOT_STARTED  # noqa: S101
        return SqliteLane(self._reading, self._meter)

    @property
    def scans(self) -> SqliteLane:
        assert self._scanning is not None, NOT_STARTED  # noqa: S101
        return ScanLane(self._scanning, self._meter)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SqliteLane]:
        async with self._snapshots.place():
            connection = await self._open(TO_READ)
            self._meter.in_use("stream", 1)
            try:
                await connection.read(partial(run, "BEGIN"))
                yield ScanLane(connection, self._meter)
            finally:
                self._meter.in_use("stream", -1)
                await connection.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteTransaction]:
        assert self._writing is not None, NOT_STARTED  # noqa: S101
        transaction = SqliteTransaction(self._writing, self._turns, self._meter)
        try:
            yield transaction
        finally:
            await transaction.rollback()

    async def start(self) -> None:
        if self._reading is not None:
            return
        create_private(self._path)
        if self._serving:
            self._lock = lock(self._path)
        try:
            await self.upgrade()
            self._writing = await self._open((*self._durable, *EVERYWHERE, *ERASING))
            self._scanning = await self._open(TO_READ)
            self._reading = await self._open(TO_READ)
            self._meter.size("write", 1)
            self._meter.size("stream", MAX_SNAPSHOTS)
        except BaseException:
            await self.stop()
            raise

    async def _open(self, pragmas: Sequence[str]) -> Connection:
        connection = Connection(self._path, pragmas)
        await connection
        return connection

    async def stop(self) -> None:
        for connection in filter(None, (self._reading, self._scanning, self._writing)):
            await connection.close()
        self._reading = self._scanning = self._writing = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def upgrade(self) -> None:
        """Bring the schema to its head, with foreign keys off: altering a table by copying it would cascade."""
        await asyncio.to_thread(self._upgrade)

    def _upgrade(self) -> None:
        with self._opened() as connection:
            migrations.upgrade(connection)
            check_foreign_keys(connection)

    async def status(self) -> SchemaStatus:
        if not self._path.exists():  # nor is it to, for having been asked about
            return SchemaStatus(current=None, head=migrations.head(), known=True)
        return await asyncio.to_thread(self._status)

    def _status(self) -> SchemaStatus:
        with self._opened() as connection:
            return migrations.status(connection)

    @contextmanager
    def _opened(self) -> Iterator[sa.Connection]:
        """A connection of SQLAlchemy's, for Alembic, in a transaction that writes."""
        create_private(self._path)
        engine = sa.create_engine(
            "sqlite://",
            creator=partial(open_file, self._path, self._durable),
            poolclass=sa.NullPool,
            hide_parameters=True,  # they are not for logs
        )
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        try:
            with engine.begin() as connection:
                yield connection
        except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
            reason = error.orig if isinstance(error, sa.exc.DatabaseError) else error
            raise NotReady(f"{self._path} cannot be opened as a SQLite database: {reason}.") from error

    async def claim(self, lane: Lane, name: str) -> bool:  # noqa: ARG002
        return True  # one process writes, and it knows the names that are held

    async def scrub(self) -> None:
        """Rewrite the file if it is not too large, and empty the log, which still has what was erased, into it.

        If other writes hold the connection for too long, a later erasure does it.
        """
        assert self._writing is not None, NOT_STARTED  # noqa: S101
        with suppress(Busy):
            await self._turns.take()
            try:
                await self._writing.trip(rewrite)
            finally:
                self._turns.leave()

    async def is_ready(self) -> bool:
        try:
            ((current,),) = await self.reader.rows(migrations.CURRENT)
        except (Refusal, sqlite3.Error):
            return False
        return bool(current == migrations.head())


def check_foreign_keys(connection: sa.Connection) -> None:
    if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all():
        tables = ", ".join(sorted({row[0] for row in broken}))
        raise NotReady(f"The upgrade would leave {len(broken)} rows without their parent (tables: {tables}).")


def create_private(path: Path) -> None:
    """An empty file that only its owner reads, unless there is a file already; SQLite's companions follow its mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise NotReady(f"{path} cannot be opened: {error.strerror}.") from error


def lock(path: Path) -> int:
    """Hold the lock of a file's server until the descriptor is closed, by this process or by its end."""
    try:
        descriptor = os.open(f"{path}-lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise NotReady(f"{path}-lock cannot be opened: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise NotReady(
            f"Another server has {path} open. SQLite is for one server process; more of them need PostgreSQL."
        ) from error
    return descriptor


@contextmanager
def refusing() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise (refuse(error) or error) from error


def refuse(error: sqlite3.Error) -> Refusal | None:
    """Which refusal an error of the driver is; None if it is a defect."""
    code = getattr(error, "sqlite_errorname", "")
    if code in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"):
        return Conflict(field_in(str(error)))
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Contended("Another process is writing.")
    if code == "SQLITE_INTERRUPT":
        return Busy("This takes too long. Ask for less, or by a key.")
    if code == "SQLITE_FULL":
        return Busy("The database has no room left.")
    if code == "SQLITE_IOERR_FSYNC":
        return Uncertain("The disk did not confirm the change. It may have been stored or not.")
    return None


def field_in(message: str) -> str:
    """`UNIQUE constraint failed: users.email_key` speaks of the field email, whose folded form is the key."""
    match = re.search(r"UNIQUE constraint failed: \w+\.(\w+)", message)
    assert match is not None, message  # noqa: S101
    return match[1].removesuffix("_key")


def warning_about(version: tuple[int, ...]) -> str | None:
    if version >= WAL_RESET_FIXED_IN:
        return None
    return (
        "This SQLite has the WAL-reset bug, mended in 3.51.3: do not let any other program write to the file "
        "or checkpoint it while Roster serves it."
    )
