"""The schema's history on both engines: up, down and up with data, concurrently, half-way, and ahead of Roster."""

import asyncio
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from domain.changes import Action, Change
from domain.errors import NotReady
from domain.users import NewUser
from domain.work import RequestContext, utc_now
from repositories.changes import change_subjects, changes
from repositories.engines import revisions
from repositories.engines.database import Database, database_at
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.schema import metadata
from repositories.engines.sqlite import files
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

CONTEXT: Final = RequestContext(actor="tester", request_id="r1")
ROOT: Final = Path(__file__).parents[2]


@pytest.fixture
async def fresh(fresh_url: str) -> AsyncIterator[Database]:
    """A database before its first revision."""
    if file := sa.make_url(fresh_url).database if fresh_url.startswith("sqlite") else None:
        Path(file).touch()  # noqa: ASYNC240  # a command does not create it
    database = database_at(fresh_url, serving=False, pool_size=2, pool_timeout_s=5)
    yield database
    await database.stop()


@pytest.fixture
async def upgraded(fresh: Database) -> Database:
    await fresh.upgrade()
    return fresh


@asynccontextmanager
async def connected(database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection of SQLAlchemy's in a transaction."""
    if isinstance(database, PostgresDatabase):
        async with database._connected() as connection:
            yield connection
    else:
        assert isinstance(database, SqliteDatabase)
        engine = create_async_engine(f"sqlite+aiosqlite:///{database._path}")
        async with engine.begin() as connection:
            yield connection
        await engine.dispose()


async def step_down(database: Database) -> None:
    def downgrade(connection: sa.Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(revisions.FOLDER))
        config.attributes["connection"] = connection
        command.downgrade(config, "-1")

    async with connected(database) as connection:
        await connection.run_sync(downgrade)


async def use(database: Database) -> None:
    """Puts users, tombstones and changes into the database, and closes it."""
    await database.start()
    users = UserService(SqlUnitsOfWork(database), CONTEXT)
    alice = (await users.create(NewUser(name="Alice", email="alice@example.org", attributes={"a": [1]}))).result
    await users.patch(alice.id, {"name": "Alicia"})
    assert (await users.get(alice.id)).name == "Alicia"
    await users.delete(((await users.create(NewUser(name="Bob"))).result).id)
    await database.stop()


def test_the_names_of_the_files_match_the_history_of_alembic() -> None:
    scripts = ScriptDirectory(str(revisions.FOLDER))
    assert [script.revision for script in scripts.walk_revisions()] == [*reversed(revisions.revisions())]
    assert scripts.get_current_head() == revisions.head()


async def test_a_new_database_has_a_status_and_is_behind_the_head(fresh: Database) -> None:
    status = await fresh.status()
    assert (status.current, status.known, status.at_head) == (None, True, False)


async def test_migrations_go_up_down_and_up_again_with_data(upgraded: Database) -> None:
    await use(upgraded)
    for _ in revisions.revisions():
        await step_down(upgraded)
    assert (await upgraded.status()).current is None
    await upgraded.upgrade()
    assert (await upgraded.status()).at_head
    await use(upgraded)


async def test_each_step_down_and_up_leaves_the_schema_of_its_revision(
    fresh: Database,
) -> None:
    schemas = []
    for revision in revisions.revisions():
        await move(fresh, revision)
        schemas.append(await schema_of(fresh))
    assert len({frozenset(schema) for schema in schemas}) == len(schemas)
    await use(fresh)
    for number in reversed(range(1, len(schemas))):
        await step_down(fresh)
        assert await schema_of(fresh) == schemas[number - 1]
        await move(fresh, revisions.revisions()[number])
        assert await schema_of(fresh) == schemas[number]
        await step_down(fresh)


async def move(database: Database, revision: str) -> None:
    async with connected(database) as connection:
        await connection.run_sync(revisions.move, revision)


async def schema_of(database: Database) -> set[str]:
    """Every table, column and index, with all that its DDL says."""
    if isinstance(database, SqliteDatabase):
        return {f"{name}: {sql}" for name, sql in definitions_in(str(database._path)).items() if "alembic" not in name}
    async with connected(database) as connection:
        return await definitions_of(connection)


async def test_going_all_the_way_down_leaves_only_the_table_of_alembic(upgraded: Database) -> None:
    await use(upgraded)
    async with connected(upgraded) as connection:
        await connection.run_sync(revisions.move, "base")
        names = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
    assert names == ["alembic_version"]


async def test_changes_survive_the_migration_of_their_subjects(upgraded: Database) -> None:
    await use(upgraded)
    before = await recorded(upgraded)
    assert len(before) == 4
    [renamed] = [change for change in before if change.action is Action.UPDATED]
    subjects = (("user", renamed.entity_id), ("project", 7))
    async with connected(upgraded) as connection:
        await connection.execute(sa.update(changes).where(changes.c.seq == renamed.seq).values(subjects=subjects))
        await connection.execute(sa.insert(change_subjects).values(kind="project", id=7, seq=renamed.seq))
    about = await recorded(upgraded, about=("project", 7))
    assert about == [replace(renamed, subjects=subjects)]

    while (await upgraded.status()).current != "0002":
        await step_down(upgraded)
    async with connected(upgraded) as connection:
        columns = await connection.run_sync(lambda sync: sa.inspect(sync).get_columns("changes"))
        assert "subjects" not in {column["name"] for column in columns}
        assert "change_subjects" not in await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())

    await upgraded.upgrade()
    assert await recorded(upgraded) == before
    assert await recorded(upgraded, about=("project", 7)) == []
    await use_again(upgraded, before[-1].seq)


