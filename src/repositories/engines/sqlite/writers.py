"""One writer of a file at a time, among all processes: from BEGIN until the checkpoint after COMMIT has ended.

SQLite's own lock ends with the COMMIT. So a command could write during the checkpoint of the server. In SQLite before
3.51.3 that can corrupt the file (the WAL-reset bug).
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

AGAIN_S: Final = 0.001


class WriterLock:
    """A lock file beside the database. The operating system releases it when the process ends, even if it is killed."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(f"{path}-writer", os.O_CREAT | os.O_RDWR, 0o600)

    def acquire(self, within_ms: int) -> None:
        """Take the lock. Raises SQLite's error for a busy file if that takes too long."""
        deadline = time.monotonic() + within_ms / 1000
        while not self._is_acquired():
            if time.monotonic() >= deadline:
                raise busy()
            time.sleep(AGAIN_S)

    def _is_acquired(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)


def busy() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    error.sqlite_errorname = "SQLITE_BUSY"
    return error


@contextmanager
def writing(path: Path, within_ms: int) -> Iterator[None]:
    """Holds the lock of writers while the block runs."""
    lock = WriterLock(path)
    try:
        lock.acquire(within_ms)
        yield
    finally:
        lock.close()


class OpenFiles:
    """Checks that the open file and its log are still the files at their paths, and were not removed or replaced.

    Otherwise everything that is written is lost when the last connection closes. SQLite does not notice this.
    """

    def __init__(self, path: Path) -> None:
        self._file, self._log = str(path), f"{path}-wal"
        self._opened_file = identity_of(self._file)
        self._opened_log: tuple[int, int] | None = None

    def are_there(self) -> bool:
        """Whether both files are still there. The connection has to be in a transaction, so that there is a log."""
        log = identity_of(self._log)
        self._opened_log = self._opened_log or log
        return log == self._opened_log and self.is_file_there()

    def is_file_there(self) -> bool:
        return identity_of(self._file) == self._opened_file


def identity_of(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def moved() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("the file or its log was removed or replaced")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED
    error.sqlite_errorname = "SQLITE_READONLY_DBMOVED"
    return error


class WritingConnection(sqlite3.Connection):
    """A connection that holds the lock of writers during its transactions, from `begin` to `undo`."""

    def __init__(self, *args: Any, writer: WriterLock, files: OpenFiles, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.writer = writer
        self._files = files

    def require_files(self) -> None:
        """Raises SQLite's error for a moved file. Before that, it moves the contents of a removed log into the file."""
        if not self._files.are_there():
            self.execute("ROLLBACK").close()
            if self._files.is_file_there():
                self.execute("PRAGMA wal_checkpoint(PASSIVE)").close()
            raise moved()

    def close(self) -> None:
        super().close()
        self.writer.close()
