"""A connection to a SQLite file whose statements take one trip to the driver's thread."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import aiosqlite

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

BUSY_TIMEOUT_MS: Final = 3000
"""How long a statement waits while another process (a command beside the server) writes."""

INTERRUPT_EVERY_S: Final = 0.01


class Trip(Generic[T]):
    """Something to be done on the driver's thread, and its way back.

    It comes back by two turns of the event loop, where the driver's own way with a shield takes three: under load each
    is milliseconds, for which a writer keeps the others waiting.
    """

    def __init__(self, work: Work[T]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Event | None = None
        self.result: asyncio.Future[T] = self._loop.create_future()
        self.has_begun = False
        self.is_over = False

    def go(self, connection: sqlite3.Connection) -> None:
        """On the driver's thread."""
        outcome = self.carry_out(connection)
        self._loop.call_soon_threadsafe(self.arrive, outcome)

    def carry_out(self, connection: sqlite3.Connection) -> "Outcome":
        self.has_begun = True
        try:
            return self._work(connection), None
        except Exception as error:  # raised where it was asked for
            return None, error

    def arrive(self, outcome: "Outcome") -> None:
        """Back on the event loop. Where the task was cancelled, nobody asks for the outcome any more."""
        self.is_over = True
        result, error = outcome
        if not self.result.done():
            self.result.set_result(result) if error is None else self.result.set_exception(error)
        if self._over is not None:
            self._over.set()

    async def over(self, within_s: float) -> None:
        """Returns when it is over, or the time is."""
        self._over = self._over or asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._over.wait()


Outcome = tuple[Any, Exception | None]


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
        self._together: list[Trip[Any]] = []

    async def _connect(self) -> aiosqlite.Connection:
        try:
            return await super()._connect()
        except sqlite3.Error:
            # The driver has told its thread to end but does not wait: it would report to a loop that may be closed.
            await asyncio.to_thread(self._thread.join)
            raise

    async def read(self, work: Work[T]) -> T:
        """Read something that others' reads may stand behind: whoever is cancelled leaves it to come to its end."""
        return await self.send(work).result

    async def read_together(self, work: Work[T]) -> T:
        """The same of something short, in one trip with what else is to be read in this turn of the event loop.

        The two threads take turns then, where they would fight for the interpreter's lock over each read: a fifth of
        the CPU of a GET under load.
        """
        trip = Trip(work)
        if not self._together:
            asyncio.get_running_loop().call_soon(self._send_together)
        self._together.append(trip)
        return await trip.result

    def _send_together(self) -> None:
        trips, self._together = self._together, []
        if self._connection is None:  # closed meanwhile: nobody would answer
            arrive_together(trips, [(None, ValueError("The connection is closed."))] * len(trips))
        else:
            loop = asyncio.get_running_loop()
            self._tx.put_nowait((None, partial(go_together, trips, loop, self._connection)))

    def send(self, work: Work[T]) -> Trip[T]:
        """Have it done behind what was sent before."""
        trip = Trip(work)
        self._tx.put_nowait((None, partial(trip.go, self._conn)))
        return trip

    async def trip(self, work: Work[T]) -> T:
        """Do something. If the task is cancelled meanwhile, nothing of it goes on."""
        return await self.end_of(self.send(work), interruptible=True)

    async def end_of(self, trip: Trip[T], *, interruptible: bool = False) -> T:
        """Whoever is cancelled waits for it as well. It is interrupted once it has begun: before, that would meet what
        another one has sent."""
        try:
            return await trip.result
        except asyncio.CancelledError:
            while not trip.is_over:
                if interruptible and trip.has_begun:
                    self._conn.interrupt()
                with suppress(asyncio.CancelledError):
                    await trip.over(INTERRUPT_EVERY_S)
            raise


def go_together(trips: Sequence[Trip[Any]], loop: asyncio.AbstractEventLoop, connection: sqlite3.Connection) -> None:
    outcomes = [trip.carry_out(connection) for trip in trips]
    loop.call_soon_threadsafe(arrive_together, trips, outcomes)


def arrive_together(trips: Iterable[Trip[Any]], outcomes: Iterable[Outcome]) -> None:
    for trip, outcome in zip(trips, outcomes, strict=True):
        trip.arrive(outcome)


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


def step(sql: str, arguments: Sequence[Any], begins: bool, connection: sqlite3.Connection) -> list[Any]:
    """A statement of a transaction, with BEGIN before it if it is the first."""
    if begins:
        undo(connection)  # what a unit before may have failed to undo
        run("BEGIN IMMEDIATE", connection)
    return fetch(sql, arguments, connection)


def step_and_commit(sql: str, arguments: Sequence[Any], begins: bool, connection: sqlite3.Connection) -> list[Any]:
    """The last statement. Afterwards there is no transaction any more, whatever came in between."""
    try:
        rows = step(sql, arguments, begins, connection)
        run("COMMIT", connection)
    finally:
        undo(connection)
    return rows


def commit(connection: sqlite3.Connection) -> None:
    """Afterwards there is no transaction any more, either."""
    try:
        run("COMMIT", connection)
    finally:
        undo(connection)


def undo(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        run("ROLLBACK", connection)


def run(sql: str, connection: sqlite3.Connection) -> None:
    connection.execute(sql).close()
