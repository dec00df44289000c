"""Removing what was erased from the files: from free parts of pages, and from the log.

What is left to do is in the header of the file (`user_version`), written in the transaction that erases. So a server
that is killed goes on after its next start, and a command leaves the work to the server.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

REWRITTEN_BYTES: Final = 64 * 1024 * 1024
"""Up to this size the file is rewritten after an erasure. When SQLite splits a page, it leaves copies of the rows that
it moved, and `secure_delete` does not overwrite them. A larger file would block writes for too long: its operator runs
VACUUM."""

STEPS_BETWEEN_LOOKS: Final = 20_000
"""How many instructions SQLite executes before it looks whether somebody waits: some milliseconds."""


class Left(IntEnum):
    """What an erasure has left to do."""

    NOTHING = 0
    ROWS = 1
    """Copies of rows may be in the file and in its log."""

    LOG = 2
    """The file was rewritten. Its log is to be emptied."""


NOTE_ERASURE: Final = f"PRAGMA user_version={Left.ROWS:d}"


def what_is_left(connection: sqlite3.Connection) -> Left:
    return Left(number_of(connection, "user_version"))


def rewrite(gives_way: Callable[[], bool], connection: sqlite3.Connection) -> None:
    """Rewrite the file, if that is left to do, unless it is too large. Given up when somebody waits to write.

    Its log is not emptied yet, since writers get their turn before that. Raises SQLite's error, as on a full disk.
    """
    if what_is_left(connection) is not Left.ROWS:
        return
    if number_of(connection, "page_count") * number_of(connection, "page_size") <= REWRITTEN_BYTES:
        connection.set_progress_handler(gives_way, STEPS_BETWEEN_LOOKS)
        try:
            with at(connection, "wal_autocheckpoint", 0):
                connection.execute("VACUUM").close()
        finally:
            connection.set_progress_handler(None, 0)
    leave(connection, Left.LOG)


def empty_log(connection: sqlite3.Connection) -> bool:
    """Empty the log, after the file was rewritten. Returns whether nothing is left to do.

    The log cannot be emptied while somebody reads an older state. It waits for nobody, for that may take minutes.
    """
    if what_is_left(connection) is Left.LOG:
        with at(connection, "busy_timeout", 0):
            ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if not busy:
            leave(connection, Left.NOTHING)
    return what_is_left(connection) is Left.NOTHING


def leave(connection: sqlite3.Connection, left: Left) -> None:
    connection.execute(f"PRAGMA user_version={left:d}").close()


def number_of(connection: sqlite3.Connection, pragma: str) -> int:
    ((number,),) = connection.execute(f"PRAGMA {pragma}").fetchall()
    return int(number)


@contextmanager
def at(connection: sqlite3.Connection, pragma: str, value: int) -> Iterator[None]:
    """A setting of the connection has this value for a while."""
    before = number_of(connection, pragma)
    connection.execute(f"PRAGMA {pragma}={value}").close()
    try:
        yield
    finally:
        connection.execute(f"PRAGMA {pragma}={before}").close()
