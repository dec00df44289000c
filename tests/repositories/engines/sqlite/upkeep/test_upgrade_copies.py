"""A SQLite file is copied before it is upgraded, and the copy has the old state."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.conftest import database_for_tests
from typer.testing import CliRunner, Result

from api.commands.main import app
from domain.errors import NotReady
from repositories.engines import revisions
from repositories.engines.database import database_at
from repositories.engines.sqlite import files
from repositories.engines.sqlite.connection import DURABLE
from repositories.engines.sqlite.upkeep.upgrades import SchemaFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "roster.db"


@pytest.fixture
def behind(file: Path) -> str:
    """The URL of a file at the first revision, with a user."""
    files.create_private(file)
    with SchemaFile(file, DURABLE).opened() as connection:
        revisions.move(connection, "0001")
        connection.exec_driver_sql(
            "INSERT INTO users (name, name_key, status, attributes, created_at, updated_at, version)"
            " VALUES ('Alice', 'alice', 'active', '{}', '2026-01-01', '2026-01-01', 1)"
        )
    return f"sqlite:///{file}"


def copies_of(file: Path) -> Iterator[str]:
    return (each.name for each in sorted(file.parent.glob("roster.db.before-*")))


def revision_in(file: Path) -> tuple[str, str]:
    with closing(sqlite3.connect(file)) as connection:
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        (name,) = connection.execute("SELECT name FROM users").fetchone()
        return revision, name


async def test_a_server_copies_the_file_upgrades_it_and_logs_both(
    behind: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "roster")
    database = database_for_tests(behind)
    await database.start()
    await database.stop()

    head = revisions.head()
    copy = file.with_name(f"roster.db.before-{head}")
    assert list(copies_of(file)) == [copy.name]
    assert revision_in(copy) == ("0001", "Alice")
    assert revision_in(file) == (head, "Alice")
    assert oct(copy.stat().st_mode & 0o777) == "0o600"
    [record] = [each for each in caplog.records if each.getMessage() == "schema upgraded"]
    assert (record.__dict__["from"], record.__dict__["to"], record.__dict__["copy"]) == ("0001", head, str(copy))


async def test_an_upgrade_replaces_no_copy_and_makes_none_without_need(behind: str, file: Path) -> None:
    taken = file.with_name(f"roster.db.before-{revisions.head()}")
    taken.write_text("an earlier copy")
    for _ in range(2):
        await database_for_tests(behind).upgrade()

    assert list(copies_of(file)) == [taken.name, f"{taken.name}-2"]
    assert taken.read_text() == "an earlier copy"


async def test_a_new_file_is_not_copied_and_its_creation_is_logged(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "roster")
    for _ in range(2):
        database = database_for_tests(f"sqlite:///{file}")
        await database.start()
        await database.stop()
    assert list(copies_of(file)) == []
    assert [each.getMessage() for each in caplog.records] == ["created a new database"]
    assert str(file) in caplog.records[0].__dict__["database"]


async def test_an_upgrade_is_refused_if_no_copy_can_be_made(
    behind: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, suffix: str) -> Path:
        (path.parent / "full").mkdir()
        return path.parent / "full"

    monkeypatch.setattr(files, "new_file_beside", fail)
    monkeypatch.setattr(Path, "unlink", lambda _: None)
    with pytest.raises(NotReady, match=r"No copy of .* could be made"):
        await database_for_tests(behind).upgrade()
    assert revision_in(file)[0] == "0001"


async def test_a_server_that_may_not_upgrade_names_the_command_to_run(behind: str, file: Path) -> None:
    database = database_at(behind, serving=True, pool_size=1, pool_timeout_s=5, auto_upgrade=False)
    with pytest.raises(NotReady, match="Run: roster db upgrade"):
        await database.start()
    assert list(copies_of(file)) == []
    await database.upgrade()
    await database.start()
    await database.stop()


async def test_a_server_that_may_not_upgrade_still_creates_a_new_file(file: Path) -> None:
    database = database_at(f"sqlite:///{file}", serving=True, pool_size=1, pool_timeout_s=5, auto_upgrade=False)
    await database.start()
    await database.stop()


def upgrade(url: str, *arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["db", "upgrade", "--database-url", url, *arguments], input=answer)


def test_the_command_can_ask_before_it_upgrades(behind: str, file: Path) -> None:
    refused = upgrade(behind, "--ask", answer="n\n")
    assert (refused.exit_code, revision_in(file)[0]) == (1, "0001")
    assert f"is at revision 0001, this Roster needs {revisions.head()}" in refused.stderr

    agreed = upgrade(behind, "--ask", answer="y\n")
    assert (agreed.exit_code, revision_in(file)[0]) == (0, revisions.head())
    assert agreed.stdout.endswith(f"a copy from before is {file}.before-{revisions.head()}.\n")

    again = upgrade(behind, "--ask")
    assert (again.exit_code, "already" in again.stdout) == (0, True)


def test_the_command_says_that_it_created_a_database(file: Path) -> None:
    created = upgrade(f"sqlite:///{file}", "--ask")
    assert created.exit_code == 0
    assert f"{file}: created a new database at revision {revisions.head()}." in created.stdout
