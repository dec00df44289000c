"""`roster users`, `roster groups` and `roster changes`, on a file."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api.commands import changes as commands
from api.commands.main import app
from repositories.engines.sqlite.upkeep import scrubbing
from services.changes import ChangeService


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, upgraded_sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSTER_DATABASE_URL", upgraded_sqlite_url)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def in_json(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_user_is_created_shown_changed_deleted_restored_and_erased() -> None:
    created = in_json("users", "create", "Alice", "--email", "Alice@x.org", "--attributes", '{"a": 1}')
    assert (created["id"], created["version"], created["attributes"]) == (1, 1, {"a": 1})
    assert in_json("users", "show", "1") == created
    assert in_json("users", "show", "email:alice@X.org") == created

    changed = in_json("users", "patch", "1", "--email", "", "--status", "suspended", "--attributes", '{"b": 2}')
    assert (changed["email"], changed["status"], changed["attributes"]) == (None, "suspended", {"a": 1, "b": 2})
    assert run("users", "delete", "1").stdout == "User 1 is deleted.\n"
    assert in_json("users", "list") == []
    assert [user["id"] for user in in_json("users", "list", "--deleted", "true")] == [1]
    assert in_json("users", "show", "1")["deleted_at"] is not None
    assert in_json("users", "restore", "1")["deleted_at"] is None
    assert run("users", "delete", "1", "--purge").stdout == "User 1 is erased.\n"
    assert run("users", "show", "1").exit_code == 2


def test_an_erasure_says_that_copies_may_still_be_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "REWRITTEN_BYTES", 0)
    run("users", "create", "Alice")
    says = run("users", "delete", "1", "--purge").stdout
    assert says == "User 1 is erased. Copies of its values may still be in the file: see roster doctor.\n"


def test_a_list_is_filtered_sorted_and_limited() -> None:
    for name in ("Carol", "Alice", "Bob"):
        run("users", "create", name, "--username", name)
    assert [user["name"] for user in in_json("users", "list", "--sort", "-name", "--limit", "2")] == ["Carol", "Bob"]
    assert [user["id"] for user in in_json("users", "list", "--filter", 'username eq "bob"')] == [3]


def test_a_list_also_shows_default_values() -> None:
    """Over HTTP a list leaves the status out of those who are active."""
    run("users", "create", "Alice")
    assert run("users", "list").output.splitlines()[-1].split() == ["1", "Alice", "active"]
    assert in_json("users", "list") == [in_json("users", "show", "1")]


def test_no_value_is_cut_off_or_interpreted_by_the_terminal() -> None:
    long = "x" * 190
    run("users", "create", long)
    run("users", "create", "[bold]\x1b[31mred")
    table = run("users", "list").stdout
    assert long in table
    assert "[bold]" in table
    assert "\x1b" not in table


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("show", "nobody"), "does not name a user"),
        (("show", "7"), "There is no user"),
        (("create", " "), "name:"),
        (("create", "A", "--attributes", "[]"), "attributes: Must be a JSON object."),
        (("patch", "1"), "Say what to change"),
        (("list", "--filter", "name eq"), "roster:"),
        (("list", "--sort", "nothing"), "roster:"),
    ],
)
def test_a_refusal_is_one_line_and_exits_with_2(arguments: tuple[str, ...], reason: str) -> None:
    result = run("users", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    [line] = [line for line in result.stderr.splitlines() if "SQLite" not in line]
    assert reason in line


def test_changes_shows_the_last_changes_or_those_after_a_number() -> None:
    for name in ("Alice", "Bob", "Carol"):
        run("users", "create", name)
    assert [each["seq"] for each in in_json("changes", "--limit", "2")] == [2, 3]
    assert [each["seq"] for each in in_json("changes", "--since", "1")] == [2, 3]
    assert [each["entity_id"] for each in in_json("changes", "--filter", "entity_id eq 2")] == [2]
    assert "created  user 3" in run("changes").stdout


def test_follow_prints_new_changes_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Alice", "Bob"):
        run("users", "create", name)
    asked: list[object] = []
    wait = ChangeService.wait

    async def wait_once(self: ChangeService, **options: Any) -> Any:
        asked.append(options["since"])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return await wait(self, **{**options, "within_s": 0})

    monkeypatch.setattr(ChangeService, "wait", wait_once)
    result = run("changes", "--follow", "--since", "1", "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == [2]
    assert asked == [1, 2, 2]
    assert commands.WAIT_S > 1


def test_a_group_has_members_with_roles() -> None:
    created = in_json("groups", "create", "Engineers", "--description", "who build")
    assert (created["id"], created["description"]) == (1, "who build")
    for name in ("Alice", "Bob"):
        run("users", "create", name)
    assert run("groups", "add", "1", "1", "--role", "lead").stdout == "User 1 is in group 1.\n"
    run("groups", "add", "1", "2")
    assert [(each["user_id"], each["role"]) for each in in_json("groups", "members", "1")] == [(1, "lead"), (2, None)]
    assert run("groups", "remove", "1", "2").stdout == "User 2 is not in group 1.\n"
    assert [each["user_id"] for each in in_json("groups", "members", "1", "--limit", "1")] == [1]

    changed = in_json("groups", "patch", "1", "--name", "Builders", "--description", "")
    assert (changed["name"], changed["description"]) == ("Builders", None)
    assert in_json("groups", "show", "1") == changed
    assert run("groups", "delete", "1").stdout == "Group 1 is deleted.\n"
    assert (in_json("groups", "list"), run("groups", "show", "1").exit_code) == ([], 2)
    assert in_json("groups", "restore", "1")["id"] == 1
    assert "Builders" in run("groups", "list", "--filter", 'name eq "builders"').stdout
    assert run("groups", "patch", "1").exit_code == 2
