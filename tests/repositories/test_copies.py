"""Copies of a directory in another database: a copy is complete, or it is not served."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import sqlalchemy as sa
from tests.conftest import database_for_tests
from tests.repositories.test_migrations import connected, schema_of

from domain.copies import Comparison, Finished, Progress
from domain.errors import NotReady, PositionExpired
from domain.users import NewUser
from domain.work import RequestContext
from repositories.copies import Copy, Step
from repositories.engines import revisions
from repositories.engines.database import Database
from repositories.engines.postgres.copies import PostgresTarget
from repositories.engines.schema import BigId, Instant, Json, Key, metadata
from repositories.engines.sqlite.upkeep.copies import SqliteTarget
from repositories.engines.sqlite.writers import writing
from repositories.engines.upkeep.copies import Rows, plain
from repositories.work.units_of_work import SqlUnitsOfWork
from services.changes import ChangeService
from services.users import UserService

pytestmark = pytest.mark.heavy  # creates a database or two in most tests, and copies all tables

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
ROWS: Final = 7
TEXTS: Final = ("ASCII", "ß ﬁ İ", "😀\u2028", "a\tb\r\n\\N\\.", "'\";--", " ", "\x01\x7f\ufeff")
DOCUMENTS: Final = ('{"b": 1.0,"a":[1e2, null]}', "[]", '{"é":"\\ud83d\\ude00"}', '{"a":1,"a":2}', "{ }", '"x"', "7")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repositories.engines.postgres.copies.LOOKS", 2)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("sqlite.upkeep", "postgres"):
        monkeypatch.setattr(f"repositories.engines.{place}.copies.BATCH", 3)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Table]:
    """The table of a new store, with its migration. No line of the source names it."""
    table = sa.Table(
        "planted",
        metadata,
        sa.Column("id", BigId, sa.Identity(), primary_key=True),
        sa.Column("parent_id", sa.BigInteger, sa.ForeignKey("planted.id")),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id")),
        sa.Column("at", Instant),
        sa.Column("day", sa.Date),
        sa.Column("is_open", sa.Boolean),
        sa.Column("weight", sa.Double),
        sa.Column("price", sa.Numeric(10, 2)),
        sa.Column("order", Key, index=True),
        sa.Column("what", Json),
        sqlite_autoincrement=True,
    )
    upgrade = revisions.upgrade

    def upgrade_and_plant(connection: sa.Connection) -> revisions.Upgrade:
        done = upgrade(connection)
        table.create(connection, checkfirst=True)
        return done

    monkeypatch.setattr(revisions, "upgrade", upgrade_and_plant)
    yield table
    metadata.remove(table)


@pytest.fixture
def source(upgraded_sqlite_url: str) -> Database:
    return database_for_tests(upgraded_sqlite_url, serving=False)


@pytest.fixture
def path(upgraded_sqlite_url: str) -> Path:
    return Path(sa.make_url(upgraded_sqlite_url).database or "")


@pytest.fixture
def postgres_copy(fresh_postgres_url: str) -> Database:
    return database_for_tests(fresh_postgres_url, serving=False)


@pytest.fixture
def sqlite_copy(tmp_path: Path) -> Database:
    return database_for_tests(f"sqlite:///{tmp_path / 'copy.db'}", serving=False)


@pytest.fixture(params=["sqlite_copy", "postgres_copy"])
def target(request: pytest.FixtureRequest) -> Database:
    database: Database = request.getfixturevalue(request.param)
    return database


def fill(path: Path, rows: int = ROWS) -> None:
    """Some rows in every table, whatever its columns are."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in metadata.sorted_tables:
            names = ", ".join(f'"{column.name}"' for column in table.columns)
            values = [[stored(column, number) for column in table.columns] for number in range(1, rows + 1)]
            places = ", ".join("?" * len(table.columns))
            connection.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({places})", values)


def stored(column: sa.Column[Any], number: int) -> Any:
    """A value as SQLite stores it. Rows may refer to later ones."""
    if column.nullable and number % 3 == 0:
        return None
    if column.foreign_keys:
        return ROWS + 1 - number
    return next((value for kind, value in VALUES.items() if isinstance(plain(column.type), kind)), text)(number)


def text(number: int) -> str:
    return TEXTS[number - 1]


VALUES: Final[dict[Any, Callable[[int], Any]]] = {
    sa.Boolean: lambda number: number % 2,
    sa.Integer: lambda number: number,
    sa.Double: lambda number: number / 3,
    sa.Numeric: lambda number: number + 0.25,
    sa.Date: lambda number: f"2026-01-{number:02}",
    sa.DateTime: lambda number: f"2026-01-01T00:00:00.{number:06}+00:00",
    sa.JSON: lambda number: DOCUMENTS[number - 1],
    sa.LargeBinary: lambda number: bytes([number, 0, 255]),
}


