"""The walls between the layers stand: what must not be imported is caught."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]

PLANTED: Final = {
    "domain/users.py": "import sqlalchemy",
    "domain/errors.py": "from services.users import UserService",
    "services/users.py": "from repositories.users import SqlUsers",
    "services/changes.py": "import fastapi",
    "repositories/users.py": "from services.users import UserService",
    "repositories/engines/sqlite/database.py": "import fastapi",
    "api/users.py": "from repositories.users import SqlUsers",
    "api/process/health.py": "import sqlalchemy",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the source, to plant something in."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path / "src"


def lint(source: Path) -> subprocess.CompletedProcess[str]:
    command = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-logo", "--no-cache"],
        cwd=source.parent,
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_source_keeps_every_contract(source: Path) -> None:
    result = lint(source)

    assert result.returncode == 0, result.stdout
    assert " 0 broken" in result.stdout


@pytest.mark.parametrize(("module", "line"), PLANTED.items())
def test_what_must_not_be_imported_is_caught(source: Path, module: str, line: str) -> None:
    with (source / module).open("a") as planted:
        planted.write(f"\n{line}\n")

    result = lint(source)

    assert result.returncode == 1, result.stdout + result.stderr
    importer, imported = module.removesuffix(".py").replace("/", "."), line.split()[1]
    assert f"{importer} -> {imported}" in result.stdout
