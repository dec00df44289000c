"""What holds on PostgreSQL: settings, pools, what its errors mean."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import asyncpg
import pytest
import sqlalchemy as sa

from domain.errors import (
    BrokenReference,
    Busy,
    Conflict,
    Contended,
    Damaged,
    NoSpace,
    NotFound,
    NotReady,
    Refusal,
    Uncertain,
    Unreachable,
)
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.database import database_at
from repositories.engines.postgres import pools
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.postgres.errors import refusal_of, refusal_of_commit, refusal_of_connection, refusal_of_write
from repositories.engines.postgres.executors import ConnectionExecutor, PostgresTransaction
from repositories.engines.postgres.pools import Connections, cut
from repositories.users import users as table
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")


def database(url: str, *, pool_size: int = 2, pool_timeout_s: float = 5) -> PostgresDatabase:
    made = database_at(url, serving=True, pool_size=pool_size, pool_timeout_s=pool_timeout_s)
    assert isinstance(made, PostgresDatabase)
    return made


@pytest.fixture
async def small(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    """Two open connections to write, two to read, and a short time-out."""
    made = database(postgres_url)
    await made.start()
    for pool in filter(None, (made._reading, made._writing)):
        async with pool.one(), pool.one():  # to open one may take longer than the patience
            pass
        pool.timeout_s = 0.01
    yield made
    await made.stop()


async def setting(postgres: PostgresDatabase, name: str) -> tuple[str, str]:
    """A setting as a writer and as a reader has it."""
    statement = sa.select(sa.func.current_setting(name))
    async with postgres.transaction() as executor:
        [[written]] = await executor.fetch(statement)
    [[read]] = await postgres.reader.fetch(statement)
    return written, read


@pytest.mark.parametrize(
    ("name", "for_writers", "for_readers"),
    [
        ("statement_timeout", "15s", "15s"),
        ("lock_timeout", "3s", "3s"),
        ("idle_in_transaction_session_timeout", "10s", "10s"),
        ("TimeZone", "UTC", "UTC"),
        ("application_name", "roster", "roster"),
        ("jit", "off", "off"),
        ("transaction_isolation", "read committed", "read committed"),
        ("transaction_read_only", "off", "on"),
    ],
)
async def test_every_session_has_its_settings(
    postgres: PostgresDatabase, name: str, for_writers: str, for_readers: str
) -> None:
    assert await setting(postgres, name) == (for_writers, for_readers)


async def test_a_reader_cannot_write(postgres: PostgresDatabase) -> None:
    assert postgres._reading is not None
    async with postgres._reading.one() as connection:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DELETE FROM users")


async def test_a_reader_that_locks_rows_raises_an_error(postgres: PostgresDatabase) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await postgres.reader.fetch(sa.select(table.c.id).with_for_update())


async def test_writers_that_find_no_connection_are_busy(small: PostgresDatabase) -> None:
    users = UserService(SqlUnitsOfWork(small), CONTEXT)
    async with AsyncExitStack() as held, asyncio.timeout(10):
        for _ in range(2):
            await begin(await held.enter_async_context(small.transaction()))
        with pytest.raises(Busy):
            await users.create(NewUser(name="Alice"))
    assert ((await users.create(NewUser(name="Alice"))).result).version == 1


async def test_readers_that_find_no_connection_are_busy(small: PostgresDatabase) -> None:
    users = UserService(SqlUnitsOfWork(small), CONTEXT)
    assert small._reading is not None
    async with AsyncExitStack() as held, asyncio.timeout(10):
        for _ in range(2):
            await held.enter_async_context(small._reading.one())
        with pytest.raises(Busy):
            await users.get(1)
    with pytest.raises(NotFound):
        await users.get(1)


async def test_waiting_callers_get_connections_in_the_order_of_arrival(small: PostgresDatabase) -> None:
    """In asyncpg's own pool a new caller can take a connection that was released for a waiting one."""
    assert small._writing is not None
    pool, came, got = small._writing, [], []
    pool.timeout_s = 30

    async def take(who: int) -> None:
        for _ in range(20):
            came.append(who)
            async with pool.one():
                got.append(who)

    await asyncio.gather(*map(take, range(10)))
    assert got == came


