"""Backups of a SQLite file: copying it, checking a copy, and restoring one.

`VACUUM INTO` copies one consistent state, even if others write meanwhile. It does not block writers, and writers do not
make it start again. It reads every row, so it notices a damaged file.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Final

from domain.errors import NotReady
from repositories.engines.sqlite.files import copy_into, create_private, is_own, lock, require_file
from repositories.engines.upkeep.backups import Backup, Contents, Restored, Undone

HIGHEST: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence"
LAST_CHANGE: Final = "SELECT coalesce(max(seq), 0) FROM changes"
TABLES: Final = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('alembic_version', 'expired_positions')"
    " AND name NOT LIKE 'sqlite%' ORDER BY rowid"
)
ERASED: Final = """
    SELECT DISTINCT entity_id FROM main.changes JOIN copy.users ON id = entity_id
    WHERE kind = 'user' AND action = 'purged' AND seq > ? ORDER BY entity_id
"""
REVOKED: Final = """
    SELECT DISTINCT entity_id FROM main.changes JOIN copy.keys ON id = entity_id
    WHERE kind = 'key' AND action = 'deleted' AND seq > ? ORDER BY entity_id
"""


def back_up(path: Path, to: Path) -> Backup:
    """Copy the file. The copy gets its name only when it is complete, checked and synced to the disk. Raises
    `NotReady`."""
    require_file(path)
    if to.exists():
        raise NotReady(f"{to} is there already. A backup does not replace a file.")
    part = to.with_name(f"{to.name}.part")
    try:
        remove(part)
        backup = Backup(to, copied(path, part))
        put_in_place(part, to)
    finally:
        remove(part)
    with suppress(OSError):  # only roster doctor reads this file
        Path(f"{path}-backup").write_text(f"{to}\n")
    return backup


def restore(path: Path, backup: Path, begin_epoch: Callable[[Path, int], int]) -> Restored:
    """Replace the file by a copy of the backup. The previous file is kept. Raises `NotReady`.

    `begin_epoch` upgrades the schema of the copy and begins a new epoch in it, after a given number.
    """
    if not backup.exists():
        raise NotReady(f"There is no file {backup}.")
    descriptor = lock(path, "Stop it before you restore its file. Nothing was changed.")
    fresh = path.with_name(f"{path.name}.restoring")
    try:
        remove(fresh)
        contents = copied(backup, fresh)
        undone = undone_by(fresh, contents.last_change, path)
        start = begin_epoch(fresh, highest_number(path))
        settle(fresh)
        kept = replace(path, fresh)
    finally:
        remove(fresh)
        os.close(descriptor)
    return Restored(backup, contents, start, kept, undone)


def remove(path: Path) -> None:
    for name in (path, f"{path}-wal", f"{path}-shm"):
        Path(name).unlink(missing_ok=True)


def copied(path: Path, to: Path) -> Contents:
    """Make a private copy, check it and sync it to the disk. Returns its contents. Raises `NotReady`."""
    create_private(to)
    try:
        copy_into(path, to)
        if not is_own(to):
            raise NotReady(f"{path} is not a Roster database: it belongs to another program.")
        contents = checked(to)
        sync(to)
    except (sqlite3.Error, OSError) as error:
        raise NotReady(f"{path} could not be copied to {to}: {error}.") from error
    return contents


def checked(file: Path) -> Contents:
    """The contents of a file. Raises `NotReady` if SQLite finds damage."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        flaws = [*connection.execute("PRAGMA integrity_check"), *connection.execute("PRAGMA foreign_key_check")]
        if flaws != [("ok",)]:
            raise NotReady(f"{file} is damaged: {flaws[0][0]}.")
        tables = [name for (name,) in connection.execute(TABLES)]
        rows = {name: one(connection, f'SELECT count(*) FROM "{name}"') for name in tables}  # noqa: S608  # names from its own schema
        return Contents(rows, one(connection, LAST_CHANGE))


def one(connection: sqlite3.Connection, sql: str) -> int:
    ((value,),) = connection.execute(sql).fetchall()
    return int(value)


def highest_number(path: Path) -> int:
    """The highest id or number of a change that was used in a file; 0 if it cannot be read."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as connection:
        return one(connection, HIGHEST)
    return 0


def undone_by(copy: Path, last_change: int, path: Path) -> Undone:
    """The users and keys that were erased or revoked in the file after a change, and are in the copy. Empty if the file
    cannot be read."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as connection:
        connection.execute("ATTACH DATABASE ? AS copy", (str(copy),))
        erased, revoked = (connection.execute(sql, (last_change,)).fetchall() for sql in (ERASED, REVOKED))
        return Undone([id for (id,) in erased], [id for (id,) in revoked])
    return Undone()


def replace(path: Path, by: Path) -> Path | None:
    """Replace a database by another file, and keep the previous one. There is always a file at the path."""
    kept = None
    if path.exists():
        settle(path)
        kept = linked_beside(path)
    for suffix in ("-wal", "-shm"):  # left from the previous file. They would damage the new one
        log = Path(f"{path}{suffix}")
        if log.exists():
            log.replace(f"{kept or path.with_name(f'{path.name}.before-restore')}{suffix}")
    put_in_place(by, path)
    return kept


def settle(path: Path) -> None:
    """Move the contents of the log into the file, if it can be read. Raises `NotReady` if the file is in use."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=1)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE").fetchall()  # fails if there is another connection
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise NotReady(f"Another program has {path} open. Stop it first. Nothing was changed.") from error
    except sqlite3.DatabaseError:
        pass  # the file is damaged, which may be the reason for the restore


def linked_beside(path: Path) -> Path:
    for number in count(1):
        beside = path.with_name(f"{path.name}.before-restore" + ("" if number == 1 else f"-{number}"))
        with suppress(FileExistsError):
            os.link(path, beside)
            return beside
    raise AssertionError  # count() never ends


def put_in_place(file: Path, at: Path) -> None:
    file.replace(at)
    sync(at.parent)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
