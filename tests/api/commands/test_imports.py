"""`roster import`: its output, its files and its exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.commands.main import app
from services.imports import runs

NEW = (
    "line 3: created user: name nothing → 'C', external_id nothing → 'c', status nothing → 'active', "
    "attributes nothing → {}"
)
PEOPLE = '{"name":"Alice","external_id":"a"}\n{"name":" "}\n{"name":"Bob","external_id":"b"}\n'


@pytest.fixture(autouse=True)
def directory(upgraded_sqlite_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROSTER_DATABASE_URL", upgraded_sqlite_url)
    monkeypatch.chdir(tmp_path)
    Path("people.ndjson").write_text(PEOPLE, encoding="utf-8")


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["import", *arguments], input=stdin)


def said(result: Result) -> list[str]:
    return [line.removeprefix("roster: ") for line in result.stderr.splitlines()[1:]]


def exported() -> str:
    return CliRunner().invoke(app, ["export"]).stdout


def test_good_rows_are_stored_and_bad_ones_reported_with_their_lines() -> None:
    result = run("people.ndjson")
    assert (result.exit_code, said(result)) == (
        1,
        ["line 2: name: Must not be blank.", "3 rows: 2 created, 1 rejected"],
    )
    assert exported().count("\n") == 2


def test_rows_can_be_read_from_standard_input() -> None:
    result = run("-", stdin="name;external id\nMüller;m\n")
    assert (result.exit_code, said(result)) == (0, ["1 rows: 1 created"])


def test_the_rejected_rows_go_to_a_private_file_with_lines_and_reasons() -> None:
    result = run("people.ndjson", "--errors", "errors.ndjson")
    assert said(result) == ["3 rows: 2 created, 1 rejected"]
    (line,) = Path("errors.ndjson").read_text().splitlines()
    assert json.loads(line)["line"] == 2
    assert json.loads(line)["errors"] == [{"pointer": "/name", "code": "too_short", "detail": "Must not be blank."}]
    assert Path("errors.ndjson").stat().st_mode & 0o777 == 0o600


def test_only_the_first_of_many_rejected_rows_are_shown() -> None:
    result = run("-", stdin='{"name":""}\n' * 30)
    assert len(said(result)) == 11


def test_a_dry_run_prints_what_each_row_would_change_and_stores_nothing() -> None:
    run("people.ndjson")
    before = exported()
    changed = (
        '{"external_id":"a","name":"Alicia\\u001b"}\n{"external_id":"b","name":"Bob"}\n{"external_id":"c","name":"C"}\n'
    )
    result = run("-", "--mode", "upsert", "--dry-run", stdin=changed)
    assert result.stdout.splitlines() == [
        r"line 1: updated user: name 'Alice' → 'Alicia\x1b'",
        NEW,
    ]
    assert exported() == before


def test_with_json_each_row_is_one_line_of_json() -> None:
    result = run("people.ndjson", "--json")
    assert [json.loads(line)["done"] for line in result.stdout.splitlines()] == ["created", "rejected", "created"]


def test_the_same_file_again_stores_no_row_twice_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "BATCH", 2)
    Path("people.ndjson").write_text('{"name":"Alice"}\n{"name":"Alice"}\n{"name":"Bob"}\n', encoding="utf-8")
    run("people.ndjson")
    again = run("people.ndjson")
    assert (again.exit_code, said(again)) == (
        0,
        ["3 rows: 3 created (3 of them by an earlier run: --again imports them again)"],
    )
    assert exported().count("\n") == 3
    run("people.ndjson", "--again")
    assert exported().count("\n") == 6


def test_a_sync_of_the_wrong_file_is_refused() -> None:
    run("people.ndjson")
    result = run("-", "--mode", "sync", stdin='{"external_id":"a","name":"Alice"}\n')
    assert result.exit_code == 2
    assert said(result)[0].startswith("1 of the 2 users who have this identifier are not in the file")
    outcome = run("-", "--mode", "sync", "--max-delete", "50%", stdin='{"external_id":"a","name":"Alice"}\n')
    assert (outcome.exit_code, said(outcome)) == (0, ["1 rows: 1 unchanged, 1 deleted"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["none.csv"], "none.csv cannot be read: No such file or directory."),
        (["people.ndjson", "--match", "id"], "match: Must be external-id, email or username."),
        (["people.ndjson", "--max-delete", "x"], "max-delete: Must be a number, or a number and a percent sign."),
        (["people.ndjson", "--map", "=x"], "map: Write COLUMN=FIELD, or COLUMN= to leave it out."),
        (
            ["latin.csv"],
            "Line 2 is not UTF-8, from its byte 2. The file may be Windows-1252",
        ),
        (["unknown.csv"], "The first row has an unknown field in column 2."),
        (["people.ndjson", "--errors", "none/errors"], "none/errors cannot be written: No such file or directory."),
    ],
)
def test_a_refused_import_is_reported_in_one_line(arguments: list[str], reason: str) -> None:
    Path("latin.csv").write_bytes("name\nMüller\n".encode("latin-1"))
    Path("unknown.csv").write_text("name,nmae\nA,B\n", encoding="utf-8")
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"roster: {reason}")
    assert len(result.stderr.splitlines()) == 1
    assert exported() == ""