async def test_a_writer_that_waits_too_long_for_a_lock_is_busy(postgres: PostgresDatabase) -> None:
    units = SqlUnitsOfWork(postgres)
    alice = (await UserService(units, CONTEXT).create(NewUser(name="Alice"))).result
    async with units.writing(CONTEXT) as holder, postgres.transaction() as executor, asyncio.timeout(10):
        await holder.users.get(alice.id)
        await executor.fetch(sa.text("SET LOCAL lock_timeout = '1ms'"))
        with pytest.raises(Busy):
            await executor.fetch(sa.select(table.c.id).with_for_update())


async def test_a_statement_that_takes_too_long_is_busy(postgres: PostgresDatabase) -> None:
    async with postgres.transaction() as executor, asyncio.timeout(10):
        await executor.fetch(sa.text("SET LOCAL statement_timeout = '1ms'"))
        with pytest.raises(Busy):
            await executor.fetch(sa.text("SELECT pg_sleep(60)"))


async def test_concurrent_writers_of_the_same_row_are_contended(postgres: PostgresDatabase) -> None:
    """Two write the same row in serializable transactions: the second has to be retried."""
    alice = (await UserService(SqlUnitsOfWork(postgres), CONTEXT).create(NewUser(name="Alice"))).result
    touch = sa.update(table).where(table.c.id == alice.id).values(name="Bob")
    async with postgres.transaction() as first, postgres.transaction() as second, asyncio.timeout(10):
        for executor in (first, second):
            await executor.fetch(sa.text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
            await executor.fetch(sa.select(table.c.id))
        await first.fetch(touch, last=True)
        with pytest.raises(Contended):
            await second.fetch(touch)


async def test_an_argument_that_cannot_be_sent_is_a_defect(postgres: PostgresDatabase) -> None:
    statement = sa.select(table.c.id).where(table.c.id == sa.bindparam("id"))
    with pytest.raises(asyncpg.DataError):
        await postgres.reader.fetch(statement, {"id": 2**70})
    async with postgres.transaction() as executor:
        with pytest.raises(asyncpg.DataError):
            await executor.fetch(statement, {"id": 2**70})


async def test_a_statement_that_is_wrong_is_a_defect(postgres: PostgresDatabase) -> None:
    async with postgres.transaction() as executor:
        with pytest.raises(asyncpg.UndefinedTableError):
            await executor.fetch(sa.text("SELECT nothing FROM nowhere"))


def as_raised(code: str) -> asyncpg.PostgresError:
    """The driver's error for a code, built from a message of the server."""
    error: asyncpg.PostgresError = asyncpg.PostgresError.new(
        {"S": "ERROR", "C": code, "M": "no matter", "n": "uq_users_email_key"}
    )
    return error


MEANINGS: Final[dict[str, type[Refusal] | None]] = {
    "23503": BrokenReference,  # foreign_key_violation
    "23505": Conflict,  # unique_violation
    "40001": Contended,  # serialization_failure
    "40P01": Contended,  # deadlock_detected
    "08006": Contended,  # connection_failure
    "57P01": Contended,  # admin_shutdown
    "57P02": Contended,  # crash_shutdown
    "57P03": Contended,  # cannot_connect_now
    "25P03": Contended,  # idle_in_transaction_session_timeout
    "53300": Busy,  # too_many_connections
    "55P03": Busy,  # lock_not_available
    "57014": Busy,  # query_canceled, by the statement's time-out
    "53100": NoSpace,  # disk_full
    "XX001": Damaged,  # data_corrupted
    "XX002": Damaged,  # index_corrupted
    "53200": Busy,  # out_of_memory
    "42P01": None,  # undefined_table
    "22003": None,  # numeric_value_out_of_range
    "23502": None,  # not_null_violation
    "25006": None,  # read_only_sql_transaction
}


@pytest.mark.parametrize("code", MEANINGS)
def test_each_error_code_of_the_server_is_a_refusal_or_a_defect(code: str) -> None:
    assert type(refusal_of(as_raised(code))) is (MEANINGS[code] or type(None))


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (ConnectionResetError(), Contended),
        (asyncpg.InterfaceError("connection is closed"), Contended),
        (asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"), Contended),
        (TimeoutError(), Busy),
        (asyncpg.InvalidCachedStatementError("cached statement must not change result type"), Contended),
        (asyncpg.DataError("value out of int64 range"), None),
        (KeyError("a defect"), None),
    ],
)
def test_each_error_of_the_driver_is_a_refusal_or_a_defect(error: Exception, meaning: type[Refusal] | None) -> None:
    assert type(refusal_of(error)) is (meaning or type(None))


