"""A command and the server never write and checkpoint at the same time: both hold one lock."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa
from tests.repositories.engines.test_sqlite import database

import repositories.engines.sqlite.steps
from domain.errors import Busy, Conflict
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.sqlite.writers import WriterLock
from repositories.engines.upkeep.scrubbing import Scrubbed
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

pytestmark = pytest.mark.bound(60)

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
ONE: Final = sa.select(sa.literal(1))


@pytest.fixture
def file(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture
async def beside(sqlite: SqliteDatabase, sqlite_url: str) -> AsyncIterator[SqliteDatabase]:
    made = database(sqlite_url, serving=False)
    await made.start()
    yield made
    await made.stop()


def is_free(file: Path) -> bool:
    lock = WriterLock(file)
    try:
        lock.acquire(0)
    except sqlite3.OperationalError:
        return False
    finally:
        lock.close()
    return True


def users_of(database: SqliteDatabase) -> UserService:
    return UserService(SqlUnitsOfWork(database), CONTEXT)


@pytest.mark.parametrize("who", ["sqlite", "beside"])
async def test_a_writer_holds_the_lock_until_its_commit_and_checkpoint_end(
    file: Path, who: str, request: pytest.FixtureRequest, beside: SqliteDatabase
) -> None:
    writing = request.getfixturevalue(who)
    async with writing.transaction() as executor:
        await executor.fetch(ONE)
        assert not is_free(file)
        await executor.commit()
        assert is_free(file)
    seen: list[bool] = []
    connection = writing._writing
    await connection.create_function("seen", 0, lambda: seen.append(is_free(file)))
    await connection.execute("CREATE TEMP TRIGGER look AFTER INSERT ON users BEGIN SELECT seen(); END")
    await users_of(writing).create(NewUser(name="Alice", email="alice"))  # in a group
    assert seen == [False]
    assert is_free(file)


async def test_the_lock_is_free_after_a_unit_was_refused_rolled_back_or_cancelled(
    sqlite: SqliteDatabase, file: Path
) -> None:
    users = users_of(sqlite)
    await users.create(NewUser(name="Alice", email="alice"))
    with pytest.raises(Conflict):
        await users.create(NewUser(name="Alice", email="alice"))
    assert is_free(file)
    async with sqlite.transaction() as executor:
        await executor.fetch(ONE)
    assert is_free(file)
    creation = asyncio.ensure_future(users.create(NewUser(name="Bob")))
    await asyncio.sleep(0)
    creation.cancel()
    await asyncio.gather(creation, return_exceptions=True)
    assert is_free(file)


@pytest.mark.parametrize("who", ["sqlite", "beside"])
async def test_nobody_writes_or_checkpoints_while_another_process_has_the_lock(
    sqlite: SqliteDatabase, file: Path, who: str, beside: SqliteDatabase, request: pytest.FixtureRequest
) -> None:
    async with sqlite.transaction() as executor:
        await sqlite.note_erasure(executor)
        await executor.commit()
    writing = request.getfixturevalue(who)
    lock = WriterLock(file)
    lock.acquire(0)
    creation = asyncio.ensure_future(users_of(writing).create(NewUser(name="Alice")))
    scrub = asyncio.ensure_future(sqlite.scrub())
    await asyncio.wait([creation, scrub], timeout=0.05)
    assert not creation.done()
    assert not scrub.done()
    lock.close()
    await creation
    assert Scrubbed.ALL in (await scrub, await sqlite.scrub())  # it may have given way to the creation


async def test_a_writer_that_waits_too_long_for_the_lock_is_refused(
    sqlite: SqliteDatabase, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories.engines.sqlite.steps, "BUSY_TIMEOUT_MS", 10)
    lock = WriterLock(file)
    lock.acquire(0)
    with pytest.raises(Busy):
        await users_of(sqlite).create(NewUser(name="Alice"))
    lock.close()
    await users_of(sqlite).create(NewUser(name="Bob"))
