"""A connection to a SQLite file whose statements take one trip to the driver's thread."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite

T = TypeVar("T")

BUSY_TIMEOUT_MS: Final = 3000
"""How long a statement waits while another process (a command beside the server) writes."""

INTERRUPT_EVERY_S: Final = 0.01


class Connection(aiosqlite.Connection):
    """Executes, fetches and closes in one trip.

    The stock one takes a trip for each, and a task cancelled between them leaves the statement open and with it
    the file locked until the garbage collector comes by. Here a cancelled task interrupts its statement and waits
    until it has left the connection. The connection is therefore not to be shared by tasks, except to `read`, which
    interrupts nothing.
    """

    def __init__(self, path: Path, pragmas: Iterable[str]) -> None:
        super().__init__(partial(open_file, path, tuple(pragmas)), iter_chunk_size=64)
        self._thread.daemon = True
        self._together: list[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]] = []

    async def _connect(self) -> aiosqlite.Connection:
        try:
            return await super()._connect()
        except sqlite3.Error:
            # The driver has told its thread to end but does not wait: it would report to a loop that may be closed.
            await asyncio.to_thread(self._thread.join)
            raise

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read something that others' reads may stand behind: whoever is cancelled leaves it to come to its end."""
        result: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        return result

    async def read_together(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read something short, in one trip with what else is to be read in this turn of the event loop.

        The two threads take turns then, where they would fight for the interpreter's lock over each read: a quarter
        of the CPU of a GET under load.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if not self._together:
            loop.call_soon(self._send)
        self._together.append((work, future))
        return await future

    def _send(self) -> None:
        works, waiting = zip(*self._together, strict=True)
        self._together = []
        if self._connection is None:  # closed meanwhile: nobody would answer
            tell_each(waiting, [(None, ValueError("The connection is closed."))] * len(waiting))
            return
        everyone = asyncio.get_running_loop().create_future()
        everyone.add_done_callback(lambda done: tell_each(waiting, done.result()))
        self._tx.put_nowait((everyone, partial(outcomes, works, self._connection)))

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


Outcome = tuple[Any, Exception | None]


def outcomes(works: Iterable[Callable[[sqlite3.Connection], Any]], connection: sqlite3.Connection) -> list[Outcome]:
    return [outcome(work, connection) for work in works]


def outcome(work: Callable[[sqlite3.Connection], Any], connection: sqlite3.Connection) -> Outcome:
    try:
        return work(connection), None
    except Exception as error:  # raised where it was asked for
        return None, error


def tell_each(waiting: "Iterable[asyncio.Future[Any]]", outcomes: Iterable[Outcome]) -> None:
    for future, (result, error) in zip(waiting, outcomes, strict=True):
        if future.done():  # its task was cancelled
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def open_file(path: Path, pragmas: Iterable[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False)
    for pragma in pragmas:
        connection.execute(pragma).close()
    return connection


def fetch(sql: str, arguments: Sequence[Any], connection: sqlite3.Connection) -> list[Any]:
    cursor = connection.execute(sql, arguments)
    try:
        return cursor.fetchall()
    finally:
        cursor.close()


def step(sql: str, arguments: Sequence[Any], begins: bool, commits: bool, connection: sqlite3.Connection) -> list[Any]:
    """A statement of a transaction, with the BEGIN before it or the COMMIT behind it."""
    if begins:
        if connection.in_transaction:  # of a unit that failed to undo it: the next one is not to fail as well
            run("ROLLBACK", connection)
        run("BEGIN IMMEDIATE", connection)
    rows = fetch(sql, arguments, connection)
    if commits:
        run("COMMIT", connection)
    return rows


def run(sql: str, connection: sqlite3.Connection) -> None:
    connection.execute(sql).close()
