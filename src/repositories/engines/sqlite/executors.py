"""Executors on SQLite: reads use shared connections, writes run in transactions, one after the other."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite as sqlite_dialect

from domain.errors import Busy, Refusal
from domain.limits import Limits
from repositories.engines.executors import TransactionState
from repositories.engines.json_rows import ENCODER
from repositories.engines.meter import Kind, Meter, timed
from repositories.engines.schema import read_json
from repositories.engines.sqlite.commits import GroupCommit
from repositories.engines.sqlite.connection import Connection
from repositories.engines.sqlite.errors import translating_errors
from repositories.engines.sqlite.locks import TimedLock
from repositories.engines.sqlite.steps import (
    Step,
    Work,
    execute,
    execute_many,
    fetch,
    run_all,
    run_then,
    step,
    step_and_commit,
    undo,
)
from repositories.engines.statements import Parameters, Prepared, Result, Rows, prepare

T = TypeVar("T")

DIALECT: Final = sqlite_dialect.dialect(json_serializer=ENCODER.encode, json_deserializer=read_json)

STEPS_BETWEEN_CHECKS: Final = 10_000
"""How many instructions SQLite executes between two checks of the time: a fraction of a millisecond."""


class SqliteExecutor:
    """Short reads. They share a connection, whose thread runs several reads each time that it wakes up.

    A read never waits for the connection. The metric "in use" of the pool counts the reads in progress, and the
    duration of a read includes its time in the queue.
    """

    kind: Kind = "read"

    def __init__(self, connection: Connection, meter: Meter) -> None:
        self._connection = connection
        self._meter = meter

    async def fetch(self, statement: sa.Executable, parameters: Parameters | None = None) -> Rows:
        prepared = prepare(statement, DIALECT, parameters)
        work = partial(fetch_rows, prepared, prepared.arguments(parameters))
        rows, are_values = await self._read(work, is_long=prepared.reads_many)
        return rows if are_values else prepared.read(rows)

    async def run(self, sql: str, arguments: Sequence[Any], *, many: bool = False) -> Result:
        return await self._read(partial(execute_many if many else execute, sql, arguments))

    async def _read(self, work: Work[T], *, is_long: bool = False) -> T:
        self._meter.in_use("read", 1)
        try:
            with timed(self._meter, self.kind), translating_errors():
                return await self._connection.read_batched(work, is_long=is_long)
        finally:
            self._meter.in_use("read", -1)


def fetch_rows(prepared: Prepared, arguments: Sequence[Any], connection: sqlite3.Connection) -> tuple[Rows, bool]:
    """The rows, and whether their values are converted to Python values already.

    Large rows are converted here, on the driver's thread, because they would block the event loop. Other rows are
    converted by the caller: otherwise the two threads compete for the interpreter lock (GIL), which takes 5 % of the
    CPU of a list.
    """
    rows = fetch(prepared.sql, arguments, connection)
    return (prepared.read(rows), True) if prepared.is_large(rows) else (rows, False)


class SqliteScanExecutor(SqliteExecutor):
    """Reads that may take long. They run one after the other. Each has a time-out, and so has the wait for its turn."""

    kind = "scan"

    def __init__(self, connection: Connection, lock: TimedLock, meter: Meter, timeout_s: float) -> None:
        super().__init__(connection, meter)
        self._lock = lock
        self._timeout_s = timeout_s

    async def _read(self, work: Work[T], *, is_long: bool = False) -> T:  # noqa: ARG002  # it shares no trip
        await self._lock.acquire()
        try:
            with timed(self._meter, self.kind), translating_errors():
                return await self._connection.run(partial(in_time, work, self._timeout_s))
        finally:
            self._lock.release()


class SqliteSnapshotExecutor(SqliteExecutor):
    """Reads in one transaction on its own connection. While it is open, the log of the file only grows."""

    kind = "scan"

    def __init__(self, connection: Connection, meter: Meter, limits: Limits, log_bytes: Callable[[], int]) -> None:
        super().__init__(connection, meter)
        self._limits = limits
        self._log_bytes = log_bytes

    async def _read(self, work: Work[T], *, is_long: bool = False) -> T:  # noqa: ARG002  # it shares no trip
        if self._log_bytes() > self._limits.log_bytes:
            raise Busy("Too much was written meanwhile, so the state that this stream shows cannot be kept any longer.")
        with timed(self._meter, self.kind), translating_errors():
            return await self._connection.run(partial(in_time, work, self._limits.statement_s))


def in_time(work: Work[T], seconds: float, connection: sqlite3.Connection) -> T:
    """Run a statement, and interrupt it after so many seconds."""
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_CHECKS)
    try:
        return work(connection)
    finally:
        connection.set_progress_handler(None, 0)


class SqliteTransaction(TransactionState):
    """A transaction on the writing connection. It takes the lock of writers with its first statement.

    BEGIN IMMEDIATE is part of the first job for the driver's thread, and COMMIT of the last one. The lock is released
    when the last job is queued, so the first job of the next writer is queued right behind it. Otherwise each writer
    would wait for one more iteration of the event loop.
    """

    def __init__(self, connection: Connection, write_lock: TimedLock, commits: GroupCommit, meter: Meter) -> None:
        self._connection = connection
        self._write_lock = write_lock
        self._commits = commits
        self._meter = meter
        self._has_lock = False
        self._begun = False
        self._waiting: list[Step] = []

    async def fetch(
        self, statement: sa.Executable, parameters: Parameters | None = None, *, last: bool = False
    ) -> Rows:
        prepared = prepare(statement, DIALECT, parameters)
        work = partial(fetch, prepared.sql, prepared.arguments(parameters))
        await self.make_way(statement)
        return prepared.read(await (self._last_step(work) if last else self._step(work)))

    async def write(
        self, statement: sa.Executable, parameters: Parameters | None = None, *, otherwise: Refusal | None = None
    ) -> None:
        self.require_open()
        prepared = prepare(statement, DIALECT, parameters)
        await self.make_way(statement)
        self._waiting.append(Step(prepared.sql, prepared.arguments(parameters), otherwise))

    async def run(self, sql: str, arguments: Sequence[Any], *, many: bool = False) -> Result:
        return await self._step(partial(execute_many if many else execute, sql, arguments))

    @property
    def has_begun(self) -> bool:
        return self._has_lock or bool(self._waiting)

    async def run_alone(
        self,
        statements: Sequence[sa.Executable],
        parameters: Parameters,
        together: sa.Executable | None = None,  # noqa: ARG002  # SQLite needs no other statement to share a COMMIT
    ) -> Rows:
        self.require_open()
        self.has_ended = True
        prepared = [prepare(statement, DIALECT, parameters) for statement in statements]
        steps = [Step(each.sql, each.arguments(parameters)) for each in prepared]
        with translating_errors():
            return prepared[-1].read(await self._commits.run(partial(run_all, steps)))

    async def _step(self, work: Work[T]) -> T:
        await self._lock()
        try:
            with timed(self._meter, "write"), translating_errors():
                result = await self._connection.run(partial(step, self._with_waiting(work), not self._begun))
        except Refusal:
            self.fail()
            raise
        self._begun = True
        return result

    async def _last_step(self, work: Work[T]) -> T:
        await self._lock()
        return await self._end(partial(step_and_commit, self._with_waiting(work), not self._begun), "commit")

    def _with_waiting(self, work: Work[T]) -> Work[T]:
        steps, self._waiting = self._waiting, []
        return partial(run_then, steps, work) if steps else work

    async def _lock(self) -> None:
        self.require_open()
        if not self._has_lock:
            await self._write_lock.acquire()
            self._has_lock = True

    async def commit(self) -> None:
        """Commit. A unit that has only written shares its COMMIT with others."""
        self.require_open()
        steps, self._waiting = self._waiting, []
        if self._begun:
            await self._end(partial(step_and_commit, partial(run_all, steps), False), "commit")
        elif steps:
            self.has_ended = True
            with translating_errors():
                await self._commits.run(partial(run_all, steps), can_wait=self.can_wait)
        self.has_ended = True

    async def rollback(self) -> None:
        self.has_ended = True
        if self._has_lock:
            await self._end(undo, "write")

    async def _end(self, work: Work[T], kind: Kind) -> T:
        """Run the last job of the transaction. It is never interrupted, because then nobody would know whether it
        committed."""
        with timed(self._meter, kind), translating_errors():
            job = self._connection.submit(work)
            self._has_lock = self._begun = False
            self.has_ended = True
            self._write_lock.release()
            return await self._connection.wait_for(job)
