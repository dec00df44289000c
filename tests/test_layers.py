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
    "services/users.py": "from repositories.users import USERS",
    "services/changes.py": "import fastapi",
    "services/operations.py": "import sqlalchemy",
    "repositories/users.py": "from services.users import UserService",
    "repositories/table.py": "from api.settings import Settings",
    "repositories/memory/table.py": "import pydantic",
    "repositories/engines/sqlite/database.py": "import fastapi",
    "api/users.py": "from repositories.users import USERS",
    "api/health.py": "import sqlalchemy",
    "api/web/routing.py": "from repositories.stores import TABLES",
}
CIRCLES: Final = {
    "domain": ("domain/errors.py", "from domain.users import User"),
    "services": ("services/operations.py", "from services.users import UserService"),
    "repositories": ("repositories/units.py", "if TYPE_CHECKING:\n    from repositories.relations import Relations"),
    "repositories.engines": ("repositories/engines/schema.py", "from repositories.engines.sqlite import database"),
    "repositories.memory": ("repositories/memory/units.py", "from repositories.memory.table import reading"),
    "api": ("api/web/access.py", "from api.users import router"),
    "api.web": ("api/web/access.py", "from api.web.routing import Router"),
}
"""An import for each package that closes a circle in it."""


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


def plant(module: Path, line: str) -> None:
    module.write_text(f"{module.read_text()}\n{line}\n")


@pytest.mark.parametrize(("module", "line"), PLANTED.items())
def test_what_must_not_be_imported_is_caught(source: Path, module: str, line: str) -> None:
    plant(source / module, line)

    result = lint(source)

    assert result.returncode == 1, result.stdout + result.stderr
    importer, imported = module.removesuffix(".py").replace("/", "."), line.split()[1]
    assert f"{importer} -> {imported}" in result.stdout


@pytest.mark.parametrize("package", CIRCLES)
def test_a_circle_of_imports_is_caught(source: Path, package: str) -> None:
    module, line = CIRCLES[package]
    plant(source / module, line)

    result = lint(source)

    assert result.returncode == 1, result.stdout + result.stderr
    assert "No package imports another in a circle BROKEN" in result.stdout
    assert f"No cycles are allowed in {package}.\n" in result.stdout
