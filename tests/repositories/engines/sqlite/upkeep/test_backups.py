"""Backups of a SQLite file, and restores from them."""

# ruff: noqa: ASYNC220, ASYNC240  # nothing else runs in these event loops

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from tests.conftest import database_for_tests
from typer.testing import CliRunner

from api.commands.main import app
from domain.errors import NotReady, PositionExpired
from domain.keys import NewKey, Scope
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines import revisions
from repositories.engines.sqlite import files
from repositories.engines.sqlite.connection import DURABLE
from repositories.engines.sqlite.database import SqliteDatabase
from repositories.engines.sqlite.upkeep.scrubbing import Left, what_is_left
from repositories.engines.sqlite.upkeep.upgrades import SchemaFile
from repositories.work.units_of_work import SqlUnitsOfWork
from services.changes import ChangeService
from services.keys import KeyService
from services.users import UserService

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
CONTEXT: Final = RequestContext(actor="tester", request_id="r1")


@pytest.fixture
def path(upgraded_sqlite_url: str, tmp_path: Path) -> Path:
    return tmp_path / "roster.db"


def database_in(path: Path, *, serving: bool = False) -> SqliteDatabase:
    database = database_for_tests(f"sqlite:///{path}", serving=serving)
    assert isinstance(database, SqliteDatabase)
    return database


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[SqlUnitsOfWork]:
    units = SqlUnitsOfWork(database_in(path, serving=True))
    await units.start()
    yield units
    await units.stop()


async def create(units: SqlUnitsOfWork, *names: str) -> list[int]:
    users = UserService(units, CONTEXT)
    return [(await users.create(NewUser(name=name))).result.id for name in names]


