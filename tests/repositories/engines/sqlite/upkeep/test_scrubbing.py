"""Removing erased data from SQLite's files: it gives way to writers, and continues after a kill."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from tests.repositories.engines.test_cancellation import Halt
from tests.repositories.engines.test_sqlite import database

from domain.errors import NotReady
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.sqlite.upkeep import scrubber, scrubbing
from repositories.engines.sqlite.upkeep.scrubbing import Left, flush
from repositories.engines.upkeep.scrubbing import Scrubbed
from repositories.work import background, units_of_work
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

pytestmark = pytest.mark.bound(60)

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
FULL: Final = 2
"""`PRAGMA synchronous=FULL`: each COMMIT flushes the log."""


@pytest.fixture
def file(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


def left_in(file: Path) -> Left:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return scrubbing.what_is_left(connection)


async def until_scrubbed(file: Path, left: Left = Left.NOTHING) -> None:
    while left_in(file) is not left:  # noqa: ASYNC110  # another task scrubs
        await asyncio.sleep(0.02)


def contents(file: Path) -> Sequence[bytes]:
    """Those of the file and of the files beside it."""
    return [each.read_bytes() for each in sorted(file.parent.glob(f"{file.name}*"))]


def traces(file: Path) -> int:
    return sum(each.count(b"Alice Wonderland") for each in contents(file))


async def note_erasure(database: SqliteDatabase) -> None:
    async with database.transaction() as executor:
        await database.note_erasure(executor)
        await executor.commit()


async def pragma(database: SqliteDatabase, name: str) -> int:
    assert database._writing is not None
    return await database._writing.read(lambda connection: scrubbing.number_of(connection, name))


async def erase_alice(units: SqlUnitsOfWork) -> bool:
    """Whether something is pending."""
    users = UserService(units, CONTEXT)
    alice = (await users.create(NewUser(name="Alice Wonderland"))).result
    return bool((await users.purge(alice.id)).is_pending)


def never(is_waited_for: Callable[[], bool], gives_way: bool, connection: sqlite3.Connection) -> None:
    raise sqlite3.OperationalError("planted: this process never comes to it")


async def test_a_writer_that_arrives_during_the_rewrite_goes_first(
    sqlite: SqliteDatabase, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "STEPS_BETWEEN_LOOKS", 10)
    monkeypatch.setattr(scrubber, "GIVES_WAY_S", 0)
    users = UserService(SqlUnitsOfWork(sqlite), CONTEXT)
    for number in range(50):
        await users.create(NewUser(name=f"User {number}"))
    await note_erasure(sqlite)
    rewriting = Halt(holds=True, at="VACUUM")
    assert sqlite._writing is not None
    await sqlite._writing.set_trace_callback(rewriting)

    scrub = asyncio.ensure_future(sqlite.scrub())
    await rewriting.reached.wait()
    creation = asyncio.ensure_future(users.create(NewUser(name="In between")))
    while not sqlite._write_lock.has_waited(0):  # noqa: ASYNC110  # until it waits
        await asyncio.sleep(0)
    rewriting.go_on()

    assert await scrub is Scrubbed.NOT_YET
    await creation
    assert left_in(file) is Left.ROWS
    assert await sqlite.scrub() is Scrubbed.ALL
    assert left_in(file) is Left.NOTHING


async def test_the_rewrite_stops_giving_way_to_writers_after_a_while(
    sqlite_url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "AGAIN_AFTER_S", 0.01)
    monkeypatch.setattr(background, "GIVES_WAY_FOR_S", 0.05)
    monkeypatch.setattr(scrubbing, "STEPS_BETWEEN_LOOKS", 10)
    served = database(sqlite_url)
    monkeypatch.setattr(served._write_lock, "has_waited", lambda seconds: True)
    units = SqlUnitsOfWork(served)
    await units.start()
    await erase_alice(units)
    await until_scrubbed(file)
    assert not traces(file)
    await units.stop()


async def test_the_rewrite_of_a_larger_file_always_gives_way(
    sqlite: SqliteDatabase, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrubbing, "STEPS_BETWEEN_LOOKS", 10)
    monkeypatch.setattr(sqlite._write_lock, "has_waited", lambda seconds: True)
    await note_erasure(sqlite)
    with monkeypatch.context() as smaller:
        smaller.setattr(scrubbing, "FORCED_BYTES", 0)
        assert await sqlite.scrub(gives_way=False) is Scrubbed.NOT_YET
    assert left_in(file) is Left.ROWS
    assert await sqlite.scrub(gives_way=False) is Scrubbed.ALL


async def test_writers_do_not_wait_while_the_log_of_the_rewrite_is_flushed(
    sqlite: SqliteDatabase, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await note_erasure(sqlite)
    flushing, may_go_on = threading.Event(), threading.Event()

    def slow_disk(log: Path) -> None:
        flushing.set()
        may_go_on.wait()
        flush(log)

    monkeypatch.setattr(scrubber, "flush", slow_disk)
    scrub = asyncio.ensure_future(sqlite.scrub())
    await asyncio.to_thread(flushing.wait)
    await UserService(SqlUnitsOfWork(sqlite), CONTEXT).create(NewUser(name="In between"))
    assert await pragma(sqlite, "synchronous") == FULL
    assert await pragma(sqlite, "wal_autocheckpoint") == 0  # the creation does not do the checkpoint of the rewrite
    assert left_in(file) is Left.LOG
    may_go_on.set()
    assert await scrub is Scrubbed.ALL


def test_the_log_is_flushed_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    log.touch()
    flushed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append((descriptor, os.fstat(descriptor).st_ino)))
    flush(log)
    ((descriptor, inode),) = flushed
    assert inode == log.stat().st_ino
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("serving", [True, False])
async def test_commits_are_flushed_and_checkpointed_as_before_after_every_rewrite(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, serving: bool
) -> None:
    during: list[int] = []

    def vacuum(connection: sqlite3.Connection, stops: Callable[[], bool] | None) -> None:
        during.append(scrubbing.number_of(connection, "synchronous"))
        if len(during) == 1:
            raise sqlite3.OperationalError("planted: interrupted")

    monkeypatch.setattr(scrubbing, "vacuum", vacuum)
    new = database(sqlite_url)
    await new.start()
    await new.stop()
    sqlite = database(sqlite_url, serving=serving)
    await sqlite.start()
    await note_erasure(sqlite)
    for result in (Scrubbed.NOT_YET, Scrubbed.ALL):
        assert await sqlite.scrub() is result
        assert await pragma(sqlite, "synchronous") == FULL
        assert await pragma(sqlite, "wal_autocheckpoint") == (1000 if serving else 0)
    assert during == [scrubbing.NOT_FLUSHED] * 2
    await sqlite.stop()


async def test_a_file_is_rewritten_once_even_if_its_log_cannot_be_emptied(
    sqlite: SqliteDatabase, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewritten: list[bool] = []
    vacuum = scrubbing.vacuum

    def counted(connection: sqlite3.Connection, stops: Callable[[], bool] | None) -> None:
        rewritten.append(True)
        vacuum(connection, stops)

    monkeypatch.setattr(scrubbing, "vacuum", counted)
    await note_erasure(sqlite)
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM users").fetchall()
        results = [await sqlite.scrub(), await sqlite.scrub()]
    results += [await sqlite.scrub(), await sqlite.scrub()]
    assert results == [Scrubbed.NOT_YET, Scrubbed.NOT_YET, Scrubbed.ALL, Scrubbed.ALL]
    assert len(rewritten) == 1


async def test_a_log_that_cannot_be_flushed_is_flushed_later(
    sqlite: SqliteDatabase, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await note_erasure(sqlite)
    with monkeypatch.context() as planted:
        planted.setattr(sqlite, "_log", file.parent / "missing")
        assert await sqlite.scrub() is Scrubbed.NOT_YET
    assert left_in(file) is Left.LOG
    assert await sqlite.scrub() is Scrubbed.ALL


@pytest.mark.parametrize("job", ["rewrite", "empty_log"])
async def test_the_next_process_finishes_the_rewrite_of_a_killed_one(
    sqlite_url: str, file: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    monkeypatch.setattr(units_of_work, "SCRUBBED_WITHIN_S", 0.01)
    first = SqlUnitsOfWork(database(sqlite_url))
    await first.start()
    with monkeypatch.context() as planted:
        planted.setattr(scrubber, job, never if job == "rewrite" else lambda connection: Scrubbed.NOT_YET)
        assert await erase_alice(first)
        await until_scrubbed(file, Left.ROWS if job == "rewrite" else Left.LOG)
        await first.stop()

    second = SqlUnitsOfWork(database(sqlite_url))
    await second.start()
    await until_scrubbed(file)
    assert not traces(file)
    await second.stop()


async def test_a_command_leaves_the_rewrite_to_the_server(
    sqlite_url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units_of_work, "SCRUBBED_WITHIN_S", 0.01)
    monkeypatch.setattr(units_of_work, "LEFT_EVERY_S", 0.02)
    server, command = SqlUnitsOfWork(database(sqlite_url)), SqlUnitsOfWork(database(sqlite_url, serving=False))
    await server.start()
    await command.start()
    monkeypatch.setattr(background, "AGAIN_AFTER_S", 60)  # the command would try again

    await erase_alice(command)
    await until_scrubbed(file)

    assert not traces(file)
    await command.stop()
    await server.stop()


async def test_a_command_without_a_server_rewrites_the_file_itself(sqlite_url: str, file: Path) -> None:
    before = SqlUnitsOfWork(database(sqlite_url))
    await before.start()
    await before.stop()
    command = SqlUnitsOfWork(database(sqlite_url, serving=False))
    await command.start()
    assert not await erase_alice(command)
    assert left_in(file) is Left.NOTHING
    assert not traces(file)
    await command.stop()


async def test_an_erasure_that_is_rolled_back_needs_no_rewrite(sqlite: SqliteDatabase, file: Path) -> None:
    async with sqlite.transaction() as executor:
        await sqlite.note_erasure(executor)
    assert left_in(file) is Left.NOTHING


@pytest.fixture
async def too_large(sqlite_url: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with copies of an erased row, which was too large to be rewritten beside writers."""
    served = SqlUnitsOfWork(database(sqlite_url))
    await served.start()
    with monkeypatch.context() as smaller:
        smaller.setattr(scrubbing, "REWRITTEN_BYTES", 0)
        assert await erase_alice(served)
        assert not await served._database.has_traces()  # nothing that the server could do
    await served.stop()
    return file


