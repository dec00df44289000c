"""`roster export`: its output, from which a reader gets every value back."""

import csv
import io
import json
from pathlib import Path

import pytest
from tests.conftest import database_for_tests
from typer.testing import CliRunner, Result

from api.commands.main import app
from api.files.writing import unescaped
from domain.users import NewUser, Status
from domain.work import RequestContext
from repositories.work.units_of_work import SqlUnitsOfWork
from services.users import UserService

PEOPLE = (
    NewUser(name="Alice", email="Alice@x.org", attributes={"b": 1.0, "a": [None, {"ü": "\u2028\x7f"}]}),
    NewUser(name="=1+1", username="'quoted", external_id='","', status=Status.SUSPENDED),
    NewUser(name="'=", external_id="line\nbreak\r\n"),
    NewUser(name="Sam", email="s@x.org", scim={"displayName": "Sam", "emails": [{"value": "s@x.org"}]}),
    NewUser(name="Gone", email="gone@x.org"),
)


@pytest.fixture
async def directory(upgraded_sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSTER_DATABASE_URL", upgraded_sqlite_url)
    units = SqlUnitsOfWork(database_for_tests(upgraded_sqlite_url, serving=False))
    await units.start()
    users = UserService(units, RequestContext(actor="tester", request_id="r1"))
    for each in PEOPLE:
        created = await users.create(each)
    await users.delete(created.result.id)
    await units.stop()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", *arguments])


def users_in(text: str) -> list[NewUser]:
    return [NewUser(**json.loads(line)) for line in text.split("\n")[:-1]]


@pytest.mark.usefixtures("directory")
class TestExport:
    def test_each_line_is_a_user_that_is_not_deleted_as_a_client_would_create_it(self) -> None:
        result = run()
        assert (result.exit_code, result.stderr.splitlines()[-1]) == (0, "roster: 4 users")
        assert users_in(result.stdout) == list(PEOPLE[:-1])

    def test_a_filter_selects_users(self) -> None:
        assert users_in(run("--filter", 'name eq "alice"').stdout) == [PEOPLE[0]]
        refused = run("--filter", 'nme eq "alice"')
        assert refused.exit_code == 2
        assert refused.stderr.startswith("roster: There is no such field to filter by.")

    def test_csv_has_no_formulas_and_every_value_can_be_read_back(self) -> None:
        cells = list(csv.reader(io.StringIO(run("--format", "csv").stdout_bytes.decode(), newline="")))
        own = ["name", "email", "username", "external_id", "status", "attributes", "scim"]
        assert cells[0] == ["kind", *own, "groups", "description", "group", "child"]
        names = [row[1] for row in cells[1:]]
        assert names == ["Alice", "'=1+1", "''=", "Sam"]
        assert [unescaped(name) for name in names] == [each.name for each in PEOPLE[:-1]]
        assert [row[4] for row in cells[1:]] == ["", '","', "line\nbreak\r\n", ""]

    def test_an_export_file_is_private_and_gets_its_name_when_it_is_complete(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "users.ndjson"
        file.write_text("before")
        assert run("-o", str(file)).exit_code == 0
        assert file.stat().st_mode & 0o777 == 0o600
        assert users_in(file.read_text()) == list(PEOPLE[:-1])

        whole = file.read_bytes()
        monkeypatch.setattr("api.commands.exports.write_ndjson", lambda items, columns: 1 / 0)
        assert run("-o", str(file)).exit_code == 1
        assert file.read_bytes() == whole
        assert not list(tmp_path.glob("*.part"))

    def test_a_path_that_cannot_be_written_is_reported_in_one_line(self, tmp_path: Path) -> None:
        result = run("-o", str(tmp_path / "none" / "users"))
        assert result.exit_code == 2
        assert result.stderr.splitlines()[-1].endswith("cannot be written: No such file or directory.")
