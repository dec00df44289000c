"""What `roster doctor` finds in a SQLite file, also in one that cannot be read."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from domain.findings import Finding, Level
from repositories.engines.sqlite.upkeep.examination import examine
from repositories.engines.sqlite.upkeep.scrubbing import NOTE_ERASURE


@pytest.fixture
def file(upgraded_sqlite_url: str) -> Path:
    return Path(upgraded_sqlite_url.removeprefix("sqlite:///"))


def found_in(file: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(file)}


def test_a_file_that_is_no_database_is_found_once(file: Path) -> None:
    file.write_bytes(b"not a database, but long enough to be read as the header of one " * 100)
    found = found_in(file)
    assert (found["pages"].level, found["pages"].says) == (Level.FAIL, "file is not a database")
    assert {found[what].level for what in ("values", "erasures", "clock")} == {Level.OK}


def test_a_file_that_this_user_cannot_write_fails(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != file.parent)
    access = found_in(file)["access"]
    assert (access.level, access.says) == (Level.FAIL, f"{file} or its folder cannot be written by this user")
    assert access.fix == f"chown the file and {file.parent} to the user of the server"


def test_a_healthy_file_says_what_was_looked_for(file: Path) -> None:
    found = found_in(file)
    assert found["erasures"].says == "nothing is left in the file"
    assert found["values"].says == "all JSON is valid"
    assert found["clock"].says == "no change has a time in the future"


def test_erased_rows_that_a_server_will_remove_are_a_warning(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(NOTE_ERASURE)
    erasures = found_in(file)["erasures"]
    assert (erasures.level, erasures.says) == (Level.WARN, "copies of erased rows may be in the file")
