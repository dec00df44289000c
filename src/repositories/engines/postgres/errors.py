"""The translation of errors of PostgreSQL and its driver into refusals."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import asyncpg
import sqlalchemy as sa

from domain.errors import (
    BrokenReference,
    Busy,
    Conflict,
    Contended,
    Damaged,
    NoSpace,
    NotReady,
    Refusal,
    Uncertain,
    Unreachable,
)

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a command on a connection that the server has closed
    OSError,  # this includes time-outs
)

READ_ONLY: Final = "25006"
"""read_only_sql_transaction. For a writer: this server has become a standby. For a reader it is a defect."""

CONTENDED: Final = {"40001", "40P01"}  # serialization failure, deadlock
CONNECTION_LOST: Final = ("08", "57P01", "57P02", "57P03", "25P03")  # by class or code


def busy() -> Busy:
    return Busy("The database is busy. Try again shortly.")


MEANINGS: Final[Mapping[str, Callable[[], Refusal]]] = {
    "23503": BrokenReference,
    "53100": NoSpace,
    "53200": busy,  # out of memory
    "53300": busy,  # too many connections
    "55P03": busy,  # a lock was not free in time
    "57014": busy,  # a statement took too long
    "XX001": Damaged,  # data
    "XX002": Damaged,  # an index
}


def refusal_of(error: Exception) -> Refusal | None:
    """The refusal for an error of the driver; None if the error is a defect."""
    code = code_of(error)
    if code == "23505":
        return Conflict(*fields_in(getattr(error, "detail", None) or ""))
    if code in MEANINGS:
        return MEANINGS[code]()
    if isinstance(error, TimeoutError):
        return busy()
    if code in CONTENDED or is_lost(error) or isinstance(error, asyncpg.InvalidCachedStatementError):
        return Contended("The database asked to run this again.")
    return None


def refusal_of_write(error: Exception) -> Refusal | None:
    """The same for an error of a writing transaction."""
    return (
        Contended("This database server no longer accepts writes.")
        if code_of(error) == READ_ONLY
        else refusal_of(error)
    )


def refusal_of_connection(error: Exception) -> Refusal:
    """The same for an error while a connection is opened: the server is down, or no longer accepts Roster's
    credentials."""
    refusal = refusal_of(error)
    return refusal if isinstance(refusal, Busy) else Unreachable()


def refusal_of_commit(error: Exception) -> Refusal | None:
    """The same for an error of a COMMIT."""
    if is_lost(error) or code_of(error) == "40003":
        return Uncertain("The connection broke while committing. The change may have been stored or not.")
    return refusal_of_write(error)


def was_never_sent(error: asyncpg.InternalClientError) -> bool:
    """Whether the driver refused a command without sending it, because it is still cleaning up a lost connection."""
    return "cannot switch to state" in str(error)


def never_sent() -> Contended:
    return Contended("The connection was lost before this was sent.")


@contextmanager
def translating_errors(refusal: Callable[[Exception], Refusal | None] = refusal_of) -> Iterator[None]:
    """Translates errors of the driver in the block into refusals. Other exceptions are defects and stay unchanged."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise (refusal(error) or error) from error


@contextmanager
def reaching(database: str) -> Iterator[None]:
    """Translates errors of connecting, at a start or in a command, into `NotReady`."""
    try:
        yield
    except (OSError, asyncpg.PostgresError) as error:
        raise NotReady(f"{database} cannot be reached: {first_line(error)}.") from error
    except sa.exc.DBAPIError as error:
        raise NotReady(f"{database} refused: {first_line(error.orig)}.") from error
    except asyncpg.InterfaceError as error:  # a parameter of the URL that the driver does not take
        raise NotReady(f"{database} refused: {first_line(error)}.") from error


@contextmanager
def asking(database: str) -> Iterator[None]:
    """Translates errors of a statement, at a start or in a command, into `NotReady`."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise NotReady(f"{database} refused: {first_line(error)}.") from error


def first_line(error: BaseException | None) -> str:
    """The first line of an error, for an operator. The other lines may contain values."""
    return str(error).partition("\n")[0] or type(error).__name__


def code_of(error: BaseException | None) -> str:
    return getattr(error, "sqlstate", None) or ""


def is_lost(error: Exception) -> bool:
    return isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError) or code_of(
        error
    ).startswith(CONNECTION_LOST)


COLUMNS: Final = re.compile(r"\(([^()]*)\)=")


def fields_in(detail: str) -> list[str]:
    """The fields in an error such as `Key (owner_id, name_key)=(7, apollo) already exists.`: owner_id and name.

    A column that ends in `_key` holds the folded form of a field. The text may be in any language.
    """
    match = COLUMNS.search(detail)
    columns = match[1] if match else ""
    return [column.removesuffix("_key") for column in columns.split(", ")]
