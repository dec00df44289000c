"""What holds on SQLite: pragmas, the one serving process, what its errors mean."""

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from tests.repositories.engines.test_cancellation import Halt

import repositories.engines.sqlite.connection
import repositories.engines.sqlite.executors
from domain.errors import (
    BrokenReference,
    Busy,
    Conflict,
    Contended,
    Damaged,
    FilesRemoved,
    NoSpace,
    NotReady,
    Refusal,
    Uncertain,
    Unreachable,
)
from domain.limits import LIMITS, Limits
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.database import database_at
from repositories.engines.sqlite.connection import DURABLE, Connection, open_file
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.sqlite.errors import refusal_of
from repositories.engines.sqlite.upkeep.examination import warning_about
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
SOURCES: Final = Path(__file__).parents[3] / "src"


def database(url: str, *, serving: bool = True, pool_timeout_s: float = 5, limits: Limits = LIMITS) -> SqliteDatabase:
    made = database_at(url, serving=serving, pool_size=8, pool_timeout_s=pool_timeout_s, limits=limits)
    assert isinstance(made, SqliteDatabase)
    return made


@pytest.fixture
def file(sqlite_url: str) -> Path:
    return Path(sa.make_url(sqlite_url).database or "")


@pytest.fixture
async def beside(sqlite: SqliteDatabase, sqlite_url: str) -> AsyncIterator[SqliteDatabase]:
    """The database of a command, on the file that a server uses."""
    made = database(sqlite_url, serving=False)
    await made.start()
    yield made
    await made.stop()


async def on_writer(sqlite: SqliteDatabase, pragma: str) -> Any:
    assert sqlite._writing is not None
    [[value]] = await sqlite._writing.execute_fetchall(f"PRAGMA {pragma}")
    return value


async def on_reader(sqlite: SqliteDatabase, pragma: str) -> Any:
    assert sqlite._reading is not None
    [[value]] = await sqlite._reading.execute_fetchall(f"PRAGMA {pragma}")
    return value


@pytest.mark.parametrize(
    ("pragma", "for_writers", "for_readers"),
    [
        ("journal_mode", "wal", "wal"),
        ("foreign_keys", 1, 1),
        ("synchronous", 2, 2),  # FULL
        ("query_only", 0, 1),
        ("wal_autocheckpoint", 1000, 0),
        ("busy_timeout", 3000, 3000),
    ],
)
async def test_each_connection_has_its_pragmas(
    sqlite: SqliteDatabase, pragma: str, for_writers: Any, for_readers: Any
) -> None:
    assert await on_writer(sqlite, pragma) == for_writers
    assert await on_reader(sqlite, pragma) == for_readers


@pytest.mark.parametrize(("pragma", "value"), [("synchronous", 2), ("foreign_keys", 1), ("wal_autocheckpoint", 0)])
async def test_a_writer_beside_the_server_is_as_durable_and_leaves_checkpoints_to_it(
    beside: SqliteDatabase, pragma: str, value: Any
) -> None:
    assert await on_writer(beside, pragma) == value
    assert await on_reader(beside, pragma) == value


async def test_a_write_through_the_readers_connection_is_refused(sqlite: SqliteDatabase) -> None:
    await UserService(SqlUnitsOfWork(sqlite), CONTEXT).create(NewUser(name="Alice"))
    assert sqlite._reading is not None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await sqlite._reading.execute_fetchall("DELETE FROM users")


async def test_a_second_server_of_one_file_is_refused_and_the_first_continues(
    sqlite: SqliteDatabase, sqlite_url: str
) -> None:
    second = database(sqlite_url)
    with pytest.raises(NotReady, match=r"Another server has .* open"):
        await second.start()
    await second.stop()
    assert ((await UserService(SqlUnitsOfWork(sqlite), CONTEXT).create(NewUser(name="Alice"))).result).version == 1


async def test_a_server_that_stops_lets_the_next_one_start(sqlite: SqliteDatabase, sqlite_url: str) -> None:
    await sqlite.stop()
    second = database(sqlite_url)
    await second.start()
    await second.stop()


@pytest.fixture
def garbage(file: Path) -> Path:
    """A file that is no database."""
    file.write_bytes(b"This is no database. " * 100)
    return file


