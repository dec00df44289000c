"""Connections to PostgreSQL that break: a unit of work runs again, unless it was committing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import pytest
import sqlalchemy as sa

from domain.errors import Contended, Uncertain
from domain.users import NewUser
from domain.work import Occasion
from repositories.database import database_at
from repositories.postgres import PostgresDatabase
from repositories.work import SqlUnitOfWork, SqlUnitsOfWork
from services.users import UserService

OCCASION: Final = Occasion(actor="tester", request_id="r1")
WHO_AM_I: Final = sa.text("SELECT pg_backend_pid()")


@pytest.fixture
async def killer(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    """A way to the server that the test does not break."""
    database = database_at(postgres_url, serving=False, pool_size=1, pool_timeout_s=5)
    assert isinstance(database, PostgresDatabase)
    yield database
    await database.stop()


async def kill(killer: PostgresDatabase, *backends: int) -> None:
    """Returns when they are gone."""
    async with killer.session() as session, asyncio.timeout(10):
        for backend in backends:
            await session.execute(sa.select(sa.func.pg_terminate_backend(backend)))
        alive = sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(:backends)")
        while (await session.execute(alive, {"backends": list(backends)})).scalar_one():
            await session.rollback()


async def backends_of(postgres: PostgresDatabase) -> list[int]:
    """Fills both pools of eight and tells which backends serve them."""
    assert postgres._reading is not None
    async with AsyncExitStack() as held:
        sessions = [await held.enter_async_context(postgres.session()) for _ in range(8)]
        writers = [(await session.execute(WHO_AM_I)).scalar_one() for session in sessions]
        connections = [await held.enter_async_context(postgres._reading.acquire()) for _ in range(8)]
        readers = [await connection.fetchval(str(WHO_AM_I)) for connection in connections]
    return [*writers, *readers]


async def test_calls_succeed_although_every_pooled_connection_is_dead(
    postgres: PostgresDatabase, killer: PostgresDatabase
) -> None:
    users = UserService(SqlUnitsOfWork(postgres), OCCASION)
    alice = await users.create(NewUser(name="Alice"))
    backends = await backends_of(postgres)
    await kill(killer, *backends)
    assert await users.get(alice.id) == alice
    assert (await users.patch(alice.id, {"name": "Alicia"})).version == 2
    await kill(killer, *await backends_of(postgres))
    assert (await users.create(NewUser(name="Bob"))).version == 1


async def test_the_pool_does_not_ask_before_each_use(postgres: PostgresDatabase) -> None:
    """It would cost a round trip each time. A dead connection is noticed by its use."""
    assert not postgres._writer.pool._pre_ping


async def test_a_unit_whose_connection_is_lost_is_contended_and_undone(
    postgres: PostgresDatabase, killer: PostgresDatabase
) -> None:
    units = SqlUnitsOfWork(postgres)
    async with units.writing(OCCASION) as work:
        await work.users.add(NewUser(name="Alice"))
        await kill(killer, await backend_of(work))
        with pytest.raises(Contended):
            await work.users.add(NewUser(name="Bob"))
    assert await count(units) == (0, 0)


async def test_a_connection_lost_before_the_changes_are_written_is_contended(
    postgres: PostgresDatabase, killer: PostgresDatabase
) -> None:
    units = SqlUnitsOfWork(postgres)
    async with units.writing(OCCASION) as work:
        await work.users.add(NewUser(name="Alice"))
        await kill(killer, await backend_of(work))
        with pytest.raises(Contended):
            await work.commit()
    assert await count(units) == (0, 0)


class Interrupted(SqlUnitsOfWork):
    """Its connection is killed while it commits: before COMMIT is sent, or before its answer is read."""

    def __init__(self, database: PostgresDatabase, killer: PostgresDatabase, *, stored: bool) -> None:
        super().__init__(database)
        self._killer = killer
        self._stored = stored
        self.begun = 0

    @asynccontextmanager
    async def writing(self, occasion: Occasion) -> AsyncIterator[SqlUnitOfWork]:
        async with super().writing(occasion) as work:
            self.begun += 1
            commit, backend = work._session.commit, await backend_of(work)

            async def commit_and_break() -> None:
                if self._stored:
                    await work._session.execute(sa.text("COMMIT"))  # done, though nobody here knows
                await kill(self._killer, backend)
                await commit()

            work._session.commit = commit_and_break  # type: ignore[method-assign]
            yield work


@pytest.mark.parametrize("stored", [False, True])
async def test_a_connection_lost_in_commit_is_uncertain_and_not_run_again(
    postgres: PostgresDatabase, killer: PostgresDatabase, stored: bool
) -> None:
    units = Interrupted(postgres, killer, stored=stored)
    with pytest.raises(Uncertain):
        await UserService(units, OCCASION).create(NewUser(name="Alice"))
    assert units.begun == 1
    assert await count(units) == ((1, 1) if stored else (0, 0))


async def backend_of(work: SqlUnitOfWork) -> int:
    backend: int = (await work._session.execute(WHO_AM_I)).scalar_one()
    return backend


async def count(units: SqlUnitsOfWork) -> tuple[int, int]:
    async with units.reading() as work:
        return len(await work.users.list(limit=10)), len(await work.changes.list(limit=10))
