"""One directory for each store: every test here runs on all three."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa
from tests.conftest import create_postgres_database, database_for_tests, start_empty, started
from tests.contracts import sample
from tests.contracts.records import Sample
from tests.contracts.sample import SampleUnits

from domain.work import RequestContext, UnitsOfWork
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.sqlite.connection import DURABLE
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.sqlite.upkeep.upgrades import SchemaFile
from repositories.fake import MemoryUnitsOfWork
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService


@pytest.fixture(scope="module")
async def kept_postgres(empty_postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    """Started once for all tests of a file: connecting takes longer than most tests."""
    async with started(empty_postgres_url) as database:
        assert isinstance(database, PostgresDatabase)
        yield database


@pytest.fixture
async def shared_postgres(kept_postgres: PostgresDatabase) -> AsyncIterator[PostgresDatabase]:
    async with emptied(kept_postgres) as database:
        yield database


@asynccontextmanager
async def emptied(database: PostgresDatabase, *extensions: sa.MetaData) -> AsyncIterator[PostgresDatabase]:
    """A test leaves no connection in use. A cancelled call may need a moment to return its connection."""
    await start_empty(database, *extensions)
    pools = [each for each in (database._writing, database._reading, database._streaming) if each]
    yield database
    async with asyncio.timeout(30):
        while any(pool._turns._value < pool._pool.get_max_size() for pool in pools):  # noqa: ASYNC110  # no event for it
            await asyncio.sleep(0.001)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def units(request: pytest.FixtureRequest) -> UnitsOfWork:
    if request.param == "memory":
        return MemoryUnitsOfWork()
    return SqlUnitsOfWork(request.getfixturevalue({"sqlite": "sqlite", "postgres": "shared_postgres"}[request.param]))


@pytest.fixture
def context() -> RequestContext:
    return RequestContext(actor="tester", request_id="r1")


@pytest.fixture
def users(units: UnitsOfWork, context: RequestContext) -> UserService:
    """A service whose every call is a unit of work of its own, to prepare and check what a test needs."""
    return UserService(units, context)


EXTENSIONS: Final = (sample.metadata, Sample.metadata)
"""Tables beside Roster's own, as a product that extends it has them."""


@pytest.fixture(scope="session")
async def extended_sqlite_file(
    empty_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "extended.db"
    shutil.copy(empty_sqlite_file, file)
    with SchemaFile(file, DURABLE).opened() as connection:
        for each in EXTENSIONS:
            each.create_all(connection)
    return file


@pytest.fixture
async def extended_sqlite(sqlite_url: str, extended_sqlite_file: Path) -> AsyncIterator[SqliteDatabase]:
    shutil.copy(extended_sqlite_file, sa.make_url(sqlite_url).database or "")
    async with started(sqlite_url) as database:
        assert isinstance(database, SqliteDatabase)
        yield database


@pytest.fixture(scope="session")
async def extended_postgres_url(postgres_server: str, anyio_backend: str) -> str:
    """Another database of this session: each test finds it empty."""
    name = f"roster_test_{os.getpid()}_extended"
    await create_postgres_database(postgres_server, name)
    url = sa.make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    database = database_for_tests(url)
    assert isinstance(database, PostgresDatabase)
    await database.upgrade()
    async with database._connected() as connection:
        for each in EXTENSIONS:
            await connection.run_sync(each.create_all)
    return url


@pytest.fixture(scope="module")
async def kept_extended_postgres(extended_postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    async with started(extended_postgres_url) as database:
        assert isinstance(database, PostgresDatabase)
        yield database


@pytest.fixture
async def extended_postgres(kept_extended_postgres: PostgresDatabase) -> AsyncIterator[PostgresDatabase]:
    async with emptied(kept_extended_postgres, *EXTENSIONS) as database:
        yield database


@pytest.fixture
def sample_sqlite(extended_sqlite: SqliteDatabase) -> SampleUnits:
    return SampleUnits(extended_sqlite)


@pytest.fixture
def sample_postgres(extended_postgres: PostgresDatabase) -> SampleUnits:
    return SampleUnits(extended_postgres)
