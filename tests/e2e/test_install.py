"""The parts of a release: the wheel, a socket that is passed in, the container, the systemd units."""

import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from httpx2 import AsyncClient

from api.settings import Settings
from api.version import VERSION

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_has_the_version_of_the_changelog(wheel: Path) -> None:
    assert wheel.name == f"roster-{VERSION}-py3-none-any.whl"
    assert re.search(
        rf"^## \[{re.escape(VERSION)}\] - 20\d\d-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )


ALONE: Final = """
import runpy, sys
sys.path[:] = [sys.argv[1], *[each for each in sys.path if each != sys.argv[2]]]
sys.argv = ["roster", "serve", "--port", "0"]
runpy.run_module("api.commands.main", run_name="__main__")
"""


async def test_the_wheel_alone_can_serve(
    wheel: Path, run: "Run", http: AsyncClient, sqlite_url: str, tmp_path: Path
) -> None:
    """The checkout is not on its path. `make dist` does the same in an empty environment."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = ("-c", ALONE, str(tmp_path / "site"), str(ROOT / "src"))
    server: Roster = await run(program=program, fresh=True, database_url=sqlite_url)
    url = await server.url()
    assert (await http.post(f"{url}/users/", json={"name": "Alice"})).json() == {"id": 1, "name": "Alice"}
    assert (await http.get(f"{url}/docs")).status_code == 200
    assert (await http.get(f"{url}/openapi.json")).json()["info"]["version"] == VERSION
    assert await server.stop() == 0


async def test_a_socket_that_was_passed_in_is_served_and_stays_open(
    serve_on: "Run", sqlite_url: str, http: AsyncClient
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for expected in ([{"id": 1, "name": "Alice"}], [{"id": 1, "name": "Alice"}, {"id": 2, "name": "Alice"}]):
            server = await serve_on(listener, sqlite_url)  # a request may come before it serves: it waits
            await http.post(f"{url}/users/", json={"name": "Alice"})
            assert (await http.get(f"{url}/users/")).json() == expected
            assert await server.stop() == 0


async def test_a_descriptor_that_is_not_a_listening_socket_is_refused(run: "Run", sqlite_url: str) -> None:
    server: Roster = await run("serve", "--fd", "0", database_url=sqlite_url)
    assert await server.ended() == 2
    assert server.errors.startswith("roster: The descriptor 0 is not a")


def test_the_container_serves_as_a_user_of_its_own() -> None:
    lines = (ROOT / "Containerfile").read_text()
    for line in ("USER 10001", "VOLUME /var/lib/roster", "STOPSIGNAL SIGTERM", "HEALTHCHECK ", "--require-hashes"):
        assert line in lines
    for name in re.findall(r"ROSTER_([A-Z_]+)=", lines):
        assert name.lower() in Settings.model_fields


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    units = []
    for name in ("roster.service", "roster.socket"):
        text = (ROOT / "deploy" / name).read_text().replace("/opt/roster/bin/roster", "/bin/true")
        (tmp_path / name).write_text(text)
        units.append(str(tmp_path / name))
    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, ""), os.environ.get("PATH")