@pytest.mark.parametrize("meaning", [refusal_of_write, refusal_of_commit])
def test_a_write_to_a_server_that_became_read_only_is_contended(meaning: Callable[[Exception], Refusal | None]) -> None:
    assert type(meaning(as_raised("25006"))) is Contended


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (ConnectionRefusedError(), Unreachable),
        (asyncpg.CannotConnectNowError(), Unreachable),
        (asyncpg.InvalidPasswordError(), Unreachable),
        (asyncpg.InvalidCatalogNameError(), Unreachable),
        (asyncpg.TooManyConnectionsError(), Busy),
        (TimeoutError(), Busy),
    ],
)
def test_an_error_while_connecting_means_that_the_database_is_unreachable(
    error: Exception, meaning: type[Refusal]
) -> None:
    assert type(refusal_of_connection(error)) is meaning


@pytest.mark.parametrize(
    ("code", "meaning"),
    [("08006", Uncertain), ("57P01", Uncertain), ("40003", Uncertain), ("40001", Contended), ("23505", Conflict)],
)
def test_an_error_code_means_something_else_during_a_commit(code: str, meaning: type[Refusal]) -> None:
    assert type(refusal_of_commit(as_raised(code))) is meaning


@pytest.mark.parametrize("constraint", ["email_key", "username_key", "external_id"])
async def test_a_conflict_names_the_field_of_each_unique_index(postgres: PostgresDatabase, constraint: str) -> None:
    field = constraint.removesuffix("_key")
    users = UserService(SqlUnitsOfWork(postgres), CONTEXT)
    fields: dict[str, Any] = {"name": "Alice", field: "key"}
    await users.create(NewUser(**fields))
    with pytest.raises(Conflict) as conflict:
        await users.create(NewUser(**fields))
    assert conflict.value.field == field


async def test_a_connection_that_was_cancelled_during_its_rollback_is_not_used_again(
    postgres: PostgresDatabase,
) -> None:
    async with AsyncExitStack() as held:  # all the others, so that it would be the one
        for _ in range(7):
            await begin(await held.enter_async_context(postgres.transaction()))
        with pytest.raises(asyncio.CancelledError):
            await be_cancelled_in_a_rollback(postgres)
        assert postgres._writing is not None
        async with postgres._writing.one() as connection:
            assert not connection.is_in_transaction()


async def begin(transaction: PostgresTransaction) -> ConnectionExecutor:
    """Returns when the task has a connection."""
    await transaction.fetch(sa.text("SELECT 1"))
    assert transaction._executor is not None
    return transaction._executor


async def be_cancelled_in_a_rollback(postgres: PostgresDatabase) -> None:
    async with postgres.transaction() as transaction:
        executor = await begin(transaction)
        executor.connection = Cancelled(executor.connection)  # type: ignore[assignment]


class Cancelled:
    """A connection that cancels a task when the task gives a command."""

    def __init__(self, connection: Any) -> None:
        self.terminate = connection.terminate

    async def execute(self, command: str) -> str:
        raise asyncio.CancelledError


async def test_a_commit_after_a_failed_statement_raises(postgres: PostgresDatabase) -> None:
    """The server rolls back then, and only its answer says so."""
    async with postgres.transaction() as executor:
        with pytest.raises(asyncpg.UndefinedTableError):
            await executor.fetch(sa.text("SELECT nothing FROM nowhere"))
        with pytest.raises(RuntimeError, match="ROLLBACK"):
            await executor.commit()


