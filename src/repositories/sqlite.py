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
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from domain.errors import Busy, Conflict, Contended, NotReady, Refusal, Uncertain
from repositories import migrations
from repositories.lanes import MAX_SNAPSHOTS, Lane, Parameters, Prepared, Rows, Snapshots, prepare
from repositories.meter import NO_METER, Kind, Meter
from repositories.migrations import SchemaStatus

T = TypeVar("T")

BUSY_TIMEOUT_MS: Final = 3000
"""How long a statement waits while another process (a command beside the server) writes."""

INTERRUPT_EVERY_S: Final = 0.01

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
READ_ONLY: Final = ("PRAGMA query_only=ON",)

WAL_RESET_FIXED_IN: Final = (3, 51, 3)
"""Before it, two connections that write or checkpoint in the same instant may corrupt a file. Hence one writer."""


class Connection(aiosqlite.Connection):
    """A connection whose statements take one trip to the driver's thread: execute, fetch and close together.

    The stock one takes a trip for each, and a task cancelled between them leaves the statement open and with it
    the file locked until the garbage collector comes by. Here a cancelled task interrupts its statement and waits
    until it has left the connection. The connection is therefore not to be shared by tasks, except to read through
    `execute_fetchall`, which interrupts nothing.
    """

    def __init__(self, path: Path, pragmas: Iterable[str]) -> None:
        super().__init__(partial(open_file, path, tuple(pragmas)), iter_chunk_size=64)
        self._thread.daemon = True
        self._begins = False

    async def _connect(self) -> aiosqlite.Connection:
        try:
            return await super()._connect()
        except sqlite3.Error:
            # The driver has told its thread to end but does not wait: it would report to a loop that may be closed.
            await asyncio.to_thread(self._thread.join)
            raise

    def begin(self) -> None:
        """Have the next statement begin a transaction in the same trip."""
        self._begins = True

    def cursor(self) -> "OneTripCursor":  # type: ignore[override]
        return OneTripCursor(self)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        begins, self._begins = self._begins, False
        return await self.trip(partial(begin_and, work) if begins else work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read something that others' reads may stand behind: whoever is cancelled leaves it to come to its end."""
        result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        return result

    async def commit(self) -> None:
        # Not to be interrupted: whoever is cancelled here has committed or has not, and the connection knows.
        if self._begins or not self.in_transaction:
            self._begins = False
        else:
            await self.trip(sqlite3.Connection.commit, interruptible=False)

    async def rollback(self) -> None:
        if self._begins or not self.in_transaction:
            self._begins = False
        else:
            await self.trip(sqlite3.Connection.rollback, interruptible=False)

    async def trip(self, work: Callable[[sqlite3.Connection], T], *, interruptible: bool = True) -> T:
        """Do something on the driver's thread. If the task is cancelled meanwhile, nothing of it goes on."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((future, partial(work, self._conn)))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                if interruptible:
                    self._conn.interrupt()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([future], timeout=INTERRUPT_EVERY_S)
            future.exception()  # seen, not raised: the cancellation is
            raise


class OneTripCursor:
    """The part of a driver's cursor that SQLAlchemy asks for."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._rows: list[Any] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> None:
        await self._connection.run(partial(self._execute, sqlite3.Cursor.execute, sql, parameters))

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> None:
        await self._connection.run(partial(self._execute, sqlite3.Cursor.executemany, sql, parameters))

    def _execute(
        self, method: Callable[..., Any], sql: str, parameters: Iterable[Any], connection: sqlite3.Connection
    ) -> None:
        cursor = connection.cursor()
        try:
            method(cursor, sql, parameters)
            self._rows = cursor.fetchall()
            self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()

    async def fetchall(self) -> list[Any]:
        return self._rows

    async def close(self) -> None:
        """Nothing is left open after `execute`."""


def begin_and(work: Callable[[sqlite3.Connection], T], connection: sqlite3.Connection) -> T:
    connection.execute("BEGIN IMMEDIATE").close()
    return work(connection)


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


def open_file(path: Path, pragmas: Iterable[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False)
    for pragma in pragmas:
        connection.execute(pragma).close()
    return connection


class SqliteLane:
    """Reads straight on the driver. Tasks share the connection, so that its thread serves several per wake-up.

    So nobody waits to be given it: what is in use are the reads under way, and their time is that in the queue too.
    """

    kind: Kind = "read"

    def __init__(self, connection: Connection, dialect: sa.Dialect, meter: Meter) -> None:
        self._connection = connection
        self._dialect = dialect
        self._meter = meter

    async def rows(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        prepared = prepare(statement, self._dialect)
        self._meter.in_use("read", 1)
        started = time.perf_counter()
        try:
            rows = await self._fetch(prepared, prepared.arguments(parameters))
        except sqlite3.Error as error:
            raise (refuse(error) or error) from error
        finally:
            self._meter.took(self.kind, time.perf_counter() - started)
            self._meter.in_use("read", -1)
        return prepared.read(list(rows))

    async def _fetch(self, prepared: Prepared, arguments: Sequence[Any]) -> Iterable[Any]:
        return await self._connection.execute_fetchall(prepared.sql, arguments)


class ScanLane(SqliteLane):
    """Reads that may take long, each for `SCAN_TIMEOUT_S` at the most: those behind it wait for the connection."""

    kind = "scan"

    async def _fetch(self, prepared: Prepared, arguments: Sequence[Any]) -> Iterable[Any]:
        return await self._connection.read(partial(fetch_in_time, prepared.sql, arguments, SCAN_TIMEOUT_S))


class SqliteDatabase:
    """The directory in one file. With `serving` it takes the file's lock: one server process for each file."""

    order_commits = None  # one writer at a time: they are in order

    def __init__(self, path: Path, *, serving: bool, pool_timeout_s: float, meter: Meter = NO_METER) -> None:
        self.name = f"SQLite {sqlite3.sqlite_version}, {path}"
        self.warning = warning_about(sqlite3.sqlite_version_info)
        self._path = path
        self._serving = serving
        self._lock: int | None = None
        self._reading: Connection | None = None
        self._scanning: Connection | None = None
        self._meter = meter
        self._snapshots = Snapshots()
        self._durable = DURABLE if serving else (*DURABLE, *NO_CHECKPOINTS)
        self._writer = self._engine((*self._durable, *EVERYWHERE, *ERASING), pool_timeout_s)

    def _engine(self, pragmas: Iterable[str], pool_timeout_s: float) -> AsyncEngine:
        """An engine with a single connection, whose transactions begin as IMMEDIATE."""
        engine = create_async_engine(
            sa.URL.create("sqlite+aiosqlite", database=str(self._path)),
            async_creator=partial(Connection, self._path, pragmas),
            pool_size=1,
            max_overflow=0,
            pool_timeout=pool_timeout_s,
            hide_parameters=True,  # they are not for logs
        )
        sa.event.listen(engine.sync_engine, "begin", begin_immediately)
        return engine

    @property
    def reader(self) -> SqliteLane:
        assert self._reading is not None, "the database was not started"  # noqa: S101
        return SqliteLane(self._reading, self._writer.dialect, self._meter)

    @property
    def scans(self) -> SqliteLane:
        assert self._scanning is not None, "the database was not started"  # noqa: S101
        return ScanLane(self._scanning, self._writer.dialect, self._meter)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SqliteLane]:
        async with self._snapshots.place():
            connection = await self._open_to_read()
            self._meter.in_use("stream", 1)
            try:
                await connection.execute_fetchall("BEGIN")
                yield ScanLane(connection, self._writer.dialect, self._meter)
            finally:
                self._meter.in_use("stream", -1)
                await connection.close()

    def session(self) -> AsyncSession:
        return AsyncSession(self._writer)

    async def start(self) -> None:
        if self._reading is not None:
            return
        create_private(self._path)
        if self._serving:
            self._lock = lock(self._path)
        try:
            await self.upgrade()
            self._scanning = await self._open_to_read()
            self._reading = await self._open_to_read()
        except BaseException:
            await self.stop()
            raise
        self._meter.size("stream", MAX_SNAPSHOTS)

    async def _open_to_read(self) -> Connection:
        connection = Connection(self._path, (*EVERYWHERE, *NO_CHECKPOINTS, *READ_ONLY))
        await connection
        return connection

    async def stop(self) -> None:
        for connection in filter(None, (self._reading, self._scanning)):
            await connection.close()
        self._reading = self._scanning = None
        await self._writer.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def upgrade(self) -> None:
        """Bring the schema to its head, with foreign keys off: altering a table by copying it would cascade."""
        engine = self._engine(self._durable, BUSY_TIMEOUT_MS / 1000)
        try:
            async with self._opened(engine) as connection:
                await connection.run_sync(migrations.upgrade)
                await connection.run_sync(check_foreign_keys)
        finally:
            await engine.dispose()

    async def status(self) -> SchemaStatus:
        if not self._path.exists():  # nor is it to, for having been asked about
            return SchemaStatus(current=None, head=migrations.head(), known=True)
        async with self._opened(self._writer) as connection:
            return await connection.run_sync(migrations.status)

    @asynccontextmanager
    async def _opened(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        create_private(self._path)
        try:
            async with engine.begin() as connection:
                yield connection
        except sa.exc.DatabaseError as error:
            raise NotReady(f"{self._path} cannot be opened as a SQLite database: {error.orig}.") from error

    async def claim(self, lane: Lane, name: str) -> bool:  # noqa: ARG002
        return True  # one process writes, and it knows the names that are held

    async def scrub(self) -> None:
        """Rewrite the file if it is not too large, and empty the log, which still has what was erased, into it.

        If other writes hold the connection for too long, a later erasure does it.
        """
        with suppress(sa.exc.TimeoutError):
            async with self._writer.connect() as connection:
                driver = (await connection.get_raw_connection()).driver_connection
                assert isinstance(driver, Connection)  # noqa: S101
                await driver.trip(rewrite)

    async def is_ready(self) -> bool:
        try:
            ((current,),) = await self.reader.rows(migrations.CURRENT)
        except (Refusal, sqlite3.Error):
            return False
        return bool(current == migrations.head())

    def refuse(self, error: Exception) -> Refusal | None:
        return refuse(error)

    def refuse_commit(self, error: Exception) -> Refusal | None:
        if code_of(error) == "SQLITE_IOERR_FSYNC":
            return Uncertain("The disk did not confirm the change. It may have been stored or not.")
        return refuse(error)


def begin_immediately(connection: sa.Connection) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, Connection)  # noqa: S101
    driver.begin()


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


def code_of(error: Exception) -> str:
    original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return getattr(original, "sqlite_errorname", "")


def refuse(error: Exception) -> Refusal | None:
    """Which refusal an error of the driver is; None if it is a defect."""
    if isinstance(error, sa.exc.TimeoutError):
        return Busy("Too many writes are waiting. Try again shortly.")
    code = code_of(error)
    if code in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"):
        return Conflict(field_in(str(error)))
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Contended("Another process is writing.")
    if code == "SQLITE_INTERRUPT":
        return Busy("This takes too long. Ask for less, or by a key.")
    if code == "SQLITE_FULL":
        return Busy("The database has no room left.")
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
