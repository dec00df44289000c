"""The file of a SQLite database: creating it, locking it, and checking that it belongs to Roster."""

import asyncio
import fcntl
import os
import sqlite3
import time
from contextlib import closing, suppress
from functools import partial
from itertools import count
from logging import getLogger
from pathlib import Path
from typing import Final

from domain.errors import NotReady
from repositories.engines.revisions import OWN_COLUMNS
from repositories.engines.sqlite.connection import UPGRADE_TIMEOUT_MS, when_free

log = getLogger("roster")

APPLICATION_ID: Final = int.from_bytes(b"Rost")
"""The mark of Roster in the header of a file (SQLite's `application_id`)."""


def create_private(path: Path, *, new: bool = False) -> None:
    """Create an empty file that only its owner can read, if there is none. SQLite gives its other files the same mode.

    With `new`, raises `FileExistsError` if there is one.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | (os.O_EXCL if new else 0), 0o600))
    except FileExistsError:
        raise
    except OSError as error:
        raise NotReady(f"{path} cannot be opened: {error.strerror}.") from error


def require_file(path: Path) -> None:
    """Raises `NotReady` if there is no file, because only a server or `roster db upgrade` creates a database."""
    if not path.exists():
        raise NotReady(
            f"There is no file {path}. Name the file that the server uses, with "
            "--database-url or ROSTER_DATABASE_URL. roster serve or roster db upgrade create a new one."
        )


def require_own_file(path: Path) -> None:
    """Raises `NotReady` if the file belongs to another program. Does not change the file, not even its journal mode."""
    if not when_free(partial(is_own, path), UPGRADE_TIMEOUT_MS):
        raise NotReady(f"{path} is not a Roster database: it belongs to another program. Nothing was changed.")


def is_own(path: Path) -> bool:
    """Whether the file is empty or belongs to Roster, by its mark, or by its tables if it is older than the mark."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)) as connection:
        ((application,),) = connection.execute("PRAGMA application_id").fetchall()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(changes)")}
    return application == APPLICATION_ID or (application == 0 and (not tables or columns >= OWN_COLUMNS))


def keep_copy(path: Path, revision: str) -> Path:
    """Copy the file before it is upgraded to this revision, as `roster.db.before-0002`. Older copies are never
    replaced."""
    copy = new_file_beside(path, f"before-{revision}")
    try:
        copy_into(path, copy)
    except sqlite3.Error as error:
        copy.unlink()
        raise NotReady(f"No copy of {path} could be made before the upgrade: {error}. Nothing was changed.") from error
    return copy


def copy_into(path: Path, copy: Path) -> None:
    """Copy one state of the file, even while others write. The file of the copy has to be empty or missing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("VACUUM INTO ?", (str(copy),))
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version=0")  # nothing of erased rows is in a new file


def new_file_beside(path: Path, suffix: str) -> Path:
    for number in count(1):
        beside = path.with_name(f"{path.name}.{suffix}" if number == 1 else f"{path.name}.{suffix}-{number}")
        with suppress(FileExistsError):
            create_private(beside, new=True)
            return beside
    raise AssertionError  # the numbers do not end


LOCK_AGAIN_S: Final = 0.01

UPGRADED_WITHIN_S: Final = 10.0
"""Seconds that an upgrade waits for another one. A server that has the file open does not stop in this time."""

STOP_FIRST: Final = "Stop it first. The server of the new version upgrades the file when it starts."
ONE_PROCESS: Final = "SQLite is for one server process. Use PostgreSQL for several."


class AnotherServerError(NotReady):
    """A server has the file open."""


def lock(path: Path, advice: str = ONE_PROCESS) -> int:
    """Take the server's lock on a file. It is held until the descriptor is closed or the process ends.

    Raises `AnotherServerError` if another process has it.
    """
    try:
        descriptor = os.open(f"{path}-lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise NotReady(f"{path}-lock cannot be opened: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise AnotherServerError(f"Another server has {path} open. {advice}") from error
    return descriptor


async def lock_within(path: Path, seconds: float, advice: str = ONE_PROCESS) -> int:
    """The same, after waiting so long for the server that has it to stop."""
    deadline, has_told = time.monotonic() + seconds, False
    while True:
        try:
            return lock(path, advice)
        except AnotherServerError:
            if time.monotonic() >= deadline:
                raise
        if not has_told:
            log.info("waiting for the server before this one to stop", extra={"seconds": seconds})
            has_told = True
        await asyncio.sleep(LOCK_AGAIN_S)


async def lock_to_upgrade(path: Path) -> int:
    """The same, for a command that upgrades the schema."""
    return await lock_within(path, UPGRADED_WITHIN_S, STOP_FIRST)


def is_locked(path: Path) -> bool:
    """Whether a server holds the lock of this file."""
    try:
        os.close(lock(path))
    except NotReady:
        return True
    return False