async def recorded(database: Database, *, about: tuple[str, int] | None = None) -> list[Change]:
    await database.start()
    async with SqlUnitsOfWork(database).reading() as work:
        found = list(await work.changes.list(subject=about, limit=100))
    await database.stop()
    return found


async def use_again(database: Database, last: int) -> None:
    """The numbers of changes continue where they were."""
    await database.start()
    committed = await UserService(SqlUnitsOfWork(database), CONTEXT).create(NewUser(name="Carol"))
    await database.stop()
    assert committed.seq is not None
    assert committed.seq > last


async def test_an_upgrade_of_a_database_at_its_head_changes_nothing(upgraded: Database) -> None:
    await use(upgraded)
    await upgraded.upgrade()
    await upgraded.start()
    users = UserService(SqlUnitsOfWork(upgraded), CONTEXT)
    assert len((await users.list(limit=10)).items) == 1


async def test_alembic_finds_no_difference_between_the_schema_and_the_tables(upgraded: Database) -> None:
    async with connected(upgraded) as connection:
        assert await connection.run_sync(differences_from, metadata) == []


async def test_the_comparison_finds_a_missing_column(upgraded: Database) -> None:
    """The twin of the test above: a difference is found."""
    other = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.tables.values():
        table.to_metadata(other)
    other.tables["users"].append_column(sa.Column("nickname", sa.Text))
    async with connected(upgraded) as connection:
        assert [each[0] for each in await connection.run_sync(differences_from, other)] == ["add_column"]


def differences_from(connection: sa.Connection, expected: sa.MetaData) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection), expected))


async def test_the_migrated_sqlite_file_equals_one_made_from_the_tables(
    sqlite: SqliteDatabase, sqlite_url: str, tmp_path: Path
) -> None:
    """Alembic's comparison ignores the WHERE of an index, collations and AUTOINCREMENT."""
    made = sa.create_engine(f"sqlite:///{tmp_path / 'made.db'}")
    metadata.create_all(made)
    made.dispose()
    migrated = definitions_in(sa.make_url(sqlite_url).database or "")
    del migrated["alembic_version"]
    assert migrated == definitions_in(str(tmp_path / "made.db"))
    assert "WHERE deleted_at IS NULL" in migrated["uq_users_email_key"]


def definitions_in(file: str) -> dict[str, str]:
    """Each table and index with its DDL; the lines of a table's in any order, for constraints may be named or not."""
    connection = sqlite3.connect(file)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {name: tidy(sql) for name, sql in rows if not name.startswith("sqlite_")}


def tidy(sql: str) -> str:
    """Without the blanks in which a table that was altered differs from a new one, and with its lines in one order."""
    tidied = re.sub(r" ?([(),]) ?", r"\1", " ".join(sql.split()))
    if not tidied.startswith("CREATE TABLE"):
        return tidied
    head, _, rest = tidied.partition("(")
    body, _, options = rest.rpartition(")")
    lines = sorted(re.split(r",(?![^(]*\))", body))
    return f"{head}({','.join(lines)}){options}"


async def test_the_migrated_postgres_database_equals_one_made_from_the_tables(postgres: PostgresDatabase) -> None:
    async with connected(postgres) as connection:
        migrated = await definitions_of(connection)
        await connection.execute(sa.text("CREATE SCHEMA made"))
        await connection.execute(sa.text("SET LOCAL search_path TO made"))
        await connection.run_sync(metadata.create_all)
        made = await definitions_of(connection)
        await connection.execute(sa.text("DROP SCHEMA made CASCADE"))
    assert made == migrated
    assert any("WHERE (deleted_at IS NULL)" in line for line in migrated)
    assert any(line.startswith("users.email_key text C") for line in migrated)


