"""The file of a SQLite database: created private, locked by one server, rewritten after an erasure."""

import fcntl
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from domain.errors import NotReady

REWRITTEN_BYTES: Final = 64 * 1024 * 1024
"""Up to this size the file is rewritten after an erasure. When SQLite splits a page, it leaves copies of the rows that
it moved, and `secure_delete` does not overwrite them. A larger file would block writes for too long: its operator runs
VACUUM."""


def create_private(path: Path) -> None:
    """Create an empty file that only its owner can read, unless there is one. SQLite's other files take its mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise NotReady(f"{path} cannot be opened: {error.strerror}.") from error


def lock(path: Path) -> int:
    """Take the server's lock on a file. It is held until the descriptor is closed or the process ends."""
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


def rewrite(connection: sqlite3.Connection) -> None:
    """Remove erased rows from the file and its log. The erasure is committed, so errors are ignored."""
    with suppress(sqlite3.Error):
        ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
        ((page_bytes,),) = connection.execute("PRAGMA page_size").fetchall()
        if pages * page_bytes <= REWRITTEN_BYTES:
            connection.execute("VACUUM").close()
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
