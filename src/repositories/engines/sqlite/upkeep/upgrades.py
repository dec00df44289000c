"""The schema of a SQLite file. It is upgraded on a connection of SQLAlchemy, which Alembic needs."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from domain.errors import NotReady
from repositories.engines import revisions
from repositories.engines.epochs import begin_epoch
from repositories.engines.revisions import SchemaStatus, Upgrade
from repositories.engines.sqlite.connection import UPGRADE_TIMEOUT_MS, open_file
from repositories.engines.sqlite.files import APPLICATION_ID, keep_copy, require_own_file
from repositories.engines.sqlite.writers import writing

T = TypeVar("T")


class SchemaFile:
    """Reads and changes the schema of a file. Its methods block, and raise `NotReady`.

    `alone` says that no other process uses the file.
    """

    def __init__(self, path: Path, pragmas: Sequence[str], *, alone: bool = False) -> None:
        self._path = path
        self._pragmas = pragmas
        self._alone = alone

    def upgrade(self, *, keeps_copy: bool = True) -> Upgrade:
        """Upgrade the schema to the newest revision. A file that has a schema already is copied first."""
        with self.opened() as connection:
            before = revisions.status(connection)
            copy = keep_copy(self._path, before.head) if before.is_behind and keeps_copy else None
            revisions.upgrade(connection)
            check_foreign_keys(connection)
            mark_as_own(connection)
            after = revisions.revision_of(connection)
        return Upgrade(before.current, after, copy)

    def status(self) -> SchemaStatus:
        with self.opened() as connection:
            return revisions.status(connection)

    def begin_epoch(self, now: datetime, beyond: int) -> int:
        return self.run(lambda connection: begin_epoch(connection, now, beyond))

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """In a transaction that writes."""
        with self.opened() as connection:
            return work(connection)

    @contextmanager
    def opened(self) -> Iterator[sa.Connection]:
        """A transaction that writes."""
        self.require_own()
        engine = sa.create_engine(
            "sqlite://",
            creator=partial(open_file, self._path, self._pragmas, busy_timeout_ms=UPGRADE_TIMEOUT_MS),
            poolclass=sa.NullPool,
            hide_parameters=True,  # parameters do not belong in logs
        )
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        try:
            with (
                nullcontext() if self._alone else writing(self._path, UPGRADE_TIMEOUT_MS),
                engine.begin() as connection,
            ):
                yield connection
        except sa.exc.DatabaseError as error:
            raise self._unusable(error.orig) from error
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error

    def require_own(self) -> None:
        """Raises `NotReady` if the file belongs to another program."""
        try:
            require_own_file(self._path)
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error

    def _unusable(self, reason: object) -> NotReady:
        return NotReady(f"{self._path} cannot be opened as a SQLite database: {reason}.")


def mark_as_own(connection: sa.Connection) -> None:
    if connection.exec_driver_sql("PRAGMA application_id").scalar_one() != APPLICATION_ID:
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def check_foreign_keys(connection: sa.Connection) -> None:
    if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all():
        tables = ", ".join(sorted({row[0] for row in broken}))
        raise NotReady(f"The upgrade would leave {len(broken)} rows without their parent (tables: {tables}).")
