"""A route says which operation of a service it calls, or its module cannot be imported."""

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
def test_a_module_with_a_route_that_calls_nothing_cannot_be_imported(tmp_path: Path, path: str) -> None:
    with pytest.raises(TypeError, match=r"get_team does not declare the operation that it calls: @calls\(\.\.\.\)"):
        runpy.run_path(write(tmp_path, "", path))


@pytest.mark.parametrize("named", ["UserService", "UserService.units", "len", "UserService._put", "None"])
def test_nor_one_with_a_route_that_calls_what_is_no_operation(tmp_path: Path, named: str) -> None:
    with pytest.raises(AttributeError):
        runpy.run_path(write(tmp_path, f"@calls({named})"))


def test_nor_one_whose_route_is_declared_before_it_says_what_it_calls(tmp_path: Path) -> None:
    """Decorators apply from the last one up: the route has to be the first."""
    file = tmp_path / "teams.py"
    lines = MODULE.format(declared="@calls(UserService.get)", path="/").splitlines()
    at = lines.index('@router.get("/")')
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    file.write_text("\n".join(lines))

    with pytest.raises(TypeError, match="declare the operation that it calls"):
        runpy.run_path(str(file))


@pytest.mark.parametrize("path", ["/", "/{id}"])
def test_one_whose_routes_call_operations_can(tmp_path: Path, path: str) -> None:
    module = runpy.run_path(write(tmp_path, "@calls(UserService.get)", path))

    assert module["router"].routes


def test_saying_it_leaves_the_function_as_it_is() -> None:
    async def get_team() -> str:
        return "team"

    assert calls(UserService.get)(get_team) is get_team
