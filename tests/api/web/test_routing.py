"""A route declares the operation of a service that it calls. Otherwise its module cannot be imported."""

import runpy
from pathlib import Path
from typing import Final

import pytest

from api.web.routing import calls
from services.users import UserService

MODULE: Final = """
from api.web.responses import json_answer
from api.web.routing import Router, calls
from services.users import UserService

router = Router("/teams", "teams")


@router.get("{path}")
{declared}
async def get_team():
    return json_answer({{}})
"""


def write(folder: Path, declared: str, path: str = "/") -> str:
    file = folder / "teams.py"
    file.write_text(MODULE.format(declared=declared, path=path))
    return str(file)


@pytest.mark.parametrize("path", ["/", "/{id}"])
def test_a_module_with_a_route_without_a_declared_call_cannot_be_imported(tmp_path: Path, path: str) -> None:
    with pytest.raises(TypeError, match=r"get_team does not declare the operation that it calls: @calls\(\.\.\.\)"):
        runpy.run_path(write(tmp_path, "", path))


@pytest.mark.parametrize("named", ["UserService", "UserService.units", "len", "UserService._put", "None"])
def test_a_module_with_a_route_that_calls_no_operation_cannot_be_imported(tmp_path: Path, named: str) -> None:
    with pytest.raises(AttributeError):
        runpy.run_path(write(tmp_path, f"@calls({named})"))


def test_a_module_that_declares_a_route_before_its_operation_cannot_be_imported(tmp_path: Path) -> None:
    """Decorators apply from the last one up: the route has to be the first."""
    file = tmp_path / "teams.py"
    lines = MODULE.format(declared="@calls(UserService.get)", path="/").splitlines()
    at = lines.index('@router.get("/")')
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    file.write_text("\n".join(lines))

    with pytest.raises(TypeError, match="declare the operation that it calls"):
        runpy.run_path(str(file))


@pytest.mark.parametrize("path", ["/", "/{id}"])
def test_a_module_whose_routes_call_operations_can_be_imported(tmp_path: Path, path: str) -> None:
    module = runpy.run_path(write(tmp_path, "@calls(UserService.get)", path))

    assert module["router"].routes


def test_the_decorator_returns_the_function_unchanged() -> None:
    async def get_team() -> str:
        return "team"

    assert calls(UserService.get)(get_team) is get_team
