"""A connection to a SQLite file. Each statement is one job for the driver's thread."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import aiosqlite

from repositories.engines.sqlite.steps import BUSY_TIMEOUT_MS, Work, run
from repositories.engines.sqlite.writers import OpenFiles, WriterLock, WritingConnection

T = TypeVar("T")

DURABLE: Final = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL")
"""With NORMAL instead of FULL, a power cut loses every write since the last checkpoint."""

ERASING: Final = ("PRAGMA secure_delete=ON",)
"""Deleted rows are overwritten with zeros, so that data of erased people does not stay in the file."""

EVERYWHERE: Final = ("PRAGMA foreign_keys=ON", "PRAGMA temp_store=MEMORY")
CHECKPOINTS: Final = "PRAGMA wal_autocheckpoint=1000"
"""A COMMIT checkpoints the log if it has a thousand pages or more, which is SQLite's default."""

NO_CHECKPOINTS: Final = "PRAGMA wal_autocheckpoint=0"
READING: Final = (*EVERYWHERE, NO_CHECKPOINTS, "PRAGMA query_only=ON")

UPGRADE_TIMEOUT_MS: Final = 60_000
"""How long an upgrade waits for another upgrade. It is the same as on PostgreSQL."""

BUSY_AGAIN_S: Final = 0.005
"""How long `when_free` waits before it tries again."""

INTERRUPT_EVERY_S: Final = 0.01
KEPT_BACK_S: Final = 0.001
"""How long the results of a batch wait for the next quick read of the batch. Waking the event loop for each would cost
as much as a read. They do not wait for a read that may be long."""


class Job(Generic[T]):
    """A function that runs on the driver's thread, and the future of its result.

    The result comes back after two iterations of the event loop. The driver itself needs three. Under load an iteration
    takes milliseconds, and while a writer waits for it, all other writers wait too.
    """

    def __init__(self, work: Work[T], *, is_long: bool = False) -> None:
        self.is_long = is_long
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Event | None = None
        self.result: asyncio.Future[T] = self._loop.create_future()
        self.has_begun = False
        self.is_over = False

    def run(self, connection: sqlite3.Connection) -> None:
        """Run the function, on the driver's thread."""
        outcome = self.carry_out(connection)
        self._loop.call_soon_threadsafe(self.arrive, outcome)

    def carry_out(self, connection: sqlite3.Connection) -> "Outcome":
        self.has_begun = True
        try:
            return self._work(connection), None
        except Exception as error:  # raised where the result is awaited
            return None, error

    def arrive(self, outcome: "Outcome") -> None:
        """Set the result, on the event loop. If the task was cancelled meanwhile, nobody awaits it any more."""
        self.is_over = True
        result, error = outcome
        if not self.result.done():
            self.result.set_result(result) if error is None else self.result.set_exception(error)
        if self._over is not None:
            self._over.set()

    async def over(self, within_s: float) -> None:
        """Returns when the job has ended, or after `within_s` seconds."""
        self._over = self._over or asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._over.wait()


Outcome = tuple[Any, Exception | None]


