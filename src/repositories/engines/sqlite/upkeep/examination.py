"""What `roster doctor` examines in a SQLite file. It writes nothing."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from domain.findings import Finding, Level, finding
from repositories.engines.sqlite.upkeep.scrubbing import Left, what_is_left

LEAST_FREE_BYTES: Final = 256 * 1024 * 1024
LONG_LOG_BYTES: Final = 256 * 1024 * 1024
MIB: Final = 1024 * 1024
CLOCK_APART_S: Final = 5
BACKUP_TOO_OLD_S: Final = 7 * 24 * 3600

JSON_COLUMNS: Final = """
SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table' AND c.type = 'JSON'
"""
NOT_JSON: Final = """
SELECT count(*), min(rowid) FROM "{table}" WHERE "{column}" IS NOT NULL AND NOT json_valid("{column}")
"""

WAL_RESET_FIXED_IN: Final = (3, 51, 3)
"""In earlier versions, two connections that write or checkpoint at the same time may corrupt a file."""


def examine(path: Path) -> Iterator[Finding]:
    """Examine an existing file."""
    yield of_access(path)
    yield of_pages(path)
    yield of_values(path)
    yield of_erasures(path)
    yield of_space(path)
    yield of_log(path)
    yield of_clock(path)
    yield of_backup(path)


def reading(path: Path) -> closing[sqlite3.Connection]:
    """A connection that changes nothing."""
    return closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True))


def of_access(path: Path) -> Finding:
    mode = path.stat().st_mode & 0o777
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        says = f"{path} or its folder cannot be written by this user"
        return Finding("access", Level.FAIL, says, f"chown the file and {path.parent} to the user of the server")
    return finding("access", f"writable, mode {mode:o}", ok=not mode & 0o077, fix=f"chmod 600 {path}", worst=Level.WARN)


def of_pages(path: Path) -> Finding:
    try:
        with reading(path) as connection:
            ((result,), *_) = connection.execute("PRAGMA quick_check(1)").fetchall()
            ((mode,),) = connection.execute("PRAGMA journal_mode").fetchall()
    except sqlite3.Error as error:
        return Finding("pages", Level.FAIL, str(error), "roster restore, from the last good backup")
    if result != "ok":
        return Finding("pages", Level.FAIL, str(result), "roster restore, from the last good backup")
    return finding(
        "pages", f"no damage, journal mode {mode}", ok=mode == "wal", fix="roster serve sets it", worst=Level.WARN
    )


def of_values(path: Path) -> Finding:
    """Check that all JSON in the file is valid. Lists pass it on as it is stored."""
    try:
        with reading(path) as connection:
            damaged = [
                f"{table}.{column} is not JSON in {rows:,} rows, the first with the rowid {first}"
                for table, column in connection.execute(JSON_COLUMNS).fetchall()
                for rows, first in connection.execute(NOT_JSON.format(table=table, column=column))
                if rows
            ]
    except sqlite3.Error:  # the finding about pages reports it
        damaged = []
    fix = "correct these values by sqlite3 while no server runs, or roster restore, from the last good backup"
    return finding("values", "; ".join(damaged) or "all JSON is valid", ok=not damaged, fix=fix)


def of_erasures(path: Path) -> Finding:
    """Check whether copies of erased rows may be in the file, which was too large to be rewritten beside writers."""
    try:
        with reading(path) as connection:
            left = what_is_left(connection)
    except sqlite3.Error:  # the finding about pages reports it
        left = Left.NOTHING
    says = "nothing is left in the file" if left is Left.NOTHING else "copies of erased rows may be in the file"
    fix = "stop the server, and run roster db vacuum" if Left.MOVED_COPIES in left else "a server removes them"
    return finding("erasures", says, ok=left is Left.NOTHING, fix=fix, worst=Level.WARN)


def of_space(path: Path) -> Finding:
    """The free space: a copy before an upgrade, and a backup, need as much as the file has."""
    free, size = shutil.disk_usage(path.parent).free, path.stat().st_size
    return finding(
        "disk",
        f"{free // MIB} MiB free, the file has {size // MIB} MiB",
        ok=free >= max(2 * size, LEAST_FREE_BYTES),
        fix=f"make room on the disk of {path.parent}",
        worst=Level.WARN if free >= size else Level.FAIL,
    )


def of_log(path: Path) -> Finding:
    log = Path(f"{path}-wal")
    size = log.stat().st_size if log.exists() else 0
    return finding(
        "log",
        f"{log.name} has {size // MIB} MiB",
        ok=size <= LONG_LOG_BYTES,
        fix="end the program that keeps the file open, or restart the server, which empties the log",
        worst=Level.WARN,
    )


def of_clock(path: Path) -> Finding:
    """Check the clock of the machine: the last change in the file cannot be later than now."""
    try:
        with reading(path) as connection:
            found = connection.execute("SELECT at FROM changes ORDER BY seq DESC LIMIT 1").fetchall()
    except sqlite3.Error:  # another finding reports it
        found = []
    ahead_s = max([(datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds() for (at,) in found], default=0)
    says = (
        "no change has a time in the future" if ahead_s <= 0 else f"the last change is {ahead_s:,.0f} s in the future"
    )
    return finding("clock", says, ok=ahead_s <= CLOCK_APART_S, fix="run an NTP client", worst=Level.WARN)


def of_backup(path: Path) -> Finding:
    note = Path(f"{path}-backup")
    fix = "roster backup --every 1d --keep 14 FOLDER, run beside the server; or a copy by cron"
    if not note.exists():
        return Finding("backup", Level.WARN, "none was made by roster backup", fix)
    at = datetime.fromtimestamp(note.stat().st_mtime, UTC)
    age_s = (datetime.now(UTC) - at).total_seconds()
    says = f"the last one is of {at:%Y-%m-%d %H:%M} UTC: {note.read_text().strip()}"
    return finding("backup", says, ok=age_s <= BACKUP_TOO_OLD_S, fix=fix, worst=Level.WARN)


def warning_about(version: tuple[int, ...]) -> str | None:
    if version >= WAL_RESET_FIXED_IN:
        return None
    return (
        f"SQLite {'.'.join(map(str, version))} has the WAL-reset bug, fixed in 3.51.3. Roster avoids it, but another "
        "program that writes to the file or checkpoints it could corrupt it: back up by roster backup. "
        "A Python with a newer SQLite does not have the bug. See https://sqlite.org/wal.html#walresetbug"
    )
