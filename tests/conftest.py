"""The databases of the tests: files in a temporary folder, and a PostgreSQL server of their own."""

import asyncio
import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import sqlalchemy as sa
import structlog
from tests.clusters import Cluster, postgres_binaries

from repositories.engines.database import Database, database_at
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.postgres.database import started as opened
from repositories.engines.schema import metadata
from repositories.engines.sqlite.database import SqliteDatabase


def database_for_tests(url: str, *, serving: bool = True) -> Database:
    return database_at(url, serving=serving, pool_size=8, pool_timeout_s=5)


@asynccontextmanager
async def started(url: str) -> AsyncIterator[Database]:
    database = database_for_tests(url)
    await database.start()
    yield database
    await database.stop()


structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
)
"""The default writes tracebacks with colours and the values of all variables. Each takes a second."""

gc.disable()
"""Off until all tests are collected, since nearly all objects made until then stay. See `pytest_collection_finish`."""

LONGEST: Final = ("docs/test_adding_an_entity", "simulation/", "api/web/test_schema", "browser/", "e2e/")


HEAVY: Final = ("tests/browser/", "tests/e2e/", "tests/replicas/")
"""Tests here use a browser, or start servers as processes, which they stop, kill or freeze."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The number of processes for `-n auto`: one for each core, and one more for `make test`, because tests wait for
    databases. Heavy tests start processes themselves."""
    is_light: bool = config.option.markexpr == "not heavy"
    return (os.cpu_count() or 1) + is_light


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files come first, so that no process runs one of them alone at the end."""
    for item in items:
        if item.nodeid.startswith(HEAVY):
            item.add_marker("heavy")

    def place(item: pytest.Item) -> int:
        return next((n for n, part in enumerate(LONGEST) if f"tests/{part}" in item.nodeid), len(LONGEST))

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)  # before anyio runs the test
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """A test marked `bound` fails by itself after so many seconds. A time limit in a fixture would also cancel the task
    that runs all other tests of the process."""
    mark = pyfuncitem.get_closest_marker("bound")
    if mark is not None and iscoroutinefunction(pyfuncitem.obj):
        pyfuncitem.obj = bounded(pyfuncitem.obj, mark.args[0])


def bounded(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Awaitable[None]]:
    @wraps(test)
    async def within(**given: Any) -> None:
        async with asyncio.timeout(seconds):
            await test(**given)

    return within


def pytest_collection_finish() -> None:
    """Everything that is loaded by now stays. Searching it for garbage took a twelfth of the time of the tests."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'roster.db'}"


@pytest.fixture(scope="session")
async def empty_sqlite_file(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> Path:
    """A file with the schema at its head, to be copied, which takes a tenth of the time of a migration."""
    file = tmp_path_factory.mktemp("sqlite") / "empty.db"
    database = database_for_tests(f"sqlite:///{file}")
    await database.upgrade()
    await database.stop()
    return file


@pytest.fixture
def upgraded_sqlite_url(sqlite_url: str, empty_sqlite_file: Path) -> str:
    """A fresh file with the schema at its head."""
    shutil.copy(empty_sqlite_file, sa.make_url(sqlite_url).database or "")
    return sqlite_url


@pytest.fixture
async def sqlite(upgraded_sqlite_url: str) -> AsyncIterator[SqliteDatabase]:
    """The same, started."""
    async with started(upgraded_sqlite_url) as database:
        assert isinstance(database, SqliteDatabase)
        yield database


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A server that is started here and ends with the session."""
    binaries = postgres_binaries()
    with tempfile.TemporaryDirectory(prefix="roster-pg-") as folder:
        server = Cluster(binaries, Path(folder))
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> str:
    """The URL of a server: ROSTER_TEST_POSTGRES_URL, or that of one of our own."""
    url: str = os.environ.get("ROSTER_TEST_POSTGRES_URL") or request.getfixturevalue("postgres_cluster").url
    return url


@pytest.fixture(scope="session")
async def empty_postgres_url(postgres_server: str, anyio_backend: str) -> str:
    """A database of this session with the schema at its head."""
    name = f"roster_test_{os.getpid()}"
    await create_postgres_database(postgres_server, name)
    url = sa.make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    database = database_for_tests(url)
    await database.upgrade()
    await database.stop()
    return url


async def create_postgres_database(server_url: str, name: str) -> None:
    server = await asyncpg.connect(server_url)
    await server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    await server.execute(f'CREATE DATABASE "{name}"')
    await server.close()


@pytest.fixture
async def postgres_url(empty_postgres_url: str) -> str:
    """The session's database, emptied."""
    await empty(empty_postgres_url)
    return empty_postgres_url


async def empty(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("; ".join(emptying()))
    await connection.close()


def emptying(*extensions: sa.MetaData) -> Iterator[str]:
    """Deletes all rows and restarts the counters. With few rows, TRUNCATE would take five times as long."""
    for table in (table for each in (*extensions, metadata) for table in reversed(each.sorted_tables)):
        yield f"DELETE FROM {table.name}"
        for column in table.columns:
            if column.identity is not None:
                yield f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'), 1, false)"


async def start_empty(database: PostgresDatabase, *extensions: sa.MetaData) -> None:
    """Empty a database that is kept for several tests, through its own connections. A test may have stopped it."""
    await database.start()
    async with opened(database._writing).one() as connection:
        await connection.execute("; ".join(emptying(*extensions)))


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    """The same, started."""
    async with started(postgres_url) as database:
        assert isinstance(database, PostgresDatabase)
        yield database


@pytest.fixture
async def fresh_postgres_url(postgres_server: str) -> str:
    """A database without a schema, of the test's own."""
    name = f"roster_test_{os.getpid()}_fresh"
    await create_postgres_database(postgres_server, name)
    return sa.make_url(postgres_server).set(database=name).render_as_string(hide_password=False)


class MovedTime:
    """Clocks that move only when a test moves them."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)
        self.ticks = 1000.0

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.ticks += seconds

    def clock(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.ticks


@pytest.fixture
def time() -> MovedTime:
    return MovedTime()
