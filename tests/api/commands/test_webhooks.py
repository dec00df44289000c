"""`roster webhooks`, on a file."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from api.commands.main import app

URL = "https://example.org/hooks"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, upgraded_sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSTER_DATABASE_URL", upgraded_sqlite_url)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["webhooks", *arguments])


def in_json(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_webhook_is_created_shown_changed_and_removed() -> None:
    created = in_json("create", URL, "--filter", 'kind eq "user"', "--since", "0")
    assert created["secret"].startswith("whsec_")
    (listed,) = in_json("list")
    assert listed == {name: value for name, value in created.items() if name != "secret"}
    assert in_json("change", "1", "--url", URL + "/2")["url"] == URL + "/2"
    assert in_json("change", "1", "--all")["filter"] is None
    assert in_json("rotate", "1", "--overlap", "1h")["secret"] != created["secret"]
    assert run("pause", "1").stdout == "Webhook 1 is paused.\n"
    assert in_json("list")[0]["state"] == "paused"
    assert run("resume", "1").stdout == "Webhook 1 is active.\n"
    assert run("delete", "1").stdout == "Webhook 1 is removed.\n"
    assert in_json("list") == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("create", "http://example.org/"), "roster: url: Must be an https URL.\n"),
        (("create", URL, "--filter", "kind eq"), "roster: filter: "),
        (("create", URL, "--since", "9"), "roster: since: "),
        (("pause", "9"), "roster: There is no webhook with this id.\n"),
        (("rotate", "1", "--overlap", "soon"), "roster: 'soon' is not a duration."),
    ],
)
def test_a_refusal_has_its_reason(arguments: tuple[str, ...], reason: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
