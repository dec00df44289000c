"""Scrubbing: removing erased values from the files, that is from free parts of pages and from the log.

The transaction that erases notes in the header of the file (`user_version`) what has to be done. So a server that was
killed continues after its next start, and after an erasure by a command the server does the work.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from enum import IntFlag
from pathlib import Path
from typing import Final

from domain.errors import NotReady
from repositories.engines.sqlite.connection import DURABLE, NO_CHECKPOINTS, UPGRADE_TIMEOUT_MS, open_file
from repositories.engines.sqlite.files import lock
from repositories.engines.sqlite.writers import writing
from repositories.engines.upkeep.scrubbing import Scrubbed, Vacuumed

REWRITTEN_BYTES: Final = 48 * 1024 * 1024
"""Up to this size the file is rewritten after an erasure. When SQLite splits a page, it leaves copies of the rows that
it moved, and `secure_delete` does not overwrite them. Rewriting a larger file would block writes for too long: there
the operator has to run `roster db vacuum`."""

FORCED_BYTES: Final = 16 * 1024 * 1024
"""Up to this size the whole rewrite takes about 0.1 s, so that it may block writers who never pause. The rewrite of a
larger file always gives way to them. Its last step, which cannot be interrupted, takes about 2 ms for each MiB."""

STEPS_BETWEEN_LOOKS: Final = 20_000
"""How many instructions SQLite executes between two checks whether somebody waits: some milliseconds."""


class Left(IntFlag):
    """The work that is left after an erasure."""

    NOTHING = 0
    ROWS = 1
    """Copies of rows may be in the file and in its log."""

    LOG = 2
    """The log has to be emptied, after the file was rewritten or found too large for that."""

    MOVED_COPIES = 4
    """Copies of rows may be in the file, because it was too large. `vacuum_file` removes them."""


NOT_FLUSHED: Final = 1
"""`PRAGMA synchronous=NORMAL`: a transaction does not flush the log. The next one that does flushes both."""

NOTE_ERASURE: Final = f"PRAGMA user_version={Left.ROWS:d}"
RESULTS: Final = {Left.NOTHING: Scrubbed.ALL, Left.MOVED_COPIES: Scrubbed.SOME}


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
    size = size_of(connection)
    with at(connection, "synchronous", NOT_FLUSHED):
        if size > REWRITTEN_BYTES:
            leave(connection, Left.LOG | Left.MOVED_COPIES)
            return
        vacuum(connection, is_waited_for if gives_way or size > FORCED_BYTES else None)
        leave(connection, Left.LOG)


def vacuum_file(path: Path) -> Vacuumed:
    """Rewrite a file of any size and empty its log, while no server uses it. Raises `NotReady`."""
    descriptor = lock(path, "Stop it first: it could not write meanwhile.")
    try:
        with writing(path, UPGRADE_TIMEOUT_MS), closing(open_file(path, (*DURABLE, NO_CHECKPOINTS))) as connection:
            before = size_of(connection)
            vacuum(connection, None)
            leave(connection, Left.LOG)
            if empty_log(connection) is not Scrubbed.ALL:
                raise NotReady(f"Another program reads {path}, so its log cannot be emptied. End it, and try again.")
            return Vacuumed(before, size_of(connection))
    except sqlite3.Error as error:
        raise NotReady(f"{path} cannot be rewritten: {error}.") from error
    finally:
        os.close(descriptor)


def size_of(connection: sqlite3.Connection) -> int:
    """In bytes, without the log."""
    return number_of(connection, "page_count") * number_of(connection, "page_size")


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


def empty_log(connection: sqlite3.Connection) -> Scrubbed:
    """Empty the log, if that is left to do.

    The log cannot be emptied while somebody reads an older state. This may take minutes, so the function does not wait.
    """
    left = what_is_left(connection)
    if Left.LOG in left:
        with at(connection, "busy_timeout", 0):
            ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if not busy:
            left ^= Left.LOG
            leave(connection, left)
    return RESULTS.get(left, Scrubbed.NOT_YET)


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