async def test_a_server_out_of_reach_is_not_ready() -> None:
    nowhere = database("postgresql://roster:secret@/roster?host=/nonexistent")
    with pytest.raises(NotReady, match="cannot be reached") as refused:
        await nowhere.start()
    assert "secret" not in str(refused.value)
    await nowhere.stop()


async def test_a_database_that_is_missing_is_not_ready(postgres_server: str) -> None:
    missing = database(sa.make_url(postgres_server).set(database="missing").render_as_string(hide_password=False))
    with pytest.raises(NotReady, match='database "missing" does not exist'):
        await missing.start()
    await missing.stop()


@pytest.fixture
async def crowded_url(postgres: PostgresDatabase, postgres_url: str) -> AsyncIterator[str]:
    """The database for a role that has two connections and no more."""
    role = f"crowded_{os.getpid()}"
    async with postgres.transaction() as executor:
        await executor.fetch(sa.text(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2"))
        await executor.fetch(sa.text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"), last=True)
    yield sa.make_url(postgres_url).set(username=role).render_as_string(hide_password=False)
    async with postgres.transaction() as executor:
        await executor.fetch(sa.text(f"DROP OWNED BY {role}"))
        await executor.fetch(sa.text(f"DROP ROLE {role}"), last=True)


async def test_a_server_that_is_full_is_busy(crowded_url: str) -> None:
    crowded = database(crowded_url)
    await crowded.start()  # one connection to read, one to write
    async with crowded.transaction() as first, crowded.transaction() as second:
        await begin(first)
        with pytest.raises(Busy):
            await begin(second)
    await crowded.stop()


async def test_a_server_that_is_full_is_not_ready(crowded_url: str) -> None:
    first, second, third = database(crowded_url), database(crowded_url), database(crowded_url)
    await first.start()
    await second.start()
    with pytest.raises(NotReady, match="too many connections"):
        await third.start()
    for each in (first, second, third):
        await each.stop()


@pytest.fixture
async def acquired(small: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with each connection that the driver's pool gives."""
    await connections_of(small)._return_kept()
    acquire, given = asyncpg.Pool.acquire, list[None]()

    def counted(*arguments: Any, **options: Any) -> Any:
        given.append(None)
        return acquire(*arguments, **options)

    monkeypatch.setattr(asyncpg.Pool, "acquire", counted)
    return given


def connections_of(database: PostgresDatabase) -> Connections:
    assert database._reading is not None
    return database._reading


async def test_a_released_connection_is_reused_without_the_pool_of_the_driver(
    small: PostgresDatabase, acquired: list[None]
) -> None:
    for _ in range(20):
        await small.reader.fetch(sa.text("SELECT 1"))
    assert len(acquired) == 1


async def test_a_connection_whose_use_failed_is_returned_to_the_driver(
    small: PostgresDatabase, acquired: list[None]
) -> None:
    for _ in range(3):
        with pytest.raises(asyncpg.PostgresError):
            await small.reader.fetch(sa.text("SELECT 1 / 0"))
    assert len(acquired) == 3


async def test_unused_connections_are_returned_to_the_driver(
    monkeypatch: pytest.MonkeyPatch, small: PostgresDatabase
) -> None:
    monkeypatch.setattr(pools, "KEPT_S", 0.01)
    connections = connections_of(small)
    async with connections.one(), connections.one():
        assert connections._pool.get_idle_size() == 0

    assert connections._return is not None
    await asyncio.wait_for(connections._return, 30)
    assert connections._pool.get_idle_size() == connections._pool.get_size()


async def test_a_kept_connection_that_was_lost_is_not_used_again(small: PostgresDatabase) -> None:
    connections = connections_of(small)
    async with connections.one() as kept:
        pass
    cut(kept)

    assert await small.reader.fetch(sa.text("SELECT 1")) == [(1,)]
    assert connections._pool.get_size() <= connections._pool.get_max_size()