async def definitions_of(connection: AsyncConnection) -> set[str]:
    """Every column and index of the current schema but Alembic's own."""
    found = await connection.execute(
        sa.text("""
            SELECT concat_ws(' ', table_name || '.' || column_name, data_type, collation_name, is_nullable,
                             column_default, identity_generation)
            FROM information_schema.columns
            WHERE table_schema = current_schema() AND table_name <> 'alembic_version'
            UNION ALL
            SELECT replace(indexdef, current_schema() || '.', '') FROM pg_indexes
            WHERE schemaname = current_schema() AND tablename <> 'alembic_version'
        """)
    )
    return set(found.scalars())


UPGRADE_FOUR_TIMES: Final = """
import asyncio, os, sys
from repositories.engines.database import database_at

database = database_at(sys.argv[1], serving=False, pool_size=1, pool_timeout_s=5)

async def upgrade():
    await database.upgrade()
    await database.stop()

gate, opener = os.pipe()
children = []
for _ in range(4):
    if not (child := os.fork()):
        os.close(opener)
        os.read(gate, 1)  # returns when the last opener is closed
        asyncio.run(upgrade())
        sys.exit(0)
    children.append(child)
os.close(opener)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


@pytest.mark.heavy  # starts five processes
async def test_concurrent_upgrades_in_four_processes_succeed(fresh: Database, fresh_url: str) -> None:
    processes = await asyncio.create_subprocess_exec(
        sys.executable, "-c", UPGRADE_FOUR_TIMES, fresh_url,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        _, complaints = await processes.communicate()
    assert (processes.returncode, complaints) == (0, b"")
    assert (await fresh.status()).at_head
    async with connected(fresh) as connection:
        assert len((await connection.execute(sa.text("SELECT version_num FROM alembic_version"))).all()) == 1


async def test_concurrent_upgrades_in_one_process_succeed(fresh: Database, fresh_url: str) -> None:
    others = [database_at(fresh_url, serving=False, pool_size=2, pool_timeout_s=5) for _ in range(3)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(each.upgrade() for each in (fresh, *others)))
    for each in others:
        await each.stop()
    assert (await fresh.status()).at_head


REVISION: Final = '''
revision, down_revision, branch_labels, depends_on, additive = "{revision}", "{before}", None, None, {additive}

def upgrade():
    """Changes nothing."""

def downgrade():
    """The same."""
'''


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds revisions of a newer Roster. This Roster has read its own before, and does not know them."""
    last = int(revisions.head())

    def add(*additive: bool) -> None:
        folder = shutil.copytree(revisions.FOLDER, tmp_path / "newer")
        for number, each in enumerate(additive, last + 1):
            text = REVISION.format(revision=f"{number:04}", before=f"{number - 1:04}", additive=each)
            (folder / "versions" / f"{number:04}_newer.py").write_text(text)
        monkeypatch.setattr(revisions, "FOLDER", folder)

    return add


def after_the_head(steps: int) -> str:
    return f"{int(revisions.head()) + steps:04}"


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_database_with_newer_additive_revisions_is_served(
    upgraded: Database, newer: Callable[..., None], goes_on: bool
) -> None:
    """It is served by a server that ran before the upgrade, and by one that starts after it."""
    await use(upgraded)
    if goes_on:
        await upgraded.start()
    newer(True, True)
    await move(upgraded, "head")

    status = await upgraded.status()
    await upgraded.start()
    await upgraded.require_ready()

    assert (status.current, status.at_head, status.is_usable) == (after_the_head(2), False, True)
    assert f"ahead of this Roster's {revisions.head()}, which can use it" in str(status)
    users = UserService(SqlUnitsOfWork(upgraded), CONTEXT)
    assert (await users.create(NewUser(name="Carol"))).result.name == "Carol"
    assert str(await upgraded.upgrade()) == f"the schema was at revision {after_the_head(2)} already"
    with pytest.raises(NotReady, match="for this, upgrade Roster"):  # it does not know all the counters
        await upgraded.begin_epoch(utc_now())


@pytest.mark.parametrize("additive", [(False,), (False, True), (True, False)])
async def test_a_database_with_a_newer_revision_that_is_not_additive_is_refused(
    upgraded: Database, newer: Callable[..., None], additive: tuple[bool, ...]
) -> None:
    await upgraded.start()
    await upgraded.require_ready()
    newer(*additive)
    await move(upgraded, "head")

    with pytest.raises(NotReady, match="Upgrade Roster"):
        await upgraded.require_ready()
    await upgraded.stop()
    for ask in (upgraded.start, upgraded.upgrade):
        with pytest.raises(NotReady, match=rf"revision {after_the_head(len(additive))}.*Upgrade Roster"):
            await ask()


