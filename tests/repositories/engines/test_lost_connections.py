"""Connections to PostgreSQL that break: a unit of work is retried, unless it was committing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import asyncpg
import pytest
import sqlalchemy as sa

from domain.errors import Contended, Uncertain
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.database import database_at
from repositories.engines.executors import Executor
from repositories.engines.meter import NO_METER
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.postgres.executors import ConnectionExecutor, PostgresTransaction
from repositories.engines.postgres.pools import cut
from repositories.work.units_of_work import SqlUnitOfWork, SqlUnitsOfWork
from services.users import UserService

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
WHO_AM_I: Final = sa.text("SELECT pg_backend_pid()")


@pytest.fixture
async def killer(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    """A connection to the server that the test does not break."""
    database = database_at(postgres_url, serving=False, pool_size=1, pool_timeout_s=5)
    assert isinstance(database, PostgresDatabase)
    await database.start()
    yield database
    await database.stop()


async def kill(killer: PostgresDatabase, *backends: int) -> None:
    """Returns when these backends are gone."""
    async with asyncio.timeout(10):
        for backend in backends:
            await killer.reader.fetch(sa.select(sa.func.pg_terminate_backend(backend)))
        alive = sa.text(f"SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(ARRAY{list(backends)})")
        while await killer.reader.fetch(alive) != [(0,)]:
            pass


async def backends_of(postgres: PostgresDatabase) -> list[int]:
    """Fills both pools of eight and returns their backends."""
    assert postgres._reading is not None
    async with AsyncExitStack() as held:
        writers = [await held.enter_async_context(postgres.transaction()) for _ in range(8)]
        connections = [await held.enter_async_context(postgres._reading.one()) for _ in range(8)]
        readers = [ConnectionExecutor(each, NO_METER, "read") for each in connections]
        executors: list[Executor] = [*writers, *readers]
        return [await backend_on(executor) for executor in executors]


async def backend_on(executor: Executor) -> int:
    ((backend,),) = await executor.fetch(WHO_AM_I)
    return int(backend)


async def test_calls_succeed_although_every_pooled_connection_is_dead(
    postgres: PostgresDatabase, killer: PostgresDatabase
) -> None:
    users = UserService(SqlUnitsOfWork(postgres), CONTEXT)
    alice = (await users.create(NewUser(name="Alice"))).result
    backends = await backends_of(postgres)
    await kill(killer, *backends)
    assert await users.get(alice.id) == alice
    assert ((await users.patch(alice.id, {"name": "Alicia"})).result).version == 2
    await kill(killer, *await backends_of(postgres))
    assert ((await users.create(NewUser(name="Bob"))).result).version == 1


async def test_a_unit_whose_connection_is_lost_is_contended_and_rolled_back(
    postgres: PostgresDatabase, killer: PostgresDatabase
) -> None:
    units = SqlUnitsOfWork(postgres)
    async with units.writing(CONTEXT) as work:
        await work.users.add(NewUser(name="Alice"))
        await kill(killer, await backend_on(work.unit.executor))
        with pytest.raises(Contended):
            await work.users.add(NewUser(name="Bob"))
    assert await count(units) == (0, 0)


async def test_a_connection_lost_before_the_changes_are_written_is_contended(
    postgres: PostgresDatabase, killer: PostgresDatabase
) -> None:
    units = SqlUnitsOfWork(postgres)
    async with units.writing(CONTEXT) as work:
        await work.users.add(NewUser(name="Alice"))
        await kill(killer, await backend_on(work.unit.executor))
        with pytest.raises(Contended):
            await work.commit(None)
    assert await count(units) == (0, 0)


async def test_a_unit_on_a_server_that_became_a_standby_is_retried_on_another_connection(
    postgres: PostgresDatabase,
) -> None:
    """After a failover every pooled connection may lead to the former primary."""
    async with AsyncExitStack() as held:
        for writer in [await held.enter_async_context(postgres.transaction()) for _ in range(8)]:
            await writer.fetch(sa.text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"), last=True)
    users = UserService(SqlUnitsOfWork(postgres), CONTEXT)
    created = await asyncio.gather(*[users.create(NewUser(name="Alice")) for _ in range(4)])
    assert {each.result.version for each in created} == {1}


class Interrupted(SqlUnitsOfWork):
    """Its connection is killed while it commits: before COMMIT is sent, or before its answer is read."""

    def __init__(self, database: PostgresDatabase, killer: PostgresDatabase, *, stored: bool) -> None:
        super().__init__(database)
        self._killer = killer
        self._stored = stored
        self.begun = 0

    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[SqlUnitOfWork]:
        async with super().writing(context) as work:
            self.begun += 1
            executor = work.unit.executor
            assert isinstance(executor, PostgresTransaction)
            commit, backend = executor.commit, await backend_on(executor)

            async def commit_and_break() -> None:
                if self._stored:
                    await executor.run("COMMIT", ())  # done, though nobody here knows
                await kill(self._killer, backend)
                await commit()

            executor.commit = commit_and_break  # type: ignore[method-assign]
            yield work


@pytest.mark.parametrize("stored", [False, True])
async def test_a_connection_lost_in_a_commit_is_uncertain_and_not_retried(
    postgres: PostgresDatabase, killer: PostgresDatabase, stored: bool
) -> None:
    units = Interrupted(postgres, killer, stored=stored)
    with pytest.raises(Uncertain):
        await UserService(units, CONTEXT).put(NewUser(name="Alice", external_id="x"))
    assert units.begun == 1
    assert await count(units) == ((1, 1) if stored else (0, 0))


class Breaking:
    """A connection that is killed during a statement: before the server runs it, or before its answer is read."""

    def __init__(self, connection: Any, kill: Callable[[], Awaitable[None]], *, stored: bool) -> None:
        self._connection = connection
        self._kill = kill
        self._stored = stored

    async def fetch(self, sql: str, *arguments: Any) -> Any:
        if self._stored:
            await self._connection.fetch(sql, *arguments)
            await self._kill()
            raise asyncpg.ConnectionDoesNotExistError("the answer of the server is lost")
        await self._kill()
        return await self._connection.fetch(sql, *arguments)

    def terminate(self) -> None:
        self._connection.terminate()


@pytest.fixture
def breaks(
    postgres: PostgresDatabase, killer: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, *, stored: bool
) -> None:
    """Each connection for a unit of one statement, or for a group of them, is killed during that."""
    assert postgres._writing is not None
    one = postgres._writing.one

    @asynccontextmanager
    async def broken() -> AsyncIterator[Any]:
        async with one() as connection:
            backend = await connection.fetchval("SELECT pg_backend_pid()")
            try:
                yield Breaking(connection, partial(kill, killer, backend), stored=stored)
            finally:
                cut(connection)  # the next one would ask a dead one who it is

    monkeypatch.setattr(postgres._writing, "one", broken)


@pytest.mark.usefixtures("breaks")
@pytest.mark.parametrize("stored", [False, True])
async def test_a_connection_lost_in_a_creation_of_one_statement_is_uncertain(
    postgres: PostgresDatabase, stored: bool
) -> None:
    units = SqlUnitsOfWork(postgres)
    async with units.writing(CONTEXT) as work:
        with pytest.raises(
            Uncertain if stored else (Uncertain, Contended)
        ):  # it depends on what the driver notices first
            await work.commit_new(work.users, NewUser(name="Alice"))
    assert await count(units) == ((1, 1) if stored else (0, 0))


@pytest.mark.usefixtures("breaks")
@pytest.mark.parametrize("stored", [False, True])
async def test_a_connection_lost_in_the_statement_of_a_group_is_uncertain_for_all_of_it(
    postgres: PostgresDatabase, stored: bool
) -> None:
    units = SqlUnitsOfWork(postgres)

    async def create() -> None:
        async with units.writing(CONTEXT) as work:
            await work.commit_new(work.users, NewUser(name="Alice"))

    outcomes = await asyncio.gather(*[create() for _ in range(4)], return_exceptions=True)
    assert {type(each) for each in outcomes} <= {Uncertain, *([] if stored else [Contended])}
    assert await count(units) == ((4, 4) if stored else (0, 0))


async def count(units: SqlUnitsOfWork) -> tuple[int, int]:
    async with units.reading() as work:
        return len(await work.users.list(limit=10)), len(await work.changes.list(limit=10))
