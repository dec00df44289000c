"""A task that is cancelled in the middle of its work leaves nothing locked and nothing half done.

The time-outs here are far below those of the databases: a lock that stayed would be noticed, not waited for.
"""

import asyncio
import gc
import sqlite3
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, closing
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.database import Database
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
AT_ONCE_S: Final = 2
"""A bound below the time for which a database here waits for a lock. It is hardly ever reached."""

ENDLESS: Final = "WITH RECURSIVE n(i) AS (SELECT halt() UNION ALL SELECT i + 1 FROM n) "
FEW_ROWS: Final = "SELECT halt() UNION ALL SELECT 2 UNION ALL SELECT 3"


class Halt:
    """Signals the event loop when the driver's thread reaches a point, and can hold it there."""

    def __init__(self, *, holds: bool, at: str = "") -> None:
        self.reached = asyncio.Event()
        self._at = at
        self._loop = asyncio.get_running_loop()
        self._go_on = threading.Event()
        if not holds:
            self._go_on.set()

    def __call__(self, statement: str = "") -> int:
        if statement.startswith(self._at):
            self._loop.call_soon_threadsafe(self.reached.set)
            self._go_on.wait(10)
        return 1

    def go_on(self) -> None:
        self._go_on.set()


async def cancel(task: "asyncio.Task[Any]", halt: Halt) -> None:
    """Cancels the task as soon as the thread reaches the point, and lets the thread continue."""
    async with asyncio.timeout(10):
        await halt.reached.wait()
        task.cancel()
        await asyncio.sleep(0)  # the task learns of it
        halt.go_on()
        with pytest.raises(asyncio.CancelledError):
            await task


def is_locked(file: str) -> bool:
    with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            assert error.sqlite_errorname == "SQLITE_BUSY"  # noqa: PT017
            return True
    return False


@pytest.fixture
def sqlite_file(sqlite_url: str) -> str:
    return sa.make_url(sqlite_url).database or ""


@pytest.fixture
async def stock(sqlite_file: str) -> AsyncIterator[AsyncEngine]:
    """The same writer, a pool of one that begins as IMMEDIATE, with the driver's own cursor."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{sqlite_file}", pool_size=1, max_overflow=0, connect_args={"isolation_level": None}
    )
    sa.event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    yield engine
    await engine.dispose()


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Switches the garbage collector off, so that nothing is freed by it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


async def is_locked_after(work: Coroutine[Any, Any, None], halt: Halt, file: str) -> bool:
    """Whether the file is locked after a task was cancelled in the middle of a statement in its transaction."""
    assert not is_locked(file)
    await cancel(asyncio.create_task(work), halt)
    return is_locked(file)


async def locked_by(sqlite: SqliteDatabase, file: str, statement: str, *, holds: bool) -> bool:
    halt = Halt(holds=holds)
    assert sqlite._writing is not None
    await sqlite._writing.create_function("halt", 0, halt)

    async def work() -> None:
        async with sqlite.transaction() as executor:
            await executor.fetch(sa.text(statement))

    return await is_locked_after(work(), halt, file)


@pytest.mark.usefixtures("no_collector")
async def test_the_drivers_own_cursor_leaves_the_file_locked(stock: AsyncEngine, sqlite_file: str) -> None:
    """The twin of the tests below: without Roster's connection the file stays locked."""
    halt = Halt(holds=True)

    async def work() -> None:
        async with AsyncSession(stock) as session:
            driver = (await (await session.connection()).get_raw_connection()).driver_connection
            assert driver is not None
            await driver.create_function("halt", 0, halt)
            await session.execute(sa.text(FEW_ROWS))

    assert await is_locked_after(work(), halt, sqlite_file)


@pytest.mark.usefixtures("no_collector")
async def test_a_cancelled_read_unlocks_the_file(sqlite: SqliteDatabase, sqlite_file: str) -> None:
    assert not await locked_by(sqlite, sqlite_file, FEW_ROWS, holds=True)
    await next_writer_proceeds(sqlite)


@pytest.mark.usefixtures("no_collector")
async def test_a_cancelled_endless_read_is_stopped(sqlite: SqliteDatabase, sqlite_file: str) -> None:
    endless = f"{ENDLESS} SELECT max(i) FROM n"
    assert not await locked_by(sqlite, sqlite_file, endless, holds=False)
    await next_writer_proceeds(sqlite)


@pytest.mark.usefixtures("no_collector")
async def test_a_cancelled_endless_write_is_stopped_and_rolled_back(sqlite: SqliteDatabase, sqlite_file: str) -> None:
    endless = f"INSERT INTO changes (seq) {ENDLESS} SELECT i FROM n"
    assert not await locked_by(sqlite, sqlite_file, endless, holds=False)
    await next_writer_proceeds(sqlite)


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "INSERT INTO users", "INSERT INTO changes", "COMMIT"])
async def test_a_creation_cancelled_at_any_statement_is_stored_whole_or_not_at_all(
    sqlite: SqliteDatabase, sqlite_file: str, statement: str
) -> None:
    halt = Halt(holds=True, at=statement)
    assert sqlite._writing is not None
    await sqlite._writing.set_trace_callback(halt)
    users = UserService(SqlUnitsOfWork(sqlite), CONTEXT)
    put = users.put(NewUser(name="Alice", external_id="x"))  # a creation in several trips
    await cancel(asyncio.ensure_future(put), halt)
    assert not is_locked(sqlite_file)
    whole = statement in ("INSERT INTO changes", "COMMIT")  # they go in one trip, which is not interrupted
    assert await users_and_changes(sqlite) == ((1, 1) if whole else (0, 0))
    await next_writer_proceeds(sqlite)