async def test_a_newer_revision_without_a_note_of_compatibility_is_refused(upgraded: Database) -> None:
    """As revisions of a Roster that does not write the note."""
    async with connected(upgraded) as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999', compatible_since = NULL"))
    with pytest.raises(NotReady, match=r"revision 9999.*Upgrade Roster"):
        await upgraded.start()
    async with connected(upgraded) as connection:
        await connection.execute(sa.text("ALTER TABLE alembic_version DROP COLUMN compatible_since"))
    with pytest.raises(NotReady, match=r"revision 9999.*Upgrade Roster"):
        await upgraded.start()


def test_each_revision_says_whether_it_is_additive_and_why() -> None:
    for script in ScriptDirectory(str(revisions.FOLDER)).walk_revisions():
        assert script.module.additive in {True, False}, script.path
        [line] = [line for line in Path(script.path).read_text().splitlines() if line.startswith("additive = ")]
        assert re.search(r"  # [a-z]", line), f"{script.path} does not say why"


async def test_postgres_behind_its_head_is_not_served(fresh_postgres_url: str) -> None:
    database = database_at(fresh_postgres_url, serving=True, pool_size=2, pool_timeout_s=5)
    with pytest.raises(NotReady, match="Run: roster db upgrade"):
        await database.start()
    await database.upgrade()
    await database.start()
    await database.stop()


async def test_sqlite_is_upgraded_as_it_starts(sqlite_url: str) -> None:
    database = database_at(sqlite_url, serving=True, pool_size=2, pool_timeout_s=5)
    await database.start()
    assert (await database.status()).at_head
    await database.stop()


async def test_a_command_does_not_upgrade_a_file_under_a_server(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "UPGRADED_WITHIN_S", 0)
    server, beside = (database_at(sqlite_url, serving=each, pool_size=2, pool_timeout_s=5) for each in (True, False))
    await server.start()
    await beside.upgrade()  # there is nothing to do
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as old:
        old.execute("UPDATE alembic_version SET version_num = '0002'")
        old.commit()
        with pytest.raises(NotReady, match=r"Another server has .* open\. Stop it first\."):
            await beside.upgrade()
        assert old.execute("SELECT version_num FROM alembic_version").fetchall() == [("0002",)]
    assert not list(Path(sqlite_url.removeprefix("sqlite:///")).parent.glob("*.before-*"))
    await server.stop()


BROKEN: Final = (
    "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
    "CREATE TABLE children (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parents (id))",
    "INSERT INTO children (parent_id) VALUES (7), (8)",
)


@pytest.fixture
def broken_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that leaves rows without their parents."""
    upgrade = revisions.upgrade

    def upgrade_and_break(connection: sa.Connection) -> None:
        upgrade(connection)
        for statement in BROKEN:
            connection.exec_driver_sql(statement)

    monkeypatch.setattr(revisions, "upgrade", upgrade_and_break)


@pytest.mark.usefixtures("broken_migration")
async def test_an_upgrade_that_breaks_a_foreign_key_is_refused_and_undone(sqlite_url: str) -> None:
    database = database_at(sqlite_url, serving=True, pool_size=2, pool_timeout_s=5)
    with pytest.raises(NotReady, match=r"2 rows without their parent \(tables: children\)"):
        await database.start()
    assert (await database.status()).current is None
    assert definitions_in(sa.make_url(sqlite_url).database or "") == {}
    await database.stop()


async def test_an_upgrade_that_copies_a_table_does_not_cascade(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_parents(connection: sa.Connection) -> None:
        for statement in (
            "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
            "CREATE TABLE children (parent_id INTEGER REFERENCES parents (id) ON DELETE CASCADE)",
            "INSERT INTO parents VALUES (7)",
            "INSERT INTO children VALUES (7)",
            "CREATE TABLE copy (id INTEGER PRIMARY KEY, name TEXT)",
            "INSERT INTO copy SELECT id, 'a' FROM parents",
            "DROP TABLE parents",
            "ALTER TABLE copy RENAME TO parents",
        ):
            connection.exec_driver_sql(statement)

    monkeypatch.setattr(revisions, "upgrade", copy_parents)
    database = database_at(sqlite_url, serving=False, pool_size=2, pool_timeout_s=5)
    await database.upgrade()
    async with connected(database) as connection:
        assert (await connection.execute(sa.text("SELECT parent_id FROM children"))).all() == [(7,)]
    await database.stop()


def test_alembics_own_command_line_finds_the_schema_at_its_head(sqlite_url: str) -> None:
    """The command that a developer types: its settings are in pyproject.toml, the database is in the environment."""
    config = Config(toml_file=str(ROOT / "pyproject.toml"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROSTER_DATABASE_URL", sqlite_url)
        command.upgrade(config, "head")
        command.check(config)