async def test_a_server_that_failed_to_start_lets_the_next_one_start(sqlite_url: str, garbage: Path) -> None:
    first, second = database(sqlite_url), database(sqlite_url)
    with pytest.raises(NotReady, match="cannot be opened as a SQLite database"):
        await first.start()
    os.truncate(garbage, 0)
    await second.start()
    await second.stop()
    await first.stop()


SERVE: Final = """
import asyncio, sys
from repositories.engines.database import database_at

async def serve():
    await database_at(sys.argv[1], serving=True, pool_size=1, pool_timeout_s=5).start()
    print("serving", flush=True)
    await asyncio.Event().wait()

asyncio.run(serve())
"""


async def test_a_server_that_is_killed_lets_the_next_one_start(sqlite_url: str) -> None:
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, sqlite_url,
        env={**os.environ, "PYTHONPATH": str(SOURCES)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    second = database(sqlite_url)
    try:
        async with asyncio.timeout(30):
            assert killed.stdout is not None
            assert await killed.stdout.readline() == b"serving\n"
            with pytest.raises(NotReady):
                await second.start()
    finally:
        killed.kill()
        await killed.communicate()
    await second.start()
    await second.stop()


async def test_a_command_may_write_beside_the_server(sqlite: SqliteDatabase, beside: SqliteDatabase) -> None:
    alice = (await UserService(SqlUnitsOfWork(beside), CONTEXT).create(NewUser(name="Alice"))).result
    bob = (await UserService(SqlUnitsOfWork(sqlite), CONTEXT).create(NewUser(name="Bob"))).result
    assert (await UserService(SqlUnitsOfWork(sqlite), CONTEXT).get(alice.id)) == alice
    assert (await UserService(SqlUnitsOfWork(beside), CONTEXT).get(bob.id)) == bob


async def test_a_database_may_be_started_again(sqlite: SqliteDatabase) -> None:
    alice = (await UserService(SqlUnitsOfWork(sqlite), CONTEXT).create(NewUser(name="Alice"))).result
    await sqlite.stop()
    await sqlite.start()
    assert await UserService(SqlUnitsOfWork(sqlite), CONTEXT).get(alice.id) == alice


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
async def test_only_the_owner_reads_the_files(sqlite_url: str, file: Path) -> None:
    made = database(sqlite_url)
    await made.start()
    await UserService(SqlUnitsOfWork(made), CONTEXT).create(NewUser(name="Alice"))
    modes = modes_beside(file)
    await made.stop()
    names = ["roster.db", "roster.db-wal", "roster.db-shm", "roster.db-lock", "roster.db-writer"]
    assert modes == dict.fromkeys(names, "0o600")


async def test_asking_for_the_status_of_a_missing_file_does_not_create_it(sqlite_url: str, file: Path) -> None:
    made = database(sqlite_url, serving=False)
    for ask in (made.status, made.start):
        with pytest.raises(NotReady, match=f"There is no file {file}"):
            await ask()
    assert modes_beside(file) == {}


def modes_beside(file: Path) -> dict[str, str]:
    return {each.name: oct(each.stat().st_mode & 0o777) for each in file.parent.iterdir()}


@pytest.mark.usefixtures("garbage")
async def test_a_file_that_is_not_a_database_is_not_ready(sqlite_url: str) -> None:
    made = database(sqlite_url, serving=False)
    for attempt in (made.start, made.upgrade, made.status):
        with pytest.raises(NotReady, match="cannot be opened as a SQLite database"):
            await attempt()
    await made.stop()


@pytest.mark.parametrize("place", ["missing/roster.db", "."])
async def test_a_path_where_no_file_can_be_created_is_not_ready(tmp_path: Path, place: str) -> None:
    with pytest.raises(NotReady, match="cannot be opened"):
        await database(f"sqlite:///{tmp_path / place}").start()


async def test_a_lock_file_that_cannot_be_created_is_not_ready(sqlite_url: str, file: Path) -> None:
    file.with_name("roster.db-lock").mkdir()
    with pytest.raises(NotReady, match="-lock cannot be opened"):
        await database(sqlite_url).start()


class Trips:
    """Counts what is sent to a connection's thread."""

    def __init__(self, connection: Connection | None, monkeypatch: pytest.MonkeyPatch) -> None:
        assert connection is not None
        self.count = 0
        self._sent = connection._tx
        monkeypatch.setattr(connection, "_tx", self)

    def put_nowait(self, item: Any) -> None:
        self.count += 1
        self._sent.put_nowait(item)


async def test_reads_of_one_turn_of_the_event_loop_share_a_round_trip(
    sqlite: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        jobs = Trips(sqlite._reading, patch)
        found = await asyncio.gather(*(sqlite.reader.fetch(sa.select(sa.literal(number))) for number in range(5)))

    assert found == [[(number,)] for number in range(5)]
    assert jobs.count == 1


async def test_a_read_is_answered_while_a_slow_one_of_its_batch_runs(
    sqlite: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories.engines.sqlite.connection, "KEPT_BACK_S", 0)
    assert sqlite._reading is not None
    halt = Halt(holds=True)
    await sqlite._reading.create_function("halt", 0, halt)
    quick, slow = [
        asyncio.ensure_future(sqlite.reader.fetch(sa.select(each)))
        for each in (sa.literal(1), sa.func.halt(type_=sa.Integer()))
    ]

    assert await quick == [(1,)]
    assert not slow.done()
    halt.go_on()
    assert await slow == [(1,)]


async def test_a_short_read_is_answered_before_a_long_one_of_its_batch_begins(
    sqlite: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories.engines.sqlite.connection, "KEPT_BACK_S", 1000)
    assert sqlite._reading is not None
    halt = Halt(holds=True)
    await sqlite._reading.create_function("halt", 0, halt)
    quick = asyncio.ensure_future(sqlite.reader.fetch(sa.select(sa.literal(1))))
    many = sa.select(sa.func.halt(type_=sa.Integer())).limit(sa.bindparam("limit"))
    slow = asyncio.ensure_future(sqlite.reader.fetch(many, {"limit": 100}))

    assert await quick == [(1,)]
    assert not slow.done()
    halt.go_on()
    assert await slow == [(1,)]


async def test_a_read_that_fails_fails_alone(sqlite: SqliteDatabase) -> None:
    broken: sa.Select[Any] = sa.select(sa.column("nothing"))
    found = await asyncio.gather(
        *(sqlite.reader.fetch(statement) for statement in (sa.select(sa.literal(1)), broken, sa.select(sa.literal(3)))),
        return_exceptions=True,
    )

    assert (found[0], type(found[1]), found[2]) == ([(1,)], sqlite3.OperationalError, [(3,)])


async def test_a_creation_takes_one_round_trip_and_an_addition_with_a_commit_two(
    sqlite: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEGIN goes with its first statement, COMMIT with its last."""
    with monkeypatch.context() as patch:
        jobs = Trips(sqlite._writing, patch)
        await UserService(SqlUnitsOfWork(sqlite), CONTEXT).create(NewUser(name="Alice"))
        assert jobs.count == 1
        async with SqlUnitsOfWork(sqlite).writing(CONTEXT) as work:
            await work.commit(await work.users.add(NewUser(name="Bob")))

    assert jobs.count == 3


async def test_a_failed_unit_leaves_no_transaction_open(sqlite: SqliteDatabase) -> None:
    assert sqlite._writing is not None
    async with sqlite.transaction() as executor:
        await executor.fetch(sa.text("DELETE FROM users"))
        with pytest.raises(sqlite3.OperationalError):
            await executor.fetch(sa.text("DELETE FROM nothing"))

    assert not sqlite._writing.in_transaction


async def test_the_next_unit_rolls_back_what_a_failed_one_left(sqlite: SqliteDatabase) -> None:
    users = UserService(SqlUnitsOfWork(sqlite), CONTEXT)
    alice = (await users.create(NewUser(name="Alice"))).result
    assert sqlite._writing is not None
    for left in ("BEGIN", "DELETE FROM users"):
        await sqlite._writing.execute_fetchall(left)

    await users.create(NewUser(name="Bob"))
    assert await users.get(alice.id) == alice


async def test_writers_that_wait_too_long_are_busy(sqlite: SqliteDatabase, sqlite_url: str) -> None:
    impatient = database(sqlite_url, serving=False, pool_timeout_s=0.01)
    await impatient.start()
    units = SqlUnitsOfWork(impatient)
    users = UserService(units, CONTEXT)
    async with units.writing(CONTEXT) as holder, asyncio.timeout(10):
        await holder.users.list(limit=1)
        with pytest.raises(Busy):
            await users.create(NewUser(name="Alice"))
    assert ((await users.create(NewUser(name="Alice"))).result).version == 1
    await impatient.stop()


ENDLESS: Final = sa.text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")


async def test_scans_that_wait_too_long_are_busy(sqlite: SqliteDatabase, sqlite_url: str) -> None:
    impatient = database(sqlite_url, serving=False, pool_timeout_s=0.01)
    await impatient.start()
    async with asyncio.timeout(10):
        under_way = asyncio.create_task(impatient.scans.fetch(ENDLESS))
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="searches"):
            await impatient.scans.fetch(sa.select(sa.literal(1)))
        under_way.cancel()
        await asyncio.gather(under_way, return_exceptions=True)
        assert await impatient.scans.fetch(sa.select(sa.literal(1))) == [(1,)]
    await impatient.stop()


async def grow_log(database: SqliteDatabase, beyond: int) -> None:
    users = UserService(SqlUnitsOfWork(database), CONTEXT)
    while database.log_bytes() <= beyond:
        await users.create(NewUser(name="Alice" * 40))


async def test_a_snapshot_is_ended_when_the_log_grows_too_long(upgraded_sqlite_url: str) -> None:
    grown = database(upgraded_sqlite_url, limits=Limits(log_bytes=200_000))
    await grown.start()
    async with grown.snapshot() as executor:
        await executor.fetch(sa.select(sa.literal(1)))
        await grow_log(grown, 200_000)
        with pytest.raises(Busy, match="written meanwhile"):
            await executor.fetch(sa.select(sa.literal(1)))
    await grown.stop()


async def test_the_log_shrinks_once_the_snapshot_is_closed(upgraded_sqlite_url: str) -> None:
    grown = database(upgraded_sqlite_url, limits=Limits(log_kept_bytes=100_000))
    await grown.start()
    users = UserService(SqlUnitsOfWork(grown), CONTEXT)
    async with grown.snapshot() as executor:
        await executor.fetch(sa.text("SELECT count(*) FROM users"))
        await grow_log(grown, 5_000_000)
    for _ in range(3):  # the next commit checkpoints the log, and the one after that begins it anew
        await users.create(NewUser(name="Bob"))
    assert grown.log_bytes() <= 100_000
    await grown.stop()


async def test_a_write_while_another_process_writes_is_contended_and_then_busy(
    sqlite: SqliteDatabase, file: Path
) -> None:
    units = SqlUnitsOfWork(sqlite)
    await on_writer(sqlite, "busy_timeout=0")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with units.writing(CONTEXT) as work:
            with pytest.raises(Contended):
                await work.users.list(limit=1)
        with pytest.raises(Busy):
            await UserService(units, CONTEXT).create(NewUser(name="Alice"))
        other.execute("ROLLBACK")
    assert ((await UserService(units, CONTEXT).create(NewUser(name="Alice"))).result).version == 1


async def test_a_full_disk_refuses_the_write_and_nothing_is_stored(sqlite: SqliteDatabase) -> None:
    users = UserService(SqlUnitsOfWork(sqlite), CONTEXT)
    pages = await on_writer(sqlite, "page_count")
    await on_writer(sqlite, f"max_page_count={pages}")
    with pytest.raises(NoSpace, match="no room"):
        await create_without_end(users)
    kept = len((await users.list(limit=100)).items)
    await on_writer(sqlite, "max_page_count=1000000")
    await users.create(NewUser(name="Bob"))
    assert len((await users.list(limit=100)).items) == kept + 1


async def create_without_end(users: UserService) -> None:
    while True:
        await users.create(NewUser(name="Alice", attributes={"long": "x" * 16_000}))


MEANINGS: Final[dict[str, type[Refusal] | None]] = {
    "SQLITE_BUSY": Contended,
    "SQLITE_BUSY_SNAPSHOT": Contended,
    "SQLITE_BUSY_RECOVERY": Contended,
    "SQLITE_LOCKED": Contended,
    "SQLITE_LOCKED_SHAREDCACHE": Contended,
    "SQLITE_FULL": NoSpace,
    "SQLITE_CONSTRAINT_NOTNULL": None,
    "SQLITE_CONSTRAINT_FOREIGNKEY": BrokenReference,
    "SQLITE_CORRUPT": Damaged,
    "SQLITE_CORRUPT_INDEX": Damaged,
    "SQLITE_NOTADB": Damaged,
    "SQLITE_CANTOPEN": Unreachable,
    "SQLITE_IOERR_READ": Unreachable,
    "SQLITE_IOERR_WRITE": Unreachable,
    "SQLITE_IOERR_FSYNC": Uncertain,
    "SQLITE_IOERR_DIR_FSYNC": Uncertain,
    "SQLITE_READONLY": None,
    "SQLITE_READONLY_DBMOVED": FilesRemoved,
    "SQLITE_ERROR": None,
}


def as_raised(name: str) -> sqlite3.Error:
    error = sqlite3.DatabaseError("no matter")
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize("name", MEANINGS)
def test_each_error_code_of_sqlite_is_a_refusal_or_a_defect(name: str) -> None:
    assert type(refusal_of(as_raised(name))) is (MEANINGS[name] or type(None))


@pytest.mark.parametrize("field", ["email", "username", "external_id"])
async def test_a_conflict_names_the_field_of_each_unique_index(sqlite: SqliteDatabase, field: str) -> None:
    users = UserService(SqlUnitsOfWork(sqlite), CONTEXT)
    fields: dict[str, Any] = {"name": "Alice", field: "key"}
    await users.create(NewUser(**fields))
    with pytest.raises(Conflict) as conflict:
        await users.create(NewUser(**fields))
    assert conflict.value.field == field


@pytest.mark.parametrize(
    ("version", "sound"), [((3, 40, 1), False), ((3, 51, 2), False), ((3, 51, 3), True), ((3, 52, 0), True)]
)
def test_versions_of_sqlite_with_the_wal_reset_bug_are_detected(version: tuple[int, ...], sound: bool) -> None:
    assert (warning_about(version) is None) is sound


async def test_a_scan_that_takes_too_long_is_refused_and_the_next_one_is_answered(
    upgraded_sqlite_url: str,
) -> None:
    sqlite = database(upgraded_sqlite_url, limits=Limits(statement_s=0.01))
    await sqlite.start()
    first = sa.select(sa.literal(1).label("i")).cte("n", recursive=True)
    endless = sa.select(sa.func.max(first.union_all(sa.select(first.c.i + 1)).c.i))
    async with asyncio.timeout(10):
        with pytest.raises(Busy):
            await sqlite.scans.fetch(endless)
        assert await sqlite.scans.fetch(sa.select(sa.literal(1))) == [(1,)]
    await sqlite.stop()


async def test_a_write_after_sqlite_rolled_back_the_transaction_raises(sqlite: SqliteDatabase) -> None:
    async with sqlite.transaction() as executor:
        await executor.run("INSERT INTO alembic_version (version_num) VALUES ('first')", ())
        await executor.run("ROLLBACK", ())  # as SQLite does by itself when the disk is full
        with pytest.raises(sqlite3.OperationalError, match="no transaction"):
            await executor.run("INSERT INTO alembic_version (version_num) VALUES ('second')", ())
    assert len(await sqlite.reader.fetch(sa.text("SELECT * FROM alembic_version"))) == 1


@pytest.fixture
def written(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection in a writing transaction on a new file, whose journal mode nobody has changed yet."""
    with closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE things (id INTEGER)")
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def test_two_processes_that_open_a_new_file_wait_for_each_other(
    written: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself refuses to change the journal mode at once, whatever its busy timeout."""

    def end(_: float) -> None:
        written.execute("ROLLBACK")

    monkeypatch.setattr(time, "sleep", end)

    with closing(open_file(tmp_path / "new.db", DURABLE)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


@pytest.mark.usefixtures("written")
def test_opening_a_file_that_stays_busy_fails_after_a_bounded_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories.engines.sqlite.connection, "BUSY_TIMEOUT_MS", 0)

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        open_file(tmp_path / "new.db", DURABLE)


@pytest.mark.usefixtures("written")
def test_an_upgrade_waits_longer_for_another_upgrade_than_a_statement_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories.engines.sqlite.connection, "BUSY_TIMEOUT_MS", 0)
    waited: list[float] = []

    def give_up(seconds: float) -> None:
        waited.append(seconds)
        raise TimeoutError

    monkeypatch.setattr(time, "sleep", give_up)
    with pytest.raises(TimeoutError):
        open_file(tmp_path / "new.db", DURABLE, busy_timeout_ms=1)
    assert waited