async def test_an_erasure_in_a_file_that_is_too_large_to_be_rewritten_stays_pending(too_large: Path) -> None:
    assert left_in(too_large) is Left.MOVED_COPIES


async def test_the_next_erasure_in_a_smaller_file_removes_everything(sqlite_url: str, too_large: Path) -> None:
    served = SqlUnitsOfWork(database(sqlite_url))
    await served.start()
    assert left_in(too_large) is Left.MOVED_COPIES
    assert not await erase_alice(served)
    assert left_in(too_large) is Left.NOTHING
    await served.stop()


async def test_a_vacuum_removes_what_is_left_and_gives_space_back(sqlite_url: str, too_large: Path) -> None:
    with closing(sqlite3.connect(too_large)) as connection:
        connection.execute("CREATE TABLE free AS SELECT zeroblob(1000000) AS space")
        connection.execute("DROP TABLE free")
    sizes = await database(sqlite_url, serving=False).vacuum()
    assert left_in(too_large) is Left.NOTHING
    assert sizes.before > 1_000_000 > sizes.after
    assert len(contents(too_large)[0]) == sizes.after


async def test_no_vacuum_runs_beside_a_server(sqlite: SqliteDatabase, sqlite_url: str) -> None:
    with pytest.raises(NotReady, match="Stop it first"):
        await database(sqlite_url, serving=False).vacuum()


