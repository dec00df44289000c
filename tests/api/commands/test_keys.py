"""`roster keys`, on the database directly."""

import asyncio
import json
import os
import pwd
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dependency_injector import providers
from typer.testing import CliRunner, Result

from api.commands.main import app
from api.container import Container
from api.settings import Settings
from domain.changes import Change
from domain.keys import Key, Scope, id_in

if TYPE_CHECKING:
    from domain.work import UnitsOfWork


ADMIN = ["create", "admin", "--scope", "keys:admin"]


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch, upgraded_sqlite_url: str) -> str:
    monkeypatch.setenv("ROSTER_DATABASE_URL", upgraded_sqlite_url)
    return upgraded_sqlite_url


def keys(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def done(*arguments: str) -> str:
    result = keys(*arguments)
    assert (result.exit_code, own_lines(result)) == (0, []), result.output
    return result.stdout


def own_lines(result: Result) -> list[str]:
    """The lines on standard error, without the one that names the database."""
    return [line for line in result.stderr.splitlines() if not line.startswith("roster: SQLite ")]


def in_json(*arguments: str) -> Any:
    return json.loads(done(*arguments, "--json"))


def complaints(*arguments: str) -> list[str]:
    """The lines of a refusal."""
    result = keys(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert "Traceback" not in result.stderr
    return own_lines(result)


def in_directory(act: Any) -> Any:
    async def run() -> Any:
        container = Container(settings=providers.Object(Settings()))
        await container.units().start()
        try:
            return await act(container)
        finally:
            await container.units().stop()

    return asyncio.run(run())


def authenticate(secret: str) -> Key:
    key: Key = in_directory(lambda container: container.authenticator().authenticate(secret))
    return key


def feed() -> list[Change]:
    async def read(container: Container) -> list[Change]:
        units: UnitsOfWork = container.units()
        async with units.reading() as work:
            return list(await work.changes.list(limit=100))

    recorded: list[Change] = in_directory(read)
    return recorded


def test_a_missing_file_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_DATABASE_URL", "sqlite:///elsewhere.db")
    monkeypatch.chdir(tmp_path)
    for arguments in (ADMIN, ["list"], ["rotate", "1"], ["revoke", "1"]):
        [line] = complaints(*arguments)
        assert line.startswith(f"roster: There is no file {tmp_path}/elsewhere.db.")
    assert not (tmp_path / "elsewhere.db").exists()


def test_the_database_is_named_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_DATABASE_URL", "sqlite:///roster.db")
    monkeypatch.chdir(tmp_path)
    result = keys("list")
    assert result.stderr.endswith(f", {tmp_path}/roster.db\n")
    assert len(result.stderr.splitlines()) == 1


def test_all_scopes_gives_every_scope_and_excludes_other_scopes() -> None:
    assert in_json("create", "admin", "--all-scopes")["scopes"] == sorted(Scope)
    for arguments in (["create", "n"], ["create", "n", "--all-scopes", "--scope", "users:read"]):
        assert complaints(*arguments) == [
            "roster: Say what the key allows: --all-scopes, or --scope users:read and so on."
        ]


def test_a_created_key_is_accepted() -> None:
    created = in_json("create", "import", "--scope", "users:write", "--scope", "users:read")

    assert id_in(created["secret"]) == created["id"] == 1
    key = authenticate(created["secret"])
    assert (key.name, key.scopes) == ("import", (Scope.USERS_READ, Scope.USERS_WRITE))
    assert (created["name"], created["scopes"]) == ("import", ["users:read", "users:write"])


def test_without_json_a_key_is_shown_in_lines() -> None:
    said = dict(line.split(maxsplit=1) for line in done(*ADMIN).splitlines() if line)

    assert (said["id"], said["name"], said["scopes"]) == ("1", "admin", "keys:admin")
    assert authenticate(said["secret"]).id == 1
    assert "expires_at" not in said


@pytest.mark.parametrize(("text", "span"), [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)),
                                            ("30m", timedelta(minutes=30))])  # fmt: skip
def test_a_key_expires_at_the_given_time(text: str, span: timedelta) -> None:
    created = in_json(*ADMIN, "--expires", text)

    lasts = datetime.fromisoformat(created["expires_at"]) - datetime.fromisoformat(created["created_at"])
    assert abs(lasts - span) < timedelta(minutes=1)


def test_the_list_has_keys_that_are_not_revoked_without_their_secrets() -> None:
    assert in_json("list") == []
    assert done("list") == ""
    secret = in_json(*ADMIN)["secret"]
    done("create", "other", "--scope", "users:read")
    done("revoke", "2")

    listed = in_json("list")

    assert [(key["id"], key["name"], key["revoked_at"]) for key in listed] == [(1, "admin", None)]
    assert "secret" not in listed[0]
    assert secret not in done("list")
    assert "admin" in done("list")


