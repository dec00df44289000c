"""One directory for each store: every test here runs on all three."""

from collections.abc import AsyncIterator

import pytest
from tests.contracts import sample
from tests.contracts.sample import SampleUnits

from domain.work import RequestContext, UnitsOfWork
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.fake import MemoryUnitsOfWork
from repositories.work import SqlUnitsOfWork
from services.users import UserService


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def units(request: pytest.FixtureRequest) -> UnitsOfWork:
    if request.param == "memory":
        return MemoryUnitsOfWork()
    return SqlUnitsOfWork(request.getfixturevalue(request.param))


@pytest.fixture
def context() -> RequestContext:
    return RequestContext(actor="tester", request_id="r1")


@pytest.fixture
def users(units: UnitsOfWork, context: RequestContext) -> UserService:
    """The short way to a unit of work of its own, for what a test needs around its point."""
    return UserService(units, context)


@pytest.fixture
async def sample_sqlite(sqlite: SqliteDatabase) -> SampleUnits:
    """The sample's tables beside Roster's own."""
    with sqlite._opened() as connection:
        sample.metadata.create_all(connection)
    return SampleUnits(sqlite)


@pytest.fixture
async def sample_postgres(postgres: PostgresDatabase) -> AsyncIterator[SampleUnits]:
    async with postgres._connected() as connection:
        await connection.run_sync(sample.metadata.create_all)
    yield SampleUnits(postgres)
    async with postgres._connected() as connection:
        await connection.run_sync(sample.metadata.drop_all)
