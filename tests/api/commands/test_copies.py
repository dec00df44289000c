"""`roster copy`: its output and its exit codes."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.commands.main import app
from domain.copies import Comparison, Sum
from repositories.copies import Copy


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["copy", *arguments])


@pytest.fixture
def copy_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'copy.db'}"


def test_each_table_has_a_line_with_its_rows_and_its_checksum(upgraded_sqlite_url: str, copy_url: str) -> None:
    CliRunner().invoke(app, ["users", "create", "Alice", "--database-url", upgraded_sqlite_url])
    result = run(upgraded_sqlite_url, copy_url)
    assert result.exit_code == 0
    lines = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    assert {"users", "changes", "keys", "answers", "memberships", "expired_positions"} <= lines.keys()
    rows, word, checksum, outcome = lines["users"]
    assert (rows, word, outcome) == ("1", "rows", "same")
    assert int(checksum, 16)
    assert result.stderr.splitlines()[-1] == (
        "roster: copied. Both are the same: serve the target, and no longer the source."
    )


def test_a_table_that_differs_is_reported_and_the_command_exits_with_1(
    upgraded_sqlite_url: str, copy_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(copy: Copy) -> AsyncGenerator[Comparison]:
        yield Comparison("users", Sum(1234, "aa"), Sum(1233, "bb"))

    monkeypatch.setattr(Copy, "steps", steps)
    result = run(upgraded_sqlite_url, copy_url)
    assert (result.exit_code, result.stdout.split()) == (
        1,
        ["users", "1,234", "rows", "aa", "DIFFERS:", "1,233", "rows", "bb"],
    )
    assert "Run this again" in result.stderr


def test_a_live_copy_reports_what_it_lacks(upgraded_sqlite_url: str, copy_url: str) -> None:
    result = run(upgraded_sqlite_url, copy_url, "--live")
    assert result.exit_code == 0
    assert "up to change 0. Later changes of the source are not in the target" in result.stderr


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("mysql://u:secret@h/d", "{copy}", "SOURCE: The database URL begins with sqlite:/// or postgresql://."),
        ("{here}", "sqlite:///", "TARGET: SQLite needs a file"),
        ("sqlite:///none.db", "{copy}", "There is no file"),
        ("{here}", "{here}", "The source and the target are the same."),
        ("{here}", "postgresql://roster:secret@127.0.0.1:1/roster", "PostgreSQL, roster at 127.0.0.1:1"),
        ("{here}", "sqlite:///none/copy.db", "none/copy.db cannot be opened: No such file or directory."),
    ],
)
def test_a_refused_copy_is_reported_in_one_line(  # noqa: PLR0917
    upgraded_sqlite_url: str, copy_url: str, source: str, target: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROSTER_REPLICA_URL", "postgresql://replica/roster")  # which is about the directory in use
    result = run(*(url.format(here=upgraded_sqlite_url, copy=copy_url) for url in (source, target)))
    assert result.exit_code == 2
    assert reason in result.stderr.splitlines()[-1]
    assert "secret" not in result.output
    assert len(result.stderr.splitlines()) <= 2


def test_a_target_that_is_in_use_is_refused(upgraded_sqlite_url: str, copy_url: str, tmp_path: Path) -> None:
    run(upgraded_sqlite_url, copy_url)
    CliRunner().invoke(app, ["users", "create", "Alice", "--database-url", copy_url])
    result = run(upgraded_sqlite_url, copy_url)
    assert result.exit_code == 2
    assert "The target is not empty: it has rows in changes, users" in result.stderr
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("SELECT name FROM users").fetchall() == [("Alice",)]