class Connection(aiosqlite.Connection):
    """Executes, fetches and closes in one job.

    A plain aiosqlite connection uses three jobs for this. If a task is cancelled between them, the statement stays
    open, and the file stays locked until the garbage collector runs. Here a cancelled task interrupts its statement and
    waits until it has ended. So tasks must not share a connection, except through `read` and `read_batched`, which
    interrupt nothing.
    """

    def __init__(self, path: Path, pragmas: Iterable[str], *, writes: bool = False) -> None:
        super().__init__(partial(open_to_write if writes else open_file, path, tuple(pragmas)), iter_chunk_size=64)
        self._thread.daemon = True
        self._batch: list[Job[Any]] = []

    async def _connect(self) -> aiosqlite.Connection:
        try:
            return await super()._connect()
        except sqlite3.Error:
            # The driver has told its thread to end, but does not wait for it. The thread could report to a closed event
            # loop.
            await asyncio.to_thread(self._thread.join)
            raise

    async def read(self, work: Work[T]) -> T:
        """Read on a shared connection. If the task is cancelled, the statement still runs to its end."""
        return await self.submit(work).result

    async def read_batched(self, work: Work[T], *, is_long: bool = False) -> T:
        """The same for a short read: all reads of one iteration of the event loop are one job.

        Otherwise the two threads compete for the interpreter lock (GIL) at each read. That takes a fifth of the CPU of
        a GET under load. Results do not wait for a read of the batch that `is_long`.
        """
        job = Job(work, is_long=is_long)
        if not self._batch:
            asyncio.get_running_loop().call_soon(self._submit_batch)
        self._batch.append(job)
        return await job.result

    def _submit_batch(self) -> None:
        jobs, self._batch = self._batch, []
        if self._connection is None:  # it was closed meanwhile, and the thread has ended
            deliver_batch(jobs, [(None, ValueError("The connection is closed."))] * len(jobs))
        else:
            loop = asyncio.get_running_loop()
            self._tx.put_nowait((None, partial(run_batch, jobs, loop, self._connection)))

    def submit(self, work: Work[T]) -> Job[T]:
        """Queue a job."""
        job = Job(work)
        self._tx.put_nowait((None, partial(job.run, self._conn)))
        return job

    async def run(self, work: Work[T]) -> T:
        """Run a job. If the task is cancelled, the job is interrupted, and has ended when this raises."""
        return await self.wait_for(self.submit(work), interruptible=True)

    async def wait_for(self, job: Job[T], *, interruptible: bool = False) -> T:
        """Wait for a job, even if the task is cancelled. The job is interrupted only after it has begun, because an
        earlier interrupt would hit the job before it."""
        try:
            return await job.result
        except asyncio.CancelledError:
            await self.wait_until_over(job, interruptible=interruptible)
            raise

    async def wait_until_over(self, job: Job[Any], *, interruptible: bool = False) -> None:
        """Wait for a job, however often the task is cancelled."""
        while not job.is_over:
            if interruptible and job.has_begun:
                self._conn.interrupt()
            with suppress(asyncio.CancelledError):
                await job.over(INTERRUPT_EVERY_S)


def run_batch(jobs: Sequence[Job[Any]], loop: asyncio.AbstractEventLoop, connection: sqlite3.Connection) -> None:
    """Run the reads of a batch. Their results are returned together, but none waits long for later reads."""
    began = time.perf_counter()
    done: list[Job[Any]] = []
    outcomes: list[Outcome] = []
    for job in jobs:
        if done and (job.is_long or time.perf_counter() - began >= KEPT_BACK_S):
            loop.call_soon_threadsafe(deliver_batch, done, outcomes)
            began, done, outcomes = time.perf_counter(), [], []
        outcomes.append(job.carry_out(connection))
        done.append(job)
    loop.call_soon_threadsafe(deliver_batch, done, outcomes)


def deliver_batch(jobs: Iterable[Job[Any]], outcomes: Iterable[Outcome]) -> None:
    for job, outcome in zip(jobs, outcomes, strict=True):
        job.arrive(outcome)


def open_to_write(path: Path, pragmas: Iterable[str]) -> sqlite3.Connection:
    return open_file(path, pragmas, factory=partial(WritingConnection, writer=WriterLock(path), files=OpenFiles(path)))


def open_file(
    path: Path,
    pragmas: Iterable[str],
    *,
    busy_timeout_ms: int | None = None,
    factory: Callable[..., sqlite3.Connection] = sqlite3.Connection,
) -> sqlite3.Connection:
    """A connection whose statements wait for other processes for `busy_timeout_ms`, or by default for
    `BUSY_TIMEOUT_MS`."""
    wait_ms = BUSY_TIMEOUT_MS if busy_timeout_ms is None else busy_timeout_ms
    connection = factory(path, timeout=wait_ms / 1000, isolation_level=None, check_same_thread=False)
    for pragma in pragmas:
        when_free(partial(run, pragma, connection), wait_ms)
    return connection


def when_free(work: Callable[[], T], within_ms: int) -> T:
    """Run `work`, again and again while the file is busy.

    SQLite's busy timeout does not cover two cases: a change of the journal mode while another connection writes, and a
    read during such a change. Both fail at once. They can happen when two processes open a new file at the same time.
    """
    deadline = time.monotonic() + within_ms / 1000
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(BUSY_AGAIN_S)
