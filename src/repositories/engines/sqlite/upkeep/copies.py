"""A SQLite file as the source or the target of a copy."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from domain.errors import NotReady
from repositories.engines import revisions
from repositories.engines.sqlite.connection import open_file
from repositories.engines.sqlite.executors import DIALECT
from repositories.engines.sqlite.files import create_private, lock, require_file, require_own_file
from repositories.engines.sqlite.steps import BUSY_TIMEOUT_MS, fetch, run
from repositories.engines.sqlite.upkeep.upgrades import SchemaFile
from repositories.engines.sqlite.writers import writing
from repositories.engines.upkeep.copies import BATCH, COUNTERS, STOP_SOURCE, STOP_TARGET, Rows, reading

T = TypeVar("T")

READING: Final = ("PRAGMA query_only=ON", "PRAGMA wal_autocheckpoint=0")
LOADING: Final = ("PRAGMA synchronous=NORMAL", "PRAGMA foreign_keys=OFF")


class SqliteState:
    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    async def batches(self, table: sa.Table) -> AsyncGenerator[Rows]:
        cursor = await self._in_thread(self._connection.execute, text_of(reading(table)))
        while rows := await self._in_thread(cursor.fetchmany, BATCH):
            yield rows

    async def fetch(self, statement: sa.Executable) -> Rows:
        return await self._in_thread(fetch, text_of(statement), (), self._connection)

    async def counters(self) -> Mapping[str, int]:
        return dict(await self._in_thread(fetch, COUNTERS["sqlite"], (), self._connection))

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        with naming_the_file(self._path):
            return await asyncio.to_thread(work, *arguments)


class SqliteTarget:
    def __init__(self, path: Path, schema: SchemaFile, connection: sqlite3.Connection) -> None:
        self._path = path
        self._schema = schema
        self._connection = connection

    @asynccontextmanager
    async def state(self) -> AsyncIterator[SqliteState]:
        with opened(self._path) as connection:
            yield SqliteState(self._path, connection)

    async def write(self, table: sa.Table, rows: Rows) -> None:
        with naming_the_file(self._path):
            await asyncio.to_thread(self._write, inserting(table), rows)

    def _write(self, sql: str, rows: Rows) -> None:
        run("BEGIN IMMEDIATE", self._connection)
        self._connection.executemany(sql, rows).close()
        run("COMMIT", self._connection)

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        return await asyncio.to_thread(self._schema.run, work)


@asynccontextmanager
async def copied(path: Path, *, live: bool) -> AsyncIterator[SqliteState]:
    """See `Database.copied`. Commands that write have to wait too, and are refused after a time-out."""
    require_file(path)
    require_own_file(path)
    with nullcontext() if live else alone(path, STOP_SOURCE), opened(path) as connection:
        state = SqliteState(path, connection)
        ((revision,),) = await state.fetch(revisions.CURRENT)
        revisions.status_of(revision).require_head()
        yield state


@asynccontextmanager
async def copied_into(path: Path, schema: SchemaFile) -> AsyncIterator[SqliteTarget]:
    """See `Database.copied_into`."""
    create_private(path)
    with alone(path, STOP_TARGET):
        if schema.status().current is None:
            schema.upgrade(keeps_copy=False)
        with naming_the_file(path):
            connection = open_file(path, LOADING)
        with closing(connection):
            yield SqliteTarget(path, schema, connection)


@contextmanager
def alone(path: Path, advice: str) -> Iterator[None]:
    """Holds the locks of the file, so that no server has it open and nobody else writes to it."""
    with ExitStack() as stack:
        stack.callback(os.close, lock(path, advice))
        with naming_the_file(path):
            stack.enter_context(writing(path, BUSY_TIMEOUT_MS))
        yield


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that shows the present state."""
    with naming_the_file(path):
        connection = open_file(path, READING)
    with closing(connection):
        with naming_the_file(path):
            run("BEGIN", connection)
            fetch("SELECT 1 FROM sqlite_master", (), connection)  # a transaction shows the state of its first read
        yield connection


@contextmanager
def naming_the_file(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise NotReady(f"{path}: {error}.") from error


@cache
def text_of(statement: sa.Executable) -> str:
    return str(statement.compile(dialect=DIALECT))  # type: ignore[attr-defined]


def inserting(table: sa.Table) -> str:
    return str(sa.insert(table).compile(dialect=DIALECT, column_keys=[each.name for each in table.columns]))