def rows_in(path: Path) -> dict[str, list[Any]]:
    """Everything in a file, read without Roster."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}


async def copied(source: Database, target: Database, *, live: bool = False) -> list[Step]:
    return [step async for step in Copy(source, target, live=live).steps()]


def compared(steps: list[Step]) -> list[Comparison]:
    return [step for step in steps if isinstance(step, Comparison)]


async def test_every_table_is_copied_to_postgres_and_back_without_a_difference(
    planted: sa.Table, source: Database, path: Path, postgres_copy: Database, sqlite_copy: Database
) -> None:
    await source.upgrade()
    fill(path)
    there = compared(await copied(source, postgres_copy))
    back = compared(await copied(postgres_copy, sqlite_copy))

    assert rows_in(path.with_name("copy.db")) == rows_in(path)
    assert [one.source for one in there] == [one.target for one in there] == [one.target for one in back]
    assert {one.table for one in back} == {name for name in rows_in(path) if name[:7] not in {"alembic", "sqlite_"}}
    assert {one.source.rows for one in there} == {ROWS}
    assert await schema_of(sqlite_copy) == await schema_of(source)


async def test_values_have_the_types_of_postgres(
    planted: sa.Table, source: Database, path: Path, postgres_copy: Database, fresh_postgres_url: str
) -> None:
    await source.upgrade()
    fill(path)
    await copied(source, postgres_copy)
    connection = await asyncpg.connect(fresh_postgres_url)
    row = dict(await connection.fetchrow("SELECT * FROM planted WHERE id = 1") or ())
    await connection.close()
    assert row == {
        "id": 1, "parent_id": ROWS, "user_id": ROWS, "at": datetime(2026, 1, 1, microsecond=1, tzinfo=UTC),
        "day": date(2026, 1, 1), "is_open": True, "weight": 1 / 3, "price": Decimal("1.25"), "order": "ASCII",
        "what": DOCUMENTS[0],
    }  # fmt: skip


async def test_a_copy_on_postgres_has_the_indexes_and_foreign_keys_of_a_new_database(
    source: Database, postgres_copy: Database, postgres: Database
) -> None:
    await copied(source, postgres_copy)
    assert await schema_of(postgres_copy) == await schema_of(postgres)
    assert await foreign_keys_of(postgres_copy) == await foreign_keys_of(postgres) != set()


async def foreign_keys_of(database: Database) -> set[str]:
    definitions = "SELECT conrelid::regclass || pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'"
    async with connected(database) as connection:
        return set((await connection.execute(sa.text(definitions))).scalars())


@asynccontextmanager
async def serving(url_or_path: str) -> AsyncIterator[SqlUnitsOfWork]:
    units = SqlUnitsOfWork(database_for_tests(url_or_path))
    await units.start()
    try:
        yield units
    finally:
        await units.stop()


@pytest.fixture
def target_url(target: Database, fresh_postgres_url: str, tmp_path: Path) -> str:
    return fresh_postgres_url if "PostgreSQL" in target.name else f"sqlite:///{tmp_path / 'copy.db'}"


async def test_ids_and_changes_continue_beyond_those_that_were_removed(
    source: Database, upgraded_sqlite_url: str, target: Database, target_url: str
) -> None:
    async with serving(upgraded_sqlite_url) as units:
        users = UserService(units, CONTEXT)
        for name in ("Alice", "Bob"):
            last = await users.create(NewUser(name=name))
        await users.purge(last.result.id)
    with closing(sqlite3.connect(sa.make_url(upgraded_sqlite_url).database or "")) as connection, connection:
        connection.execute("DELETE FROM changes WHERE seq > 1")

    *_, finished = await copied(source, target)

    assert finished == Finished(last_change=3, start=None)
    async with serving(target_url) as units:
        carol = await UserService(units, CONTEXT).create(NewUser(name="Carol"))
        assert (carol.result.id, carol.seq) == (3, 4)
        assert [user.name for user in (await UserService(units, CONTEXT).list(limit=9)).items] == ["Alice", "Carol"]


async def test_a_target_that_is_not_empty_is_refused_and_not_changed(
    source: Database, path: Path, sqlite_copy: Database, tmp_path: Path
) -> None:
    await sqlite_copy.upgrade()
    fill(tmp_path / "copy.db", rows=1)
    before = rows_in(tmp_path / "copy.db")
    with pytest.raises(NotReady, match=r"not empty: it has rows in .*users"):
        await copied(source, sqlite_copy)
    assert rows_in(tmp_path / "copy.db") == before
    with pytest.raises(NotReady, match="the same"):
        await copied(source, source)


def watch(patch: pytest.MonkeyPatch, *, dies_at: int | None = None) -> list[str]:
    """The tables of the batches that are written from now on."""
    written: list[str] = []
    for kind in (SqliteTarget, PostgresTarget):
        write = kind.write

        async def watched(target: Any, table: sa.Table, rows: Rows, write: Any = write) -> None:
            if len(written) == dies_at:
                raise NotReady("killed")
            written.append(table.name)
            await write(target, table, rows)

        patch.setattr(kind, "write", watched)
    return written


BEFORE_THE_END: Final = 4


@pytest.fixture
async def unfinished(source: Database, path: Path, target: Database) -> Database:
    """A database that has a part of the source, since its copy was killed."""
    fill(path)
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, dies_at=BEFORE_THE_END)
        with pytest.raises(NotReady, match="killed"):
            await copied(source, target)
    return target


async def test_an_unfinished_copy_is_neither_served_nor_upgraded(unfinished: Database) -> None:
    for use in (unfinished.start, unfinished.upgrade):
        with pytest.raises(NotReady, match="Run roster copy again"):
            await use()


async def test_an_unfinished_copy_is_continued(
    source: Database, unfinished: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = watch(monkeypatch)
    steps = await copied(source, unfinished)
    assert isinstance(steps[-1], Finished)
    assert len(written) == len(compared(steps)) * 3 - BEFORE_THE_END
    assert (await unfinished.status()).at_head


async def test_an_unfinished_copy_starts_over_if_the_source_was_changed(
    source: Database, path: Path, unfinished: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next(iter(metadata.sorted_tables)).name
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"DELETE FROM {first} WHERE rowid = 2")
    written = watch(monkeypatch)
    steps = await copied(source, unfinished)
    assert isinstance(steps[-1], Finished)
    assert len(written) == sum(-(-one.target.rows // 3) for one in compared(steps))
    assert [one.target.rows for one in compared(steps)].count(ROWS - 1) == 1


async def test_an_unfinished_copy_of_another_directory_is_refused(
    source: Database, unfinished: Database, tmp_path: Path
) -> None:
    other = database_for_tests(f"sqlite:///{tmp_path / 'other.db'}", serving=True)
    await other.upgrade()
    with pytest.raises(NotReady, match="A part of another directory is in it"):
        await copied(other, unfinished)
    assert isinstance((await copied(source, unfinished))[-1], Finished)


@pytest.mark.parametrize("fault", ["lost", "altered"])
async def test_a_target_that_differs_is_reported_and_not_served(
    source: Database, path: Path, target: Database, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    fill(path)
    kind = SqliteTarget if "SQLite" in target.name else PostgresTarget
    write = kind.write

    async def write_less(target: Any, table: sa.Table, rows: Rows) -> None:
        if table.name == "leases":
            rows = rows[1:] if fault == "lost" else [(name, f"{holder}?", beats) for name, holder, beats in rows]
        if rows:
            await write(target, table, rows)

    monkeypatch.setattr(kind, "write", write_less)
    steps = await copied(source, target)
    assert [one.table for one in compared(steps) if not one.is_same] == ["leases"]
    assert not isinstance(steps[-1], Finished)
    with pytest.raises(NotReady, match="Run roster copy again"):
        await target.start()

    monkeypatch.undo()
    assert isinstance((await copied(source, target))[-1], Finished)


@pytest.mark.usefixtures("impatient")
async def test_copying_from_a_running_server_is_refused_without_the_option_live(
    source: Database, upgraded_sqlite_url: str, postgres_copy: Database, fresh_postgres_url: str, sqlite_copy: Database
) -> None:
    async with serving(upgraded_sqlite_url) as units:
        alice = await UserService(units, CONTEXT).create(NewUser(name="Alice"))
        with pytest.raises(NotReady, match=r"Another server has .*roster.db open\. Stop it first.*--live"):
            await copied(source, postgres_copy)
        *_, finished = await copied(source, postgres_copy, live=True)
    assert isinstance(finished, Finished)
    assert finished.start is not None

    async with serving(fresh_postgres_url) as units:
        with pytest.raises(NotReady, match=r"Another server has PostgreSQL.* open\. Stop it first.*--live"):
            await copied(postgres_copy, sqlite_copy)
        bob = await UserService(units, CONTEXT).create(NewUser(name="Bob"))
        assert bob.result.id > finished.start > alice.result.id
        with pytest.raises(PositionExpired):  # of one who has seen what was written to the source later
            await ChangeService(units, CONTEXT).list(since=(alice.seq or 0) + 1, limit=9)
        assert [each.seq for each in (await ChangeService(units, CONTEXT).list(since=1, limit=9)).changes] == [bob.seq]
        assert isinstance((await copied(postgres_copy, sqlite_copy, live=True))[-1], Finished)


async def test_a_live_copy_shows_one_moment(source: Database, upgraded_sqlite_url: str, target: Database) -> None:
    async with serving(upgraded_sqlite_url) as units:
        await copy_while_others_write(units, source, target)


async def test_a_live_copy_of_postgres_shows_one_moment(
    source: Database, postgres_copy: Database, fresh_postgres_url: str, sqlite_copy: Database
) -> None:
    await copied(source, postgres_copy)
    async with serving(fresh_postgres_url) as units:
        await copy_while_others_write(units, postgres_copy, sqlite_copy)


async def copy_while_others_write(units: SqlUnitsOfWork, source: Database, target: Database) -> None:
    """The copy has nothing that was written while it was made."""
    users = UserService(units, CONTEXT)
    for number in range(5):
        await users.create(NewUser(name=f"User {number}"))
    async with aclosing(Copy(source, target, live=True).steps()) as steps:
        made: list[Step] = []
        async for step in steps:
            await users.patch(5, {"name": f"{len(made)}"})
            await users.create(NewUser(name=f"new {len(made)}"))
            made.append(step)
    rows = {one.table: one.target.rows for one in compared(made)}
    assert (rows["users"], rows["changes"]) == (5, 5)
    assert isinstance(made[-1], Finished)


async def test_nobody_writes_to_the_source_while_it_is_copied(
    source: Database, path: Path, postgres_copy: Database, fresh_postgres_url: str, sqlite_copy: Database
) -> None:
    fill(path)
    async with aclosing(Copy(source, postgres_copy).steps()) as steps:
        await anext(steps)
        with pytest.raises(NotReady, match="Another server"):
            await database_for_tests(f"sqlite:///{path}").start()
        with pytest.raises(sqlite3.OperationalError, match="locked"), writing(path, 1):
            pass
        assert isinstance([step async for step in steps][-1], Finished)
    connection = await asyncpg.connect(fresh_postgres_url, server_settings={"lock_timeout": "1ms"})
    async with aclosing(Copy(postgres_copy, sqlite_copy).steps()) as steps:
        await anext(steps)
        for table in metadata.sorted_tables:
            with pytest.raises(asyncpg.LockNotAvailableError):
                await connection.execute(f"DELETE FROM {table.name}")
    await connection.close()


@pytest.mark.usefixtures("impatient")
async def test_a_second_copy_into_the_same_database_is_refused(source: Database, path: Path, target: Database) -> None:
    fill(path)
    async with aclosing(Copy(source, target).steps()) as steps:
        await anext(steps)
        with pytest.raises(NotReady, match=r"Another (server|copy)"):
            await copied(source, target, live=True)


async def test_rows_are_compared_in_the_order_of_their_keys_wherever_they_are_stored(
    source: Database, path: Path, postgres_copy: Database, fresh_postgres_url: str, sqlite_copy: Database
) -> None:
    fill(path)
    await copied(source, postgres_copy)
    connection = await asyncpg.connect(fresh_postgres_url)
    await connection.execute("UPDATE leases SET beats = beats + 1 WHERE name = 'ASCII'")  # it is stored elsewhere now
    await connection.execute("UPDATE users SET version = version + 1 WHERE id = 1")
    await connection.close()
    assert isinstance((await copied(postgres_copy, sqlite_copy))[-1], Finished)


async def test_progress_counts_each_row_once_when_copied_and_once_when_compared(
    source: Database, path: Path, target: Database
) -> None:
    fill(path)
    steps = [step for step in await copied(source, target) if isinstance(step, Progress)]
    everything = 2 * ROWS * len(metadata.sorted_tables)
    assert [each.done for each in steps] == sorted(each.done for each in steps)
    assert (steps[-1].done, {each.of for each in steps}) == (everything, {everything})


async def test_an_empty_directory_is_copied_too(source: Database, target: Database) -> None:
    steps = await copied(source, target)
    assert {one.target.rows for one in compared(steps)} == {0}
    assert steps[-1] == Finished(last_change=0, start=None)
