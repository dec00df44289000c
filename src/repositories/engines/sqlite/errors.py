"""The translation of errors of SQLite into refusals."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import (
    BrokenReference,
    Busy,
    Conflict,
    Contended,
    Damaged,
    FilesRemoved,
    NoSpace,
    Refusal,
    Uncertain,
    Unreachable,
)


@contextmanager
def translating_errors() -> Iterator[None]:
    """Translates errors of the driver in the block into refusals. Other exceptions are defects and stay unchanged."""
    try:
        yield
    except sqlite3.Error as error:
        raise (refusal_of(error) or error) from error


def refusal_of(error: sqlite3.Error) -> Refusal | None:
    """The refusal for an error of the driver; None if the error is a defect."""
    match getattr(error, "sqlite_errorname", "").split("_")[1:]:
        case ["CONSTRAINT", "UNIQUE" | "PRIMARYKEY"]:
            refusal: Refusal | None = Conflict(*fields_in(str(error)))
        case ["CONSTRAINT", "FOREIGNKEY"]:
            refusal = BrokenReference()
        case ["BUSY" | "LOCKED", *_]:
            refusal = Contended("Another process is writing.")
        case ["INTERRUPT"]:
            refusal = Busy("This takes too long. Ask for less, or by a key.")
        case ["FULL"]:
            refusal = NoSpace()
        case ["CORRUPT" | "NOTADB", *_]:
            refusal = Damaged()
        case ["READONLY", "DBMOVED"]:
            refusal = FilesRemoved()
        case ["IOERR", *_, "FSYNC"]:
            refusal = Uncertain("The disk did not confirm the change. It may have been stored or not.")
        case ["CANTOPEN" | "IOERR", *_]:
            refusal = Unreachable()
        case _:
            refusal = None
    return refusal


def fields_in(message: str) -> list[str]:
    """The fields in an error such as `UNIQUE constraint failed: projects.owner_id, projects.name_key`: owner_id and
    name.

    A column that ends in `_key` holds the folded form of a field.
    """
    return [column.removesuffix("_key") for column in re.findall(r"\w+\.(\w+)", message)]
