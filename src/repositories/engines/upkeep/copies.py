"""Copying a directory to another database: the interface of an engine, and what both engines share.

Values are copied in the form in which SQLite stores them: numbers, texts, bytes, and times and JSON as text. Values of
PostgreSQL are converted, by the types of their columns.

Until a copy has finished, its schema has a revision that no server accepts, which identifies the source. Indexes and
foreign keys are created at the end. So the copy is faster, and rows may refer to rows that come later.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import cache
from typing import Any, Final, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.schema import AddConstraint, CreateIndex, DropConstraint, DropIndex

from domain.errors import NotReady
from repositories.engines import revisions
from repositories.engines.epochs import begin_epoch
from repositories.engines.schema import metadata

T = TypeVar("T")
Rows = list[tuple[Any, ...]]

BATCH: Final = 2_000
"""How many rows are in memory at a time, and in one transaction."""

STOP_TARGET: Final = "Stop it first. Nothing was changed."
STOP_SOURCE: Final = (
    "Stop it first: the copy would miss what it writes meanwhile. To try a copy, add --live. Nothing was changed."
)


class State(Protocol):
    """The source, which shows one moment, however long it is read. Raises `NotReady`."""

    def batches(self, table: sa.Table) -> AsyncGenerator[Rows]:
        """All rows of a table, in the order of its key, `BATCH` at a time."""
        ...

    async def fetch(self, statement: sa.Executable) -> Rows: ...

    async def counters(self) -> Mapping[str, int]:
        """For each table with automatic ids the last id that was used."""
        ...


class Target(Protocol):
    """The target, which nobody else uses during the copy. Raises `NotReady`."""

    def state(self) -> AbstractAsyncContextManager[State]: ...

    async def write(self, table: sa.Table, rows: Rows) -> None:
        """Store these rows, all or none. A power cut may undo the last ones, until the next `run`."""
        ...

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Do some work in a transaction."""
        ...


@cache
def reading(table: sa.Table) -> sa.Select[Any]:
    columns = [
        sa.cast(each, sa.Text).label(each.name) if isinstance(plain(each.type), sa.JSON) else each
        for each in table.columns
    ]
    return sa.select(*columns).order_by(*table.primary_key)


def plain(type: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """The type of SQLAlchemy behind a type of Roster."""
    return type.impl_instance if isinstance(type, sa.types.TypeDecorator) else type


def counting(table: sa.Table) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(table)


def begin(mark: str, connection: sa.Connection) -> None:
    """Mark an empty database as the unfinished copy of a source, or continue such a copy. Raises `NotReady` if it is
    neither."""
    if revisions.revision_of(connection) != mark:
        require_empty(connection)
        set_revision(connection, mark)
    for table in metadata.sorted_tables:
        for index in table.indexes:
            connection.execute(DropIndex(index, if_exists=True))
        for key in foreign_keys(connection, table):
            connection.execute(DropConstraint(key, if_exists=True))


def require_empty(connection: sa.Connection) -> None:
    revisions.status(connection).require_head()
    filled = [table.name for table in metadata.sorted_tables if connection.execute(counting(table)).scalar_one()]
    if filled:
        raise NotReady(
            f"The target is not empty: it has rows in {', '.join(filled)}. Name an empty database. Nothing was changed."
        )


def clear(connection: sa.Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        connection.execute(sa.delete(table))


def finish(counters: Mapping[str, int], epoch_at: datetime | None, connection: sa.Connection) -> int | None:
    """Turn the copy into a directory that can be served. Returns the start of its new epoch, if `epoch_at` is given."""
    for table in metadata.sorted_tables:
        for index in table.indexes:
            connection.execute(CreateIndex(index))
        for key in foreign_keys(connection, table):
            connection.execute(AddConstraint(key, isolate_from_table=False))
    count_on(connection, counters)
    start = None if epoch_at is None else begin_epoch(connection, epoch_at, 0)
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("ANALYZE"))  # otherwise its first plans are for empty tables
    set_revision(connection, revisions.head())
    return start


def foreign_keys(connection: sa.Connection, table: sa.Table) -> Iterator[sa.ForeignKeyConstraint]:
    """The foreign keys that can be dropped. SQLite cannot drop them. There they are switched off during the copy."""
    if connection.dialect.name == "postgresql":
        yield from table.foreign_key_constraints


def set_revision(connection: sa.Connection, revision: str) -> None:
    connection.execute(sa.text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


COUNTERS: Final = {
    "sqlite": "SELECT name, seq FROM sqlite_sequence",
    "postgresql": """
        SELECT table_name, last_value FROM information_schema.columns
        JOIN pg_sequences ON format('%I.%I', schemaname, sequencename)
                           = pg_get_serial_sequence(format('%I', table_name), column_name)
        WHERE table_schema = current_schema() AND is_identity = 'YES' AND last_value IS NOT NULL
    """,
}
COUNT_ON: Final = {
    "sqlite": (
        "DELETE FROM sqlite_sequence WHERE name = :table",
        "INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :last)",
    ),
    "postgresql": ("SELECT setval(pg_get_serial_sequence(:table, :column), :last)",),
}


def count_on(connection: sa.Connection, counters: Mapping[str, int]) -> None:
    """Continue counting ids, so that ids that were used before, even of removed rows, are not used again."""
    for column in (column for table in metadata.sorted_tables for column in table.columns if column.identity):
        highest = connection.execute(sa.select(sa.func.max(column))).scalar_one() or 0
        if last := max(highest, counters.get(column.table.name, 0)):
            for statement in COUNT_ON[connection.dialect.name]:
                names = {"table": column.table.name, "column": column.name, "last": last}
                connection.execute(sa.text(statement), names)
