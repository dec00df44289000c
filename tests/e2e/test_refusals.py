"""A server that cannot be started says why and what to do, on one line, and exits with 2."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from domain.keys import FIRST_ID, write_secret

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

SECRET = "hunter2"


async def complaint_of(roster: "Roster") -> str:
    """The one line that the server prints when it refuses to start."""
    assert await roster.ended() == 2, (roster.said, roster.complained)
    assert len(roster.complained) == 1, roster.complained
    (line,) = roster.complained
    assert line.startswith("roster: ")
    assert line.endswith((".", "roster db upgrade", "roster keys generate"))
    assert "Traceback" not in "".join(roster.said)
    assert SECRET not in line + "".join(roster.said)
    return line


async def test_a_second_server_on_the_same_file_is_refused(serve: "Run", sqlite_url: str) -> None:
    first = await serve(sqlite_url)
    await first.url()

    line = await complaint_of(await serve(sqlite_url))

    assert "Another server has" in line
    assert "PostgreSQL" in line
    assert await first.stop() == 0


async def test_workers_on_sqlite_are_refused(serve: "Run", sqlite_url: str) -> None:
    line = await complaint_of(await serve(sqlite_url, "--workers", "2"))

    assert "SQLite is for one server process" in line
    assert "--database-url" in line


async def test_a_port_in_use_is_refused_with_its_number(run: "Run", sqlite_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = await complaint_of(await run("serve", "--port", port, database_url=sqlite_url))

    assert f"127.0.0.1 port {port}" in line
    assert "--port" in line


async def test_an_invalid_host_is_refused_with_its_name(run: "Run", sqlite_url: str) -> None:
    host, key = "no.such.host.invalid", write_secret(FIRST_ID, "s" * 32)
    line = await complaint_of(
        await run("serve", "--port", "0", "--host", host, database_url=sqlite_url, bootstrap_key=key)
    )

    assert f"{host} port 0" in line


async def test_a_bad_bootstrap_key_is_refused_and_not_shown(serve: "Run", sqlite_url: str) -> None:
    line = await complaint_of(await serve(sqlite_url, bootstrap_key=f"rk_1_{SECRET}"))

    assert "roster keys generate" in line


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_postgres_behind_the_head_is_refused_with_the_command_to_upgrade(
    serve: "Run", bare_postgres_url: str, workers: str
) -> None:
    line = await complaint_of(await serve(bare_postgres_url, "--workers", workers))

    assert "roster db upgrade" in line


async def test_an_unreachable_postgres_is_refused_without_showing_the_password(serve: "Run") -> None:
    with socket.socket() as closed:  # bound, and never listened on
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        url = f"postgresql://roster:{SECRET}@127.0.0.1:{port}/directory"
        line = await complaint_of(await serve(url))

    assert f"PostgreSQL, directory at 127.0.0.1:{port} cannot be reached" in line


async def test_a_missing_database_is_refused_with_its_name(serve: "Run", postgres_url: str) -> None:
    line = await complaint_of(await serve(postgres_url.replace("/roster_test", "/no_roster_test")))

    assert "no_roster_test" in line
    assert "does not exist" in line


async def test_a_file_that_is_not_a_database_is_refused_and_not_changed(
    serve: "Run", sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / "roster.db").write_text("a letter to my grandmother, of more than a hundred bytes" * 20)

    line = await complaint_of(await serve(sqlite_url))

    assert "roster.db" in line
    assert (tmp_path / "roster.db").read_text().startswith("a letter")


async def test_a_missing_folder_is_refused(serve: "Run", tmp_path: Path) -> None:
    line = await complaint_of(await serve(f"sqlite:///{tmp_path}/none/roster.db"))

    assert "none/roster.db cannot be opened" in line