def names_in(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM users ORDER BY id")]


async def test_after_a_lost_disk_the_directory_is_restored_from_a_backup(path: Path, tmp_path: Path) -> None:
    """Back up, lose later writes, restore: everything in the backup is there, and no number is used twice."""
    copy = tmp_path / "backup.db"
    async with served(path) as units:
        await create(units, "Alice", "Bob")
        backup = await database_in(path).backup(copy)
        lost = await create(units, "Carol")
        seen = (await ChangeService(units, CONTEXT).list(since=0, limit=9)).end
    assert backup.contents.rows["users"] == 2
    assert backup.contents.last_change == 2
    path.unlink()

    restored = await database_in(path).restore(copy, NOW)

    assert restored.kept is None
    async with served(path) as units:
        assert [user.name for user in (await UserService(units, CONTEXT).list(limit=9)).items] == ["Alice", "Bob"]
        [dora] = await create(units, "Dora")
        assert dora > restored.start > lost[0]
        changes = ChangeService(units, CONTEXT)
        with pytest.raises(PositionExpired):
            await changes.list(since=seen, limit=9)
        assert [each.entity_id for each in (await changes.list(since=2, limit=9)).changes] == [dora]


async def test_restoring_a_backup_several_times_never_uses_a_number_twice(path: Path, tmp_path: Path) -> None:
    async with served(path) as units:
        await create(units, "Alice")
        await database_in(path).backup(tmp_path / "backup.db")
    given: list[int] = []
    for name in ("first", "second", "third"):
        await database_in(path).restore(tmp_path / "backup.db", datetime(1970, 1, 1, tzinfo=UTC))
        async with served(path) as units:
            given += await create(units, name)
    assert given == sorted(set(given))
    kept = sorted(each.name for each in tmp_path.glob("roster.db.before-restore*"))
    assert kept == ["roster.db.before-restore", "roster.db.before-restore-2", "roster.db.before-restore-3"]
    assert names_in(tmp_path / "roster.db.before-restore-3") == ["Alice", "second"]


async def test_a_restore_keeps_the_replaced_file_with_the_content_of_its_log(path: Path, tmp_path: Path) -> None:
    async with served(path) as units:
        await database_in(path).backup(tmp_path / "backup.db")
        await create(units, "Alice")
        dead = tmp_path / "dead.db"  # as a process leaves it that was killed
        for suffix in ("", "-wal"):
            Path(f"{dead}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    assert Path(f"{dead}-wal").stat().st_size > 0

    restored = await database_in(dead).restore(tmp_path / "backup.db", NOW)

    assert names_in(dead) == []
    assert restored.kept is not None
    assert names_in(restored.kept) == ["Alice"]
    assert not Path(f"{dead}-wal").exists()


async def test_the_log_of_a_missing_file_does_not_get_into_the_restored_one(path: Path, tmp_path: Path) -> None:
    async with served(path) as units:
        await database_in(path).backup(tmp_path / "backup.db")
        await create(units, "Alice")
        dead = tmp_path / "dead.db"
        Path(f"{dead}-wal").write_bytes(Path(f"{path}-wal").read_bytes())

    await database_in(dead).restore(tmp_path / "backup.db", NOW)

    assert names_in(dead) == []
    assert not Path(f"{dead}-wal").exists()


async def test_a_damaged_file_is_replaced_and_kept(path: Path, tmp_path: Path) -> None:
    await database_in(path).backup(tmp_path / "backup.db")
    path.write_bytes(b"no database " * 1000)
    Path(f"{path}-wal").write_bytes(b"no log")

    restored = await database_in(path).restore(tmp_path / "backup.db", NOW)

    assert names_in(path) == []
    assert restored.kept is not None
    assert restored.kept.read_bytes().startswith(b"no database")
    assert not Path(f"{path}-wal").exists()


async def test_a_restore_names_the_erased_users_and_revoked_keys_that_it_brings_back(
    path: Path, tmp_path: Path
) -> None:
    async with served(path) as units:
        await create(units, "Alice", "Bob")
        keys = KeyService(units, lambda: "r" * 40, lambda: None, CONTEXT)
        for _ in range(2):
            await keys.create(NewKey(name="a", scopes=(Scope.KEYS_ADMIN,)))
        await database_in(path).backup(tmp_path / "backup.db")
        users = UserService(units, CONTEXT)
        [carol] = await create(units, "Carol")
        for id in (2, carol):
            await users.purge(id)
        await keys.revoke(1)

    restored = await database_in(path).restore(tmp_path / "backup.db", NOW)

    assert (restored.undone.erased, restored.undone.revoked) == ([2], [1])
    assert "roster keys revoke 1" in str(restored)
    assert "/users/2?purge=true" in str(restored)


async def test_a_restore_is_refused_while_a_server_runs(path: Path, tmp_path: Path) -> None:
    async with served(path) as units:
        await create(units, "Alice")
        await database_in(path).backup(tmp_path / "backup.db")
        with pytest.raises(NotReady, match="Stop it before you restore"):
            await database_in(path).restore(tmp_path / "backup.db", NOW)
        assert await create(units, "Bob") == [2]
    assert names_in(path) == ["Alice", "Bob"]


async def test_a_restore_is_refused_while_another_program_has_the_file_open(path: Path, tmp_path: Path) -> None:
    await database_in(path).backup(tmp_path / "backup.db")
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM users").fetchall()
        with pytest.raises(NotReady, match="Another program has"):
            await database_in(path).restore(tmp_path / "backup.db", NOW)
    assert not list(tmp_path.glob("*restor*"))


@pytest.mark.parametrize("fault", ["missing", "foreign", "damaged", "no database", "empty"])
async def test_a_bad_backup_changes_nothing(path: Path, tmp_path: Path, fault: str) -> None:
    async with served(path) as units:
        await create(units, *[f"user {number} {'x' * 190}" for number in range(99 if fault == "damaged" else 1)])
    before = names_in(path)
    backup = tmp_path / "backup.db"
    match fault:
        case "foreign":
            with closing(sqlite3.connect(backup)) as connection:
                connection.execute("CREATE TABLE users (id)")
        case "damaged":
            await database_in(path).backup(backup)
            content = bytearray(backup.read_bytes())
            content[4096 : len(content) - 4096] = bytes(len(content) - 2 * 4096)
            backup.write_bytes(content)
        case "no database":
            backup.write_bytes(b"no database " * 1000)
        case "empty":
            backup.touch()

    with pytest.raises(NotReady):
        await database_in(path).restore(backup, NOW)

    assert names_in(path) == before
    assert {each.name for each in tmp_path.iterdir()} <= {
        "roster.db",
        "roster.db-lock",
        "roster.db-writer",
        "roster.db-backup",
        "backup.db",
    }


async def test_an_older_backup_is_brought_to_the_head_of_the_schema(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    files.create_private(backup)
    with SchemaFile(backup, DURABLE).opened() as connection:
        revisions.move(connection, "0001")

    await database_in(path).restore(backup, NOW)

    assert (await database_in(path).status()).at_head
    assert (await database_in(backup).status()).current == "0001"


async def test_a_backup_of_a_newer_schema_is_refused(path: Path, tmp_path: Path) -> None:
    await database_in(path).backup(tmp_path / "backup.db")
    with closing(sqlite3.connect(tmp_path / "backup.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(NotReady, match=r"[Uu]pgrade Roster"):
        await database_in(path).restore(tmp_path / "backup.db", NOW)
    assert (await database_in(path).status()).at_head


async def test_a_backup_replaces_no_file_and_leaves_no_half_written_one(path: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.db"
    there.write_text("precious")
    with pytest.raises(NotReady, match="is there already"):
        await database_in(path).backup(there)
    assert there.read_text() == "precious"

    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"x" * 4096 * 3
    path.write_bytes(content)
    with pytest.raises(NotReady):
        await database_in(path).backup(tmp_path / "new.db")
    assert not list(tmp_path.glob("new.db*"))


async def test_nothing_of_erased_rows_is_left_in_a_backup(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version={Left.MOVED_COPIES:d}")
    await database_in(path).backup(tmp_path / "backup.db")
    with closing(sqlite3.connect(tmp_path / "backup.db")) as connection:
        assert what_is_left(connection) is Left.NOTHING


async def test_a_backup_is_for_its_owner_only(path: Path, tmp_path: Path) -> None:
    await database_in(path).backup(tmp_path / "new.db")
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600


async def test_a_backup_ends_while_another_process_writes_all_the_time(path: Path, tmp_path: Path) -> None:
    """The backup shows one state: the row that is rewritten all the time is there once, and its parts match."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE busy (a, b)")
        connection.execute("INSERT INTO busy VALUES (0, 0)")
        connection.executemany("INSERT INTO busy VALUES (-1, ?)", [("x" * 4000,)] * 2000)
        connection.commit()
    writes = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)\n"
        "print('writing', flush=True)\n"
        "while True: c.execute('UPDATE busy SET a = a + 1, b = b + 1 WHERE a >= 0')"
    )
    with subprocess.Popen([sys.executable, "-c", writes, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        for number in range(3):
            copy = tmp_path / f"copy{number}.db"
            await database_in(path).backup(copy)
            with closing(sqlite3.connect(copy)) as connection:
                [(a, b)] = connection.execute("SELECT a, b FROM busy WHERE a >= 0").fetchall()
            assert a == b
        writer.kill()


async def test_postgres_names_the_programs_to_run(postgres_url: str) -> None:
    database = database_for_tests(postgres_url)
    with pytest.raises(NotReady, match="pg_dump --format=custom"):
        await database.backup(Path("roster.dump"))
    with pytest.raises(NotReady, match=r"pg_restore .* roster db epoch"):
        await database.restore(Path("roster.dump"), NOW)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    return result.exit_code, result.output


def test_the_commands_report_what_they_did(upgraded_sqlite_url: str, tmp_path: Path) -> None:
    url = ("--database-url", upgraded_sqlite_url)

    code, said = run("backup", tmp_path / "b.db", *url)
    assert (code, "the last change is 0" in said) == (0, True)
    code, said = run("backup", tmp_path / "b.db", *url)
    assert (code, "is there already" in said) == (2, True)
    code, said = run("restore", tmp_path / "b.db", *url)  # without an answer to its question
    assert code == 1
    assert not (tmp_path / "roster.db.before-restore").exists()
    code, said = run("restore", tmp_path / "b.db", "--yes", *url)
    assert (code, "roster.db.before-restore" in said) == (0, True)
    code, said = run("db", "epoch", *url)
    assert (code, "continue from" in said) == (0, True)


def test_periodic_backups_keep_the_last_ones(
    upgraded_sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "roster-notes.db").write_text("not a backup")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            (tmp_path / "roster.db").rename(tmp_path / "away.db")  # one that fails removes none
        if len(pauses) == 3:
            (tmp_path / "away.db").rename(tmp_path / "roster.db")
        if len(pauses) == 5:
            raise SystemExit(0)

    monkeypatch.setattr("api.commands.backup.time.sleep", pause)
    code, said = run("backup", folder, "--every", "1h", "--keep", "2", "--database-url", upgraded_sqlite_url)

    assert code == 0
    assert pauses == [3600] * 5
    assert said.count("backed up to") == 4
    assert said.count("removed") == 2
    assert len(list(folder.glob("roster-2*.db"))) == 2
    assert (folder / "roster-notes.db").exists()


def test_a_missing_folder_is_refused(upgraded_sqlite_url: str, tmp_path: Path) -> None:
    code, said = run("backup", tmp_path / "none", "--every", "1h", "--database-url", upgraded_sqlite_url)
    assert (code, "is not a folder" in said) == (2, True)
