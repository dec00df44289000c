"""The settings of an operator, their sources, and the reports of bad values, which do not show them."""

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import api.process.server
from api.commands.main import app
from api.settings import Settings
from domain.limits import Limits

SECRET = "hunter2"


@pytest.fixture
def started_with(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of each server that a command would start."""
    started: list[Settings] = []
    monkeypatch.setattr(api.process.server, "serve", lambda settings, _: started.append(settings))
    return started


def test_a_flag_overrides_the_environment_which_overrides_the_file(
    started_with: list[Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def port(*flags: str) -> int:
        result = CliRunner().invoke(app, ["serve", *flags])
        assert result.exit_code == 0, result.output
        return started_with.pop().port

    assert port() == 8000
    (tmp_path / ".env").write_text("ROSTER_PORT=1001\nROSTER_HOST=192.0.2.1\n")
    assert port() == 1001
    monkeypatch.setenv("ROSTER_PORT", "1002")
    assert port() == 1002
    assert port("--port", "1003") == 1003
    assert port() == 1002


@pytest.mark.parametrize("flag", ["host", "port", "workers", "database_url"])
def test_each_flag_sets_its_setting(started_with: list[Settings], flag: str) -> None:
    value = {"port": "9", "workers": "7"}.get(flag, "something")

    result = CliRunner().invoke(app, ["serve", f"--{flag.replace('_', '-')}", value])

    assert result.exit_code == 0, result.output
    assert str(getattr(started_with[0], flag)) == value


BAD: list[tuple[str, Any]] = [
    ("PORT", SECRET),
    ("PORT", "65536"),
    ("WORKERS", "0"),
    ("POOL_SIZE", "-1"),
    ("POOL_TIMEOUT_S", "nan"),
    ("DRAIN_S", "inf"),
    ("SHUTDOWN_S", "0.5"),
    ("LOG_FORMAT", SECRET),
    ("LOG_LEVEL", SECRET),
    ("LIMITS", '{"statement_s": 0}'),
    ("LIMITS", "[1]"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_reported_by_its_name_and_not_shown(
    started_with: list[Settings], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"ROSTER_{name}", value)

    result = CliRunner().invoke(app, ["serve"])

    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"roster: ROSTER_{name}: ")
    assert len(result.stderr.splitlines()) == 1
    assert SECRET not in result.output
    assert started_with == []


def test_all_bad_values_are_reported_at_once(started_with: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_PORT", "x")
    monkeypatch.setenv("ROSTER_WORKERS", "x")

    result = CliRunner().invoke(app, ["serve"])

    assert [line.split()[1] for line in result.stderr.splitlines()] == ["ROSTER_PORT:", "ROSTER_WORKERS:"]


def test_settings_do_not_show_the_password_of_the_url() -> None:
    assert SECRET not in repr(Settings(database_url=f"postgresql://roster:{SECRET}@host/directory"))


def test_the_environment_of_a_worker_gives_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        port=1,
        workers=2,
        drain_s=1.5,
        log_level="debug",
        limits=Limits(stop_s=7),
        database_url="postgresql://a:b%40c@d/e",
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    assert Settings() == settings


BAD_URLS = [
    f"postgresql://roster:{SECRET}/x@host/directory",
    f"postgresql://roster:{SECRET}@host:port/directory",
    f"mysql://roster:{SECRET}@host/directory",
    f"{SECRET}",
    "sqlite://",
    "sqlite:///:memory:",
    "",
    f"postgresql://roster:{SECRET}@no.such.host.invalid/directory",
    f"postgresql://roster:{SECRET}@127.0.0.1/directory?sslmode=perhaps",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_an_invalid_url_is_refused_and_not_shown(url: str) -> None:
    result = CliRunner().invoke(app, ["db", "status", "--database-url", url])

    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("roster: ")
    assert len(result.stderr.splitlines()) == 1
    assert SECRET not in result.output


def test_an_unknown_variable_is_reported_with_a_suggestion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [each for each in os.environ if each.startswith("ROSTER_")]:
        monkeypatch.delenv(name)
    assert list(Settings.unknown()) == []

    monkeypatch.setenv("ROSTER_DATABSE_URL", SECRET)
    monkeypatch.setenv("ROSTER_PORT", "1")
    monkeypatch.setenv("ROSTER_LIMITS__STATEMENT_S", "30")
    (tmp_path / ".env").write_text(f"ROSTER_XYZZY={SECRET}\nOTHER=1\n")

    assert list(Settings.unknown()) == [
        "ROSTER_DATABSE_URL is not a setting. Did you mean ROSTER_DATABASE_URL?",
        "ROSTER_XYZZY is not a setting.",
    ]


def test_a_command_warns_of_an_unknown_variable(monkeypatch: pytest.MonkeyPatch, upgraded_sqlite_url: str) -> None:
    monkeypatch.setenv("ROSTER_DATABSE_URL", SECRET)
    result = CliRunner().invoke(app, ["db", "status", "--database-url", upgraded_sqlite_url])
    assert result.exit_code == 0
    assert "roster: ROSTER_DATABSE_URL is not a setting." in result.stderr