async def test_a_cancelled_read_does_not_stop_the_others_on_its_connection(sqlite: SqliteDatabase) -> None:
    users = UserService(SqlUnitsOfWork(sqlite), CONTEXT)
    alice = (await users.create(NewUser(name="Alice"))).result
    reading = sqlite._reading
    assert reading is not None
    halt = Halt(holds=True)
    await reading.create_function("halt", 0, halt)
    held = asyncio.create_task(sqlite.reader.fetch(sa.select(sa.func.halt())))
    await halt.reached.wait()
    others = [asyncio.ensure_future(users.get(alice.id)) for _ in range(3)]
    await asyncio.sleep(0)
    others[0].cancel()
    await cancel(held, halt)
    async with asyncio.timeout(AT_ONCE_S):
        assert await asyncio.gather(*others[1:]) == [alice, alice]


async def test_writers_cancelled_while_they_wait_for_a_connection_block_nobody(database: Database) -> None:
    users = UserService(SqlUnitsOfWork(database), CONTEXT)
    async with AsyncExitStack() as held:
        for _ in range(1 if isinstance(database, SqliteDatabase) else 8):
            executor = await held.enter_async_context(database.transaction())
            await executor.fetch(sa.select(sa.literal(1)))
        waiting = [asyncio.ensure_future(users.create(NewUser(name="Alice"))) for _ in range(5)]
        for _ in range(5):
            await asyncio.sleep(0)  # they come as far as they can
        for task in waiting:
            task.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError}
    await next_writer_proceeds(database)
    assert await users_and_changes(database) == (1, 1)


async def test_a_cancelled_statement_unlocks_its_rows(postgres: PostgresDatabase) -> None:
    units = SqlUnitsOfWork(postgres)
    users = UserService(units, CONTEXT)
    alice = (await users.create(NewUser(name="Alice"))).result

    async def work() -> None:
        async with units.writing(CONTEXT) as unit:
            await unit.users.get(alice.id)
            await unit.unit.executor.fetch(sa.text("SELECT pg_sleep(60)"))

    task = asyncio.create_task(work())
    async with asyncio.timeout(10):
        await seen_asleep(postgres)
    task.cancel()
    async with asyncio.timeout(AT_ONCE_S):
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ((await users.patch(alice.id, {"name": "Alicia"})).result).version == 2


SLEEPY_COMMIT: Final = (
    """
    CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'
    """,
    """
    CREATE CONSTRAINT TRIGGER sleepy AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION sleep()
    """,
)


@pytest.fixture
async def sleepy_commit(postgres: PostgresDatabase) -> AsyncIterator[None]:
    """A COMMIT that takes a minute once a user was added."""
    async with postgres.transaction() as executor:
        for statement in SLEEPY_COMMIT:
            await executor.fetch(sa.text(statement))
        await executor.commit()
    yield
    async with postgres.transaction() as executor:
        await executor.fetch(sa.text("DROP FUNCTION IF EXISTS sleep CASCADE"), last=True)


@pytest.mark.usefixtures("sleepy_commit")
async def test_a_commit_that_is_cancelled_is_stored_whole_or_not_at_all(postgres: PostgresDatabase) -> None:
    users = UserService(SqlUnitsOfWork(postgres), CONTEXT)
    task = asyncio.ensure_future(users.create(NewUser(name="Alice", email="key")))
    async with asyncio.timeout(10):
        await seen_asleep(postgres)
    task.cancel()
    async with asyncio.timeout(AT_ONCE_S):
        with pytest.raises(asyncio.CancelledError):
            await task
        async with postgres.transaction() as executor:
            await executor.fetch(sa.text("DROP FUNCTION sleep CASCADE"), last=True)
        assert await users_and_changes(postgres) == (0, 0)
        await users.create(NewUser(name="Bob", email="key"))


async def seen_asleep(postgres: PostgresDatabase) -> None:
    """Returns when a session of the server is in the middle of pg_sleep."""
    asleep = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    while await postgres.reader.fetch(asleep) == [(0,)]:
        pass


async def next_writer_proceeds(database: Database) -> None:
    async with asyncio.timeout(AT_ONCE_S):
        await UserService(SqlUnitsOfWork(database), CONTEXT).create(NewUser(name="Next"))


async def users_and_changes(database: Database) -> tuple[int, int]:
    async with SqlUnitsOfWork(database).reading() as work:
        return len(await work.users.list(limit=10)), len(await work.changes.list(limit=10))