def test_a_rotated_key_accepts_two_secrets_for_a_while() -> None:
    first = in_json(*ADMIN)["secret"]
    second = in_json("rotate", "1")["secret"]
    assert authenticate(first).id == authenticate(second).id == 1

    third = in_json("rotate", "1", "--overlap", "0m")["secret"]

    assert authenticate(third).rotated_at is not None
    with pytest.raises(Exception, match="not valid"):
        authenticate(second)


def test_a_revoked_key_is_not_accepted() -> None:
    done(*ADMIN)
    secret = in_json("create", "other", "--scope", "users:read")["secret"]

    assert done("revoke", "2") == "Key 2 is revoked.\n"

    with pytest.raises(Exception, match="not valid"):
        authenticate(secret)


def test_the_last_admin_key_is_revoked_with_force() -> None:
    done(*ADMIN)

    [line] = complaints("revoke", "1")
    assert line == "roster: This is the last key that may administer keys. Use --force to revoke it."
    assert len(in_json("list")) == 1
    done("revoke", "1", "--force")
    assert in_json("list") == []


def test_generate_prints_a_secret_and_stores_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROSTER_DATABASE_URL", f"sqlite:///{tmp_path}/elsewhere.db")
    one, other = done("generate").strip(), done("generate").strip()

    assert id_in(one) == id_in(other) == 1
    assert one != other
    assert not (tmp_path / "elsewhere.db").exists()


def test_every_change_has_the_user_of_the_operating_system_as_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    done(*ADMIN)
    done("rotate", "1")
    done("revoke", "1", "--force")

    assert {change.actor for change in feed()} == {f"cli:{pwd.getpwuid(os.getuid()).pw_name}"}
    assert len({change.request_id for change in feed()}) == 3


def test_the_actor_is_the_user_id_of_the_system_if_it_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    done(*ADMIN)

    assert [change.actor for change in feed()] == [f"cli:{os.getuid()}"]


def test_a_name_cannot_send_control_characters_to_the_terminal() -> None:
    done("create", "\x1b[2Jadmin\nid 7", "--scope", "users:read")

    said = done("list")

    assert "\x1b" not in said
    assert "id 7" not in said.splitlines()
    assert in_json("list")[0]["name"] == "\x1b[2Jadmin\nid 7"


@pytest.mark.parametrize("text", ["90", "1y", "-1d", "1.5d", "", "d", "1 d", "999999d", "٣d"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    for arguments in ([*ADMIN, f"--expires={text}"], ["rotate", "1", f"--overlap={text}"]):
        [line] = complaints(*arguments)
        assert line.startswith("roster: ")
        assert line.endswith("is not a duration. Write 90d, 12h, 30m or 45s.")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["create", " ", "--scope", "users:read"], "roster: name: Must not be blank."),
        (["create", "n" * 201, "--scope", "users:read"], "roster: name: Must hold at most 200 characters."),
        ([*ADMIN, "--expires", "0d"], "roster: expires_at: Must be in the future."),
        (["rotate", "7"], "roster: There is no key with this id."),
        (["revoke", "7"], "roster: There is no key with this id."),
        (["rotate", "7", "--overlap", "31d"], "roster: overlap: Must be at most 30 days."),
    ],
)
def test_a_refusal_is_one_line(arguments: list[str], line: str) -> None:
    assert complaints(*arguments) == [line]


@pytest.mark.parametrize("arguments", [["create", "n"], ["create", "n", "--scope", "users:all"], ["rotate", "0"],
                                       ["revoke", "x"], ["revoke"], ["create"]])  # fmt: skip
def test_invalid_arguments_are_refused_and_nothing_is_done(arguments: list[str]) -> None:
    assert keys(*arguments).exit_code == 2
    assert in_json("list") == []


def test_a_link_to_the_console_uses_the_only_key_or_the_named_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_PORT", "8001")
    assert done("console-link").startswith("http://127.0.0.1:8001/console/link/")  # there is no key
    done(*ADMIN)
    assert done("console-link").startswith("http://127.0.0.1:8001/console/link/")
    done(*ADMIN)
    assert complaints("console-link") == ["roster: key: Name the key whose scopes the link shall have."]
    monkeypatch.setenv("ROSTER_PUBLIC_URL", "https://people.example/")
    assert done("console-link", "--key", "2").startswith("https://people.example/console/link/")
    assert complaints("console-link", "--key", "9") == ["roster: There is no key with this id."]
