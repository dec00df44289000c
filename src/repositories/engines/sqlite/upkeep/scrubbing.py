"""Scrubbing: removing erased values from the files, that is from free parts of pages and from the log.

The transaction that erases notes in the header of the file (`user_version`) what has to be done. So a server that was
killed continues after its next start, and after an erasure by a command the server does the work.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Final

REWRITTEN_BYTES: Final = 64 * 1024 * 1024
"""Up to this size the file is rewritten after an erasure. When SQLite splits a page, it leaves copies of the rows that
it moved, and `secure_delete` does not overwrite them. Rewriting a larger file would block writes for too long: there
the operator has to run VACUUM."""

FORCED_BYTES: Final = 16 * 1024 * 1024
"""Up to this size the whole rewrite takes about 0.1 s, so that it may block writers who never pause. The rewrite of a
larger file always gives way to them. Its last step, which cannot be interrupted, takes about 1.5 ms for each MiB."""

STEPS_BETWEEN_LOOKS: Final = 20_000
"""How many instructions SQLite executes between two checks whether somebody waits: some milliseconds."""


class Left(IntEnum):
    """The work that is left after an erasure."""

    NOTHING = 0
    ROWS = 1
    """Copies of rows may be in the file and in its log."""

    LOG = 2
    """The file was rewritten. Its log has to be emptied."""


NOT_FLUSHED: Final = 1
"""`PRAGMA synchronous=NORMAL`: a transaction does not flush the log. The next one that does flushes both."""

NOTE_ERASURE: Final = f"PRAGMA user_version={Left.ROWS:d}"


def what_is_left(connection: sqlite3.Connection) -> Left:
    return Left(number_of(connection, "user_version"))


def rewrite(is_waited_for: Callable[[], bool], gives_way: bool, connection: sqlite3.Connection) -> None:
    """Rewrite the file, if that is left to do and the file is not too large. If it `gives_way`, it stops when
    `is_waited_for` returns True.

    The log is flushed and emptied later, so that writers get their turn in between. A power cut before that undoes the
    rewrite, which is then still left to do. Raises errors of SQLite, such as for a full disk.
    """
    if what_is_left(connection) is not Left.ROWS:
        return
    size = number_of(connection, "page_count") * number_of(connection, "page_size")
    with at(connection, "synchronous", NOT_FLUSHED):
        if size <= REWRITTEN_BYTES:
            gives_way = gives_way or size > FORCED_BYTES
            vacuum(connection, is_waited_for if gives_way else None)
        leave(connection, Left.LOG)


def vacuum(connection: sqlite3.Connection, stops: Callable[[], bool] | None) -> None:
    connection.set_progress_handler(stops, STEPS_BETWEEN_LOOKS)
    try:
        connection.execute("VACUUM").close()
    finally:
        connection.set_progress_handler(None, 0)


def flush(log: Path) -> None:
    """Flush the log to the disk. This takes a third of the time of a rewrite, and needs no lock. Raises `OSError`."""
    file = os.open(log, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def empty_log(connection: sqlite3.Connection) -> bool:
    """Empty the log, after the file was rewritten. Returns whether nothing is left to do.

    The log cannot be emptied while somebody reads an older state. This may take minutes, so the function does not wait.
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
    """Sets a pragma of the connection to a value, for the duration of the block."""
    before = number_of(connection, pragma)
    connection.execute(f"PRAGMA {pragma}={value}").close()
    try:
        yield
    finally:
        connection.execute(f"PRAGMA {pragma}={before}").close()