async def test_a_vacuum_beside_a_reader_says_so_and_is_not_over(sqlite_url: str, too_large: Path) -> None:
    with closing(sqlite3.connect(too_large, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM users").fetchall()
        with pytest.raises(NotReady, match="Another program reads"):
            await database(sqlite_url, serving=False).vacuum()
    assert left_in(too_large) is Left.LOG
    await database(sqlite_url, serving=False).vacuum()
    assert left_in(too_large) is Left.NOTHING


async def test_a_vacuum_that_fails_says_why_and_leaves_its_work(
    sqlite_url: str, too_large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(connection: sqlite3.Connection, stops: Callable[[], bool] | None) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(scrubbing, "vacuum", full)
    with pytest.raises(NotReady, match="cannot be rewritten: database or disk is full"):
        await database(sqlite_url, serving=False).vacuum()
    assert left_in(too_large) is Left.MOVED_COPIES


@pytest.fixture
def foreign(file: Path) -> Path:
    file.write_bytes(b"not a database, but long enough to be read as the header of one " * 100)
    return file


@pytest.mark.usefixtures("foreign")
async def test_a_file_that_is_no_database_is_not_rewritten(sqlite_url: str) -> None:
    with pytest.raises(NotReady):
        await database(sqlite_url, serving=False).vacuum()


async def test_postgres_is_vacuumed_by_itself(postgres: PostgresDatabase) -> None:
    with pytest.raises(NotReady, match="autovacuum"):
        await postgres.vacuum()
