"""What an error of SQLite means to the caller."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import Busy, Conflict, Contended, Refusal, Uncertain


@contextmanager
def refusing() -> Iterator[None]:
    """Errors of the driver leave the block as the refusals that they mean. Others are defects and stay as they are."""
    try:
        yield
    except sqlite3.Error as error:
        raise (refuse(error) or error) from error


def refuse(error: sqlite3.Error) -> Refusal | None:
    """The refusal that an error of the driver means; None if it is a defect."""
    code = getattr(error, "sqlite_errorname", "")
    if code in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"):
        return Conflict(field_in(str(error)))
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Contended("Another process is writing.")
    if code == "SQLITE_INTERRUPT":
        return Busy("This takes too long. Ask for less, or by a key.")
    if code == "SQLITE_FULL":
        return Busy("The database has no room left.")
    if code == "SQLITE_IOERR_FSYNC":
        return Uncertain("The disk did not confirm the change. It may have been stored or not.")
    return None


def field_in(message: str) -> str:
    """`UNIQUE constraint failed: users.email_key` is about the field email, whose folded form is in that column."""
    match = re.search(r"UNIQUE constraint failed: \w+\.(\w+)", message)
    assert match is not None, message  # noqa: S101
    return match[1].removesuffix("_key")
