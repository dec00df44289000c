"""SQLite: one file, one writer, many readers.

One server process owns the file, by a lock file beside it. Commands may write while the server runs. In the server one
connection writes. Its transactions begin as IMMEDIATE, because a deferred one that reads before it writes fails under
load. No other connection checkpoints. Short reads share a second connection in autocommit: each is one statement, whose
rows are fetched at once. Reads that may scan a whole table share a third connection, so that short reads do not wait
for them.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from domain.errors import Unreachable
from domain.findings import Finding, Level, finding
from domain.limits import LIMITS, Limits
from repositories.engines import revisions
from repositories.engines.alarms import Alarms
from repositories.engines.executors import Executor, Transaction
from repositories.engines.meter import NO_METER, Meter
from repositories.engines.revisions import SchemaStatus, Upgrade
from repositories.engines.schema import read_json
from repositories.engines.sqlite.commits import GroupCommit
from repositories.engines.sqlite.connection import (
    CHECKPOINTS,
    DURABLE,
    ERASING,
    EVERYWHERE,
    NO_CHECKPOINTS,
    READING,
    Connection,
)
from repositories.engines.sqlite.executors import (
    SqliteExecutor,
    SqliteScanExecutor,
    SqliteSnapshotExecutor,
    SqliteTransaction,
)
from repositories.engines.sqlite.files import (
    create_private,
    is_locked,
    lock_to_upgrade,
    lock_within,
    require_file,
)
from repositories.engines.sqlite.locks import TimedLock
from repositories.engines.sqlite.steps import run
from repositories.engines.sqlite.upkeep.backups import back_up, restore
from repositories.engines.sqlite.upkeep.copies import copied, copied_into
from repositories.engines.sqlite.upkeep.examination import examine, warning_about
from repositories.engines.sqlite.upkeep.scrubber import Scrubber
from repositories.engines.sqlite.upkeep.scrubbing import NOTE_ERASURE, Left, vacuum_file, what_is_left
from repositories.engines.sqlite.upkeep.upgrades import SchemaFile
from repositories.engines.upkeep.backups import Backup, Restored
from repositories.engines.upkeep.copies import State, Target
from repositories.engines.upkeep.scrubbing import Scrubbed, Vacuumed

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

NOT_STARTED: Final = "the database was not started"


class SqliteDatabase:
    """The directory in one file. With `serving` it takes the lock of the file, because a file can have only one server.

    It waits up to `handover_s` seconds for the previous server to release the lock.
    """

    commit_order = None  # one unit writes at a time, so commits are in order
    locks_rows = False
    replicas = None

    def __init__(
        self,
        path: Path,
        *,
        serving: bool,
        pool_timeout_s: float,
        auto_upgrade: bool = True,
        handover_s: float = 0,
        limits: Limits = LIMITS,
        meter: Meter = NO_METER,
    ) -> None:
        path = path.absolute()
        self.name = f"SQLite {sqlite3.sqlite_version}, {path}"
        self.warning = warning_about(sqlite3.sqlite_version_info)
        self._path = path
        self._log = Path(f"{path}-wal")
        self._serving = serving
        self._auto_upgrade = auto_upgrade
        self._handover_s = handover_s
        self._lock: int | None = None
        self._writing: Connection | None = None
        self._commits: GroupCommit | None = None
        self._reading: Connection | None = None
        self._scanning: Connection | None = None
        self._limits = limits
        self._meter = Alarms(meter, self.name)
        self._write_lock = TimedLock(
            "write", pool_timeout_s, self._meter, "Too many writes are waiting. Try again shortly."
        )
        self._scan_lock = TimedLock(
            "scan", pool_timeout_s, self._meter, "Too many searches are waiting. Try again shortly."
        )
        self._checkpoints = CHECKPOINTS if serving else NO_CHECKPOINTS
        self._durable = (*DURABLE, self._checkpoints)
        self._schema = SchemaFile(path, self._durable)

    @cached_property
    def engine(self) -> "AsyncEngine":
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415  # it imports the ORM

        return create_async_engine("sqlite+aiosqlite://", json_deserializer=read_json, hide_parameters=True)

    @property
    def reader(self) -> SqliteExecutor:
        assert self._reading is not None, NOT_STARTED  # noqa: S101
        return SqliteExecutor(self._reading, self._meter)

    @property
    def scans(self) -> SqliteExecutor:
        assert self._scanning is not None, NOT_STARTED  # noqa: S101
        return SqliteScanExecutor(self._scanning, self._scan_lock, self._meter, self._limits.statement_s)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SqliteSnapshotExecutor]:
        connection = await self._open(READING)
        self._meter.in_use("stream", 1)
        try:
            await connection.read(partial(run, "BEGIN"))
            yield SqliteSnapshotExecutor(connection, self._meter, self._limits, self.log_bytes)
        finally:
            self._meter.in_use("stream", -1)
            await connection.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteTransaction]:
        assert self._writing is not None and self._commits is not None, NOT_STARTED  # noqa: S101, PT018
        self._meter.require_undamaged()  # writes to such a file would be lost when the backup is restored
        transaction = SqliteTransaction(self._writing, self._write_lock, self._commits, self._meter)
        try:
            yield transaction
        finally:
            await transaction.rollback()

    async def start(self) -> None:
        if self._reading is not None:
            return
        await self._prepare()
        try:
            size_limit = f"PRAGMA journal_size_limit={self._limits.log_kept_bytes}"
            self._writing = await self._open((*self._durable, *EVERYWHERE, *ERASING, size_limit), writes=True)
            self._commits = GroupCommit(self._writing, self._write_lock, self._meter)
            self._scanning = await self._open(READING)
            self._reading = await self._open(READING)
            self._meter.size("write", 1)
            self._meter.size("scan", 1)
            self._meter.log(self.log_bytes)
            self._meter.size("stream", self._limits.snapshots)
        except BaseException:
            await self.stop()
            raise

    async def _prepare(self) -> None:
        """Lock, create and upgrade the file, if this process is the server. A command only checks the file."""
        if not self._serving:
            (await self.status()).require_usable()
            return
        create_private(self._path)
        await asyncio.to_thread(self._schema.require_own)  # before any file is created beside it
        self._lock = await lock_within(self._path, self._handover_s)
        try:
            if not self._auto_upgrade and (status := await self.status()).current is not None:
                status.require_usable()
            await self.upgrade()
        except BaseException:
            await self.stop()
            raise

    def log_bytes(self) -> int:
        """The size of the write-ahead log, in bytes."""
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0

    async def _open(self, pragmas: Sequence[str], *, writes: bool = False) -> Connection:
        connection = Connection(self._path, pragmas, writes=writes)
        await connection
        return connection

    async def stop(self) -> None:
        if self._commits is not None:
            await self._commits.stop()
        for connection in filter(None, (self._reading, self._scanning, self._writing)):
            await connection.close()
        self._reading = self._scanning = self._writing = self._commits = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def upgrade(self) -> Upgrade:
        """Upgrade the schema to the newest revision. A file that has a schema already is copied first.

        Foreign keys are off, because Alembic alters a table by copying it, which would delete the rows that refer to
        it. A running server may not know the newer schema: if there is one, a command raises `NotReady`.
        """
        create_private(self._path)
        beside = self._lock is None and (await self.status()).is_behind
        lock = await lock_to_upgrade(self._path) if beside else None
        try:
            upgrade = await asyncio.to_thread(self._schema.upgrade)
        finally:
            if lock is not None:
                os.close(lock)
        upgrade.tell(self.name)
        return upgrade

    async def status(self) -> SchemaStatus:
        require_file(self._path)
        return await asyncio.to_thread(self._schema.status)

    async def examine(self) -> Sequence[Finding]:
        require_file(self._path)
        library = finding("sqlite", self.warning or self.name, ok=not self.warning, fix="", worst=Level.WARN)
        return [library, *await asyncio.to_thread(lambda: list(examine(self._path)))]

    async def backup(self, to: Path) -> Backup:
        return await asyncio.to_thread(back_up, self._path, to)

    async def restore(self, backup: Path, now: datetime) -> Restored:
        def begin(file: Path, beyond: int) -> int:
            copy = SchemaFile(file, self._durable, alone=True)
            copy.upgrade(keeps_copy=False)
            copy.status().require_head()
            return copy.begin_epoch(now, beyond)

        return await asyncio.to_thread(restore, self._path, backup, begin)

    def copied(self, *, live: bool) -> AbstractAsyncContextManager[State]:
        return copied(self._path, live=live)

    def copied_into(self) -> AbstractAsyncContextManager[Target]:
        return copied_into(self._path, SchemaFile(self._path, self._durable, alone=True))

    async def begin_epoch(self, now: datetime, *, beyond: int = 0) -> int:
        (await self.status()).require_head()
        return await asyncio.to_thread(self._schema.begin_epoch, now, beyond)

    async def claim(self, executor: Executor, name: str) -> bool:  # noqa: ARG002
        return True  # only one process writes, and it knows its own claims

    async def hold(self, executor: Executor, name: str) -> None:
        """Nothing to do: one unit writes at a time."""

    async def note_erasure(self, executor: Transaction) -> None:
        await executor.run(NOTE_ERASURE, ())

    async def has_traces(self) -> bool:
        assert self._writing is not None, NOT_STARTED  # noqa: S101
        return self._serving and bool(await self._writing.read(what_is_left) & ~Left.MOVED_COPIES)

    async def scrub(self, *, gives_way: bool = True) -> Scrubbed:
        """Rewrite the file, if it is not too large, and empty its log. In a command it does nothing, and the server
        does both."""
        assert self._writing is not None, NOT_STARTED  # noqa: S101
        if not self._serving and is_locked(self._path):
            return Scrubbed.NOT_YET
        scrubber = Scrubber(self._writing, self._write_lock, self._log, self._checkpoints)
        return await scrubber.scrub(gives_way=gives_way)

    async def vacuum(self) -> Vacuumed:
        (await self.status()).require_usable()
        return await asyncio.to_thread(vacuum_file, self._path)

    async def require_sessions(self) -> None:
        """There is nothing between it and its file."""

    async def require_ready(self) -> None:
        self._meter.require_undamaged()
        try:
            status = await revisions.current_status(self.reader)
        except sqlite3.Error as error:
            raise Unreachable from error
        status.require_usable()
