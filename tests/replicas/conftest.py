"""A primary and a streaming replica, made once for the tests here."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import sqlalchemy as sa
from tests.clusters import Cluster, postgres_binaries
from tests.conftest import create_postgres_database, database_for_tests, empty

from domain.work import RequestContext
from repositories.engines.database import database_at
from repositories.engines.meter import NO_METER, Meter
from repositories.engines.postgres.database import PostgresDatabase
from repositories.work.units_of_work import SqlUnitsOfWork

DEADLINE_S: Final = 30
IS_REPLICA: Final = sa.text("SELECT pg_is_in_recovery()")


class Pair:
    def __init__(self, primary: Cluster, replica: Cluster, database: str) -> None:
        self.replica = replica
        self.primary_url = primary.url_of(database)
        self.replica_url = replica.url_of(database)

    async def on_primary(self, query: str) -> Any:
        return await ask(self.primary_url, query)

    async def on_replica(self, query: str) -> Any:
        return await ask(self.replica_url, query)

    async def caught_up(self) -> None:
        """Returns when the replica shows everything that the primary has."""
        position = await self.on_primary("SELECT pg_current_wal_lsn()::text")
        behind = f"SELECT pg_last_wal_replay_lsn() < '{position}'"

        async def has_it() -> bool:
            return not await self.on_replica(behind)

        await until(has_it)

    @asynccontextmanager
    async def behind(self) -> AsyncIterator[None]:
        """Until the block ends, the replica receives changes and shows none of them."""
        await self.caught_up()
        await self.on_replica("SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            await self.on_replica("SELECT pg_wal_replay_resume()")


async def ask(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await holds():  # noqa: ASYNC110  # no event for it
            await asyncio.sleep(0.01)


@pytest.fixture(scope="session")
async def made_pair(postgres_cluster: Cluster, anyio_backend: str) -> AsyncIterator[Pair]:
    """The primary is the server of the other tests, since making one takes longer than copying it."""
    name = f"roster_test_{os.getpid()}_pair"
    await create_postgres_database(postgres_cluster.url, name)
    database = database_for_tests(postgres_cluster.url_of(name))
    await database.upgrade()
    await database.stop()
    with tempfile.TemporaryDirectory(prefix="roster-replica-") as folder:
        replica = Cluster(postgres_binaries(), Path(folder))
        replica.copy_of(postgres_cluster)
        replica.start()
        try:
            yield Pair(postgres_cluster, replica, name)
        finally:
            replica.stop()


@pytest.fixture
async def pair(made_pair: Pair) -> Pair:
    """An empty pair, with both servers running."""
    await empty(made_pair.primary_url)
    await made_pair.caught_up()
    return made_pair


@asynccontextmanager
async def opened(
    pair: Pair, *, lag_s: float = 60, meter: Meter = NO_METER, replicas: str | None = None
) -> AsyncIterator[SqlUnitsOfWork]:
    """Units of work that read from the replica."""
    database = database_at(
        pair.primary_url,
        serving=True,
        pool_size=4,
        pool_timeout_s=5,
        replica_url=pair.replica_url if replicas is None else replicas,
        replica_lag_s=lag_s,
        meter=meter,
    )
    assert isinstance(database, PostgresDatabase)
    units = SqlUnitsOfWork(database)
    await units.start()
    try:
        yield units
    finally:
        await units.stop()


@pytest.fixture
async def units(pair: Pair) -> AsyncIterator[SqlUnitsOfWork]:
    async with opened(pair) as units:
        await until(lambda: reads_from_replica(units))
        yield units


def reader(min_seq: int | None = 0) -> RequestContext:
    """The context of a request that reads. With None it does not know the last change that it has seen."""
    return RequestContext(actor="reader", request_id="r1", min_seq=min_seq)


async def reads_from_replica(units: SqlUnitsOfWork, context: RequestContext | None = None) -> bool:
    async with units.reading(context or reader()) as work:
        ((is_replica,),) = await work.unit.executor.fetch(IS_REPLICA)
    return bool(is_replica)
