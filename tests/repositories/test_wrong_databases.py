"""A database that belongs to another program is refused, and left as it is."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import database_for_tests

from domain.errors import NotReady
from repositories.engines.database import database_at
from repositories.engines.sqlite.files import APPLICATION_ID

ANOTHER: dict[str, Sequence[str]] = {
    "its own mark": ("PRAGMA application_id = 252006673", "CREATE TABLE t (a)"),
    "a mark alone": ("PRAGMA application_id = 252006673",),
    "tables without a mark": ("CREATE TABLE photos (id INTEGER PRIMARY KEY)",),
    "tables of our names": ("CREATE TABLE users (id INTEGER)", "CREATE TABLE changes (id INTEGER)"),
    "its own migrations by Alembic": (
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('0001')",
        "CREATE TABLE changes (id INTEGER)",
    ),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "other.db"


@pytest.mark.parametrize("statements", ANOTHER.values(), ids=ANOTHER)
async def test_a_file_of_another_program_is_refused_and_not_changed(file: Path, statements: Sequence[str]) -> None:
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    before = file.read_bytes()  # noqa: ASYNC240

    for serving in (True, False):
        database = database_for_tests(f"sqlite:///{file}", serving=serving)
        for ask in (database.start, database.status, database.upgrade):
            with pytest.raises(NotReady, match="is not a Roster database"):
                await ask()
        await database.stop()

    assert file.read_bytes() == before  # noqa: ASYNC240
    assert [each.name for each in file.parent.iterdir()] == ["other.db"]


async def test_a_file_without_the_mark_of_roster_gets_it(upgraded_sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "roster.db"
    assert mark_of(file) == APPLICATION_ID
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA application_id = 0")

    database = database_for_tests(upgraded_sqlite_url)
    await database.start()
    await database.stop()

    assert mark_of(file) == APPLICATION_ID


def mark_of(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("PRAGMA application_id").fetchone()[0])


@pytest.mark.parametrize(
    "statements",
    [
        "CREATE TABLE users (id int)",
        "CREATE TABLE changes (id int)",
        "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('0001')",
    ],
)
async def test_a_postgres_database_of_another_program_is_refused_and_not_changed(
    fresh_postgres_url: str, statements: str
) -> None:
    connection = await asyncpg.connect(fresh_postgres_url)
    await connection.execute(statements)
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    before = await connection.fetchval(tables)
    database = database_at(fresh_postgres_url, serving=True, pool_size=1, pool_timeout_s=5)

    for ask in (database.start, database.status, database.upgrade):
        with pytest.raises(NotReady, match="is not a Roster database"):
            await ask()

    assert await connection.fetchval(tables) == before
    await connection.close()


async def test_a_postgres_database_may_have_other_tables(fresh_postgres_url: str) -> None:
    connection = await asyncpg.connect(fresh_postgres_url)
    await connection.execute("CREATE TABLE spatial_ref_sys (id int)")
    await connection.close()
    database = database_at(fresh_postgres_url, serving=True, pool_size=1, pool_timeout_s=5)
    await database.upgrade()
    assert (await database.status()).at_head
