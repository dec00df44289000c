"""The commands that need no server."""

import gc
import json
from pathlib import Path

import pytest
from dependency_injector import providers
from typer.testing import CliRunner

import api.process.server
from api.commands.main import app
from api.container import Container
from api.process.startup import long_lived_app
from api.settings import Settings

ROOT = Path(__file__).parents[3]


def test_the_printed_openapi_document_is_the_one_in_the_repository() -> None:
    result = CliRunner().invoke(app, ["openapi"])

    assert (result.exit_code, result.stdout) == (0, (ROOT / "openapi.json").read_text())


def test_the_version_is_that_of_the_api() -> None:
    result = CliRunner().invoke(app, ["version"])

    document = json.loads((ROOT / "openapi.json").read_text())
    assert (result.exit_code, result.stdout) == (0, document["info"]["version"] + "\n")


def test_status_shows_the_revision_of_the_schema_and_what_to_do(tmp_path: Path) -> None:
    url = ["--database-url", f"sqlite:///{tmp_path}/roster.db"]

    missing = CliRunner().invoke(app, ["db", "status", *url])
    assert (missing.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert f"There is no file {tmp_path}/roster.db." in missing.stderr
    (tmp_path / "roster.db").touch()
    before = CliRunner().invoke(app, ["db", "status", *url])
    assert before.exit_code == 1
    assert "roster db upgrade" in before.stdout

    upgraded = CliRunner().invoke(app, ["db", "upgrade", *url])
    after = CliRunner().invoke(app, ["db", "status", *url])
    assert (upgraded.exit_code, after.exit_code) == (0, 0)
    assert "roster db upgrade" not in after.stdout


def test_serve_freezes_loaded_objects_for_the_garbage_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        api.process.server, "serve", lambda *_: seen.append((gc.isenabled(), gc.get_freeze_count() > 0))
    )
    gc.unfreeze()  # what the tests have put there

    assert CliRunner().invoke(app, ["serve"]).exit_code == 0

    assert seen == [(True, True)]


def test_a_long_lived_app_is_frozen_for_the_garbage_collector(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'roster.db'}")
    gc.unfreeze()
    before = gc.get_freeze_count()

    long_lived_app(Container(settings=providers.Object(settings)), settings)

    assert gc.get_freeze_count() > before
