"""What the driver's thread does on a connection: statements, and the steps of a transaction."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from repositories.engines.sqlite.writers import WritingConnection
from repositories.engines.statements import Result

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

BUSY_TIMEOUT_MS: Final = 3000
"""How long a statement waits while another process writes, such as a command."""


def fetch(sql: str, arguments: Sequence[Any], connection: sqlite3.Connection) -> list[Any]:
    cursor = connection.execute(sql, arguments)
    try:
        return cursor.fetchall()
    finally:
        cursor.close()


class Step(NamedTuple):
    """A statement. If it returns no rows, `otherwise` is raised."""

    sql: str
    arguments: Sequence[Any]
    otherwise: Exception | None = None


def run_all(steps: Iterable[Step], connection: sqlite3.Connection) -> list[Any]:
    """Run these statements in order. Returns the rows of the last one."""
    rows: list[Any] = []
    for sql, arguments, otherwise in steps:
        rows = fetch(sql, arguments, connection)
        if otherwise is not None and not rows:
            raise otherwise
    return rows


def run_then(steps: Iterable[Step], work: Work[T], connection: sqlite3.Connection) -> T:
    run_all(steps, connection)
    return work(connection)


def execute(sql: str, arguments: Sequence[Any], connection: sqlite3.Connection) -> Result:
    """Like `fetch`, with the description and the count that a session needs."""
    cursor = connection.execute(sql, arguments)
    try:
        return Result(cursor.fetchall(), cursor.description, cursor.rowcount, cursor.lastrowid)
    finally:
        cursor.close()


def execute_many(sql: str, arguments: Sequence[Sequence[Any]], connection: sqlite3.Connection) -> Result:
    cursor = connection.executemany(sql, arguments)
    cursor.close()
    return Result((), None, cursor.rowcount)


def step(work: Work[T], begins: bool, connection: sqlite3.Connection) -> T:
    """Run a statement of a transaction. `begins` says that it is the first: then BEGIN runs before it."""
    if begins:
        begin(connection)
    elif not connection.in_transaction:
        # SQLite rolls back by itself after some errors. Later statements would be committed one by one.
        raise sqlite3.OperationalError("there is no transaction any more")
    return work(connection)


def step_and_commit(work: Work[T], begins: bool, connection: sqlite3.Connection) -> T:
    """Run the last statement of a transaction, and commit. No transaction stays open, even after an error."""
    try:
        result = step(work, begins, connection)
        run("COMMIT", connection)
    finally:
        undo(connection)
    return result


def begin(connection: sqlite3.Connection) -> None:
    undo(connection)  # an earlier unit may have failed to do so
    if isinstance(connection, WritingConnection):
        connection.writer.acquire(BUSY_TIMEOUT_MS)
        run("BEGIN IMMEDIATE", connection)
        connection.require_files()
    else:
        run("BEGIN IMMEDIATE", connection)


def undo(connection: sqlite3.Connection) -> None:
    """End the transaction: undo everything that is not committed, and let other processes write."""
    if connection.in_transaction:
        run("ROLLBACK", connection)
    if isinstance(connection, WritingConnection):
        connection.writer.release()


def in_turn(work: Work[T], connection: sqlite3.Connection) -> T:
    """Run a job outside of a transaction, while no other process writes."""
    assert isinstance(connection, WritingConnection)  # noqa: S101
    connection.writer.acquire(BUSY_TIMEOUT_MS)
    try:
        return work(connection)
    finally:
        connection.writer.release()


def run(sql: str, connection: sqlite3.Connection) -> None:
    connection.execute(sql).close()
