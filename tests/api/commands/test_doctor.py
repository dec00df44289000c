"""`roster doctor` and `roster config`: what is wrong, and how to fix it."""

import json
import re
import sqlite3
from contextlib import closing
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.commands.main import app
from api.extras import EXTRAS

Found = dict[str, dict[str, Any]]


def doctor(*arguments: str) -> tuple[int, Found]:
    result = CliRunner().invoke(app, ["doctor", "--json", *arguments])
    return result.exit_code, {each["what"]: each for each in json.loads(result.stdout)}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(upgraded_sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROSTER_DATABASE_URL", upgraded_sqlite_url)
    file = tmp_path / "roster.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    file.chmod(0o600)
    return file


def test_no_check_of_a_healthy_file_fails(file: Path) -> None:
    code, found = doctor()
    assert code == 0
    assert {each["level"] for what, each in found.items() if what not in {"backup", "sqlite"}} == {"ok"}
    assert {"pages", "values", "erasures", "disk", "log", "schema", "access by HTTP"} <= found.keys()


def test_the_findings_are_shown_as_a_table_without_json(file: Path) -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "no damage, journal mode wal" in result.stdout


def test_a_backup_is_found(file: Path, tmp_path: Path) -> None:
    assert doctor()[1]["backup"]["level"] == "warn"
    CliRunner().invoke(app, ["backup", str(tmp_path / "copy.db")])
    found = doctor()[1]["backup"]
    assert (found["level"], "copy.db" in found["says"]) == ("ok", True)


def test_a_file_that_others_may_read_is_a_warning(file: Path) -> None:
    file.chmod(0o644)
    code, found = doctor()
    assert (code, found["access"]["level"], found["access"]["fix"]) == (0, "warn", f"chmod 600 {file}")


def test_a_damaged_page_fails(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    content = bytearray(file.read_bytes())
    content[4096 * 4 : 4096 * 8] = b"x" * 4096 * 4
    file.write_bytes(content)
    code, found = doctor()
    assert (code, found["pages"]["level"]) == (1, "fail")
    assert "roster restore" in found["pages"]["fix"]


def test_values_that_are_not_json_fail(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        for name, attributes in (("Alice", '{"a": 1}'), ("Bob", '{"a": '), ("Carol", "")):
            connection.execute(
                "INSERT INTO users (name, name_key, status, attributes, created_at, updated_at, version)"
                " VALUES (?1, ?1, 'active', ?2, '2026-01-01', '2026-01-01', 1)",
                (name, attributes),
            )
    code, found = doctor()
    says = "users.attributes is not JSON in 2 rows, the first with the rowid 2"
    assert (code, found["values"]["level"], found["values"]["says"]) == (1, "fail", says)


@pytest.mark.parametrize(("left", "fix"), [(4, "stop the server, and run roster db vacuum"), (1, "a server removes")])
def test_copies_of_erased_rows_are_a_warning_until_the_file_is_rewritten(file: Path, left: int, fix: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version={left}")
    code, found = doctor()
    assert (code, found["erasures"]["level"]) == (0, "warn")
    assert fix in found["erasures"]["fix"]
    assert CliRunner().invoke(app, ["db", "vacuum"]).exit_code == 0
    assert doctor()[1]["erasures"]["level"] == "ok"


def test_a_schema_that_is_behind_fails_and_names_the_command(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.commit()
    code, found = doctor()
    assert (code, found["schema"]["level"], found["schema"]["fix"]) == (1, "fail", "roster db upgrade")


@pytest.mark.parametrize(("revision", "says"), [("9999", "Upgrade Roster"), ("copying-0", "Run roster copy again")])
def test_a_schema_that_cannot_be_upgraded_has_another_fix(file: Path, revision: str, says: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?1, compatible_since = ?1", (revision,))
    code, found = doctor()
    assert (code, found["schema"]["level"], found["schema"]["fix"]) == (1, "fail", "")
    assert says in found["schema"]["says"]


def test_a_missing_file_fails_and_is_not_created(tmp_path: Path) -> None:
    code, found = doctor("--database-url", f"sqlite:///{tmp_path / 'none.db'}")
    assert (code, found["database"]["level"]) == (1, "fail")
    assert not (tmp_path / "none.db").exists()


def test_a_server_that_is_open_to_everybody_without_a_key_fails(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_HOST", "0.0.0.0")
    code, found = doctor()
    assert (code, found["access by HTTP"]["level"]) == (1, "fail")
    assert "roster keys create" in found["access by HTTP"]["fix"]


def test_a_misspelt_variable_is_a_warning(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_HOTS", "x")
    code, found = doctor()
    assert (code, found["settings"]["level"]) == (0, "warn")
    assert "ROSTER_HOST" in found["settings"]["says"]


def test_a_change_in_the_future_is_a_warning_about_the_clock(file: Path) -> None:
    CliRunner().invoke(app, ["users", "create", "Alice"])
    assert doctor()[1]["clock"]["level"] == "ok"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE changes SET at = '2999-01-01T00:00:00.000000+00:00'")
    code, found = doctor()
    assert (code, found["clock"]["level"], "in the future" in found["clock"]["says"]) == (0, "warn", True)


def test_each_extra_is_installed_or_the_command_that_installs_it_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"extra {each.name}" for each in EXTRAS]
    found = doctor()[1]
    assert [(found[name]["level"], found[name]["says"]) for name in names] == [("ok", "installed")] * len(names)

    monkeypatch.setattr("api.extras.find_spec", lambda name: None)
    code, found = doctor()
    assert code == 0
    for each in EXTRAS:
        said = found[f"extra {each.name}"]
        assert (said["level"], said["says"]) == ("warn", f"not installed: {each.lacks}")
        assert f"pip install 'roster[{each.name}]'" in said["fix"]


def test_a_disabled_extra_is_not_reported_as_missing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_CONSOLE", "false")
    assert doctor()[1]["extra console"]["says"] == "installed, and switched off"
    monkeypatch.setattr("api.extras.find_spec", lambda name: None)
    assert doctor()[1]["extra console"]["level"] == "ok"


def test_the_extras_are_those_of_the_package_with_their_dependencies() -> None:
    brought: dict[str, set[str]] = {}
    for needed in requires("roster") or ():
        if match := re.fullmatch(r"([\w.-]+).*; extra == ['\"](\w+)['\"]", needed):
            brought.setdefault(match[2], set()).add(match[1])
    del brought["dev"]
    assert {each.name: set(each.packages) for each in EXTRAS} == brought


def test_postgres_is_checked(postgres_url: str) -> None:
    code, found = doctor("--database-url", postgres_url)
    assert code == 1  # the server of the tests has both off
    assert {what for what, each in found.items() if each["level"] == "fail"} == {"fsync", "full_page_writes"}
    assert {"server", "role", "backup", "synchronous_commit", "connections", "clock", "schema"} <= found.keys()


def test_more_connections_than_postgres_allows_fail(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_POOL_SIZE", "100")
    assert doctor("--database-url", postgres_url)[1]["connections"]["level"] == "fail"


def config(*arguments: str) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(app, ["config", "--json", *arguments])
    assert result.exit_code == 0, result.output
    return {each["setting"]: each for each in json.loads(result.stdout)}


def test_config_shows_each_setting_and_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("ROSTER_PORT=9000\nROSTER_HOST=127.0.0.2\n")
    monkeypatch.setenv("ROSTER_HOST", "127.0.0.3")
    found = config("--database-url", "sqlite:///x.db")
    assert {name: (found[name]["value"], found[name]["from"]) for name in ("ROSTER_HOST", "ROSTER_PORT")} == {
        "ROSTER_HOST": ("127.0.0.3", "environment"),
        "ROSTER_PORT": ("9000", ".env"),
    }
    assert (found["ROSTER_DATABASE_URL"]["from"], found["ROSTER_WORKERS"]["from"]) == ("flag", "default")
    assert set(config("--set")) == {"ROSTER_HOST", "ROSTER_PORT"}


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:hush@h/d", "postgresql://u@h/d?password=hush&x=1", "postgresql://u:hu%40sh:hush@h/d"],
)
def test_config_shows_no_secret(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_DATABASE_URL", url)
    monkeypatch.setenv("ROSTER_BOOTSTRAP_KEY", "rk_hush")
    result = CliRunner().invoke(app, ["config"])
    assert result.exit_code == 0
    assert "hush" not in result.output
    assert "********" in result.stdout
