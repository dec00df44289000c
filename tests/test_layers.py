"""The contracts between the layers hold, and forbidden imports are detected."""

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
    "repositories/tables/table.py": "from api.settings import Settings",
    "repositories/memory/table.py": "import pydantic",
    "repositories/engines/sqlite/database.py": "import fastapi",
    "api/users.py": "from repositories.users import USERS",
    "api/health.py": "import sqlalchemy",
    "api/web/routing.py": "from repositories.stores import TABLES",
}
CIRCLES: Final = {
    "domain": ("domain/errors.py", "from domain.users import User"),
    "domain.lists": ("domain/lists/fields.py", "from domain.lists.pages import Page"),
    "services": ("services/operations.py", "from services.users import UserService"),
    "repositories": (
        "repositories/units.py",
        "if TYPE_CHECKING:\n    from repositories.tables.relations import Relations",
    ),
    "repositories.tables": ("repositories/tables/table.py", "from repositories.tables.store import SqlStore"),
    "repositories.work": ("repositories/work/places.py", "from repositories.work.feed import Feed"),
    "repositories.engines": ("repositories/engines/schema.py", "from repositories.engines.sqlite import database"),
    "repositories.memory": ("repositories/memory/units.py", "from repositories.memory.table import reading"),
    "api": ("api/web/access.py", "from api.users import router"),
    "api.scim": ("api/scim/errors.py", "from api.scim.resources.users import one"),
    "api.web": ("api/web/access.py", "from api.web.routing import Router"),
}
"""An import for each package that closes a circle in it."""


def copy_of_the_source(folder: Path) -> Path:
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder / "src"


def plant(source: Path, module: str, line: str) -> None:
    file = source / module
    file.write_text(f"{file.read_text()}\n{line}\n")


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


def test_the_source_keeps_every_contract(tmp_path: Path) -> None:
    result = lint(copy_of_the_source(tmp_path))

    assert result.returncode == 0, result.stdout
    assert " 0 broken" in result.stdout


@pytest.fixture(scope="module")
def what_is_found(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output with all planted imports. One run takes as long for all as for one."""
    source = copy_of_the_source(tmp_path_factory.mktemp("planted"))
    for module, line in PLANTED.items():
        plant(source, module, line)
    result = lint(source)
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize(("module", "line"), PLANTED.items())
def test_a_forbidden_import_is_detected(what_is_found: str, module: str, line: str) -> None:
    importer, imported = module.removesuffix(".py").replace("/", "."), line.split()[1]
    assert f"{importer} -> {imported}" in what_is_found


@pytest.fixture(scope="module")
def circles_that_are_found(tmp_path_factory: pytest.TempPathFactory) -> str:
    source = copy_of_the_source(tmp_path_factory.mktemp("circles"))
    for module, line in CIRCLES.values():
        plant(source, module, line)
    result = lint(source)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "No package imports another in a circle BROKEN" in result.stdout
    return result.stdout


@pytest.mark.parametrize("package", CIRCLES)
def test_a_circle_of_imports_is_detected(circles_that_are_found: str, package: str) -> None:
    assert f"No cycles are allowed in {package}.\n" in circles_that_are_found
