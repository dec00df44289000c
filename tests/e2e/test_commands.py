"""The commands beside the server, as processes of their own."""

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from httpx2 import AsyncClient

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run


async def said_by(roster: "Roster", code: int = 0) -> str:
    assert await roster.ended() == code, roster.errors
    assert roster.complained == []
    return "\n".join(roster.said)


async def test_postgres_is_upgraded_by_a_command_and_then_served(
    run: "Run", serve: "Run", http: AsyncClient, bare_postgres_url: str
) -> None:
    url = ["--database-url", bare_postgres_url]

    assert "roster db upgrade" in await said_by(await run("db", "status", *url), code=1)
    assert "created a new database at revision" in await said_by(await run("db", "upgrade", *url))
    assert "already" in await said_by(await run("db", "upgrade", *url))
    roster = await serve(bare_postgres_url)
    assert (await http.get(f"{await roster.url()}/users/")).json() == []
    assert await roster.stop() == 0


async def test_commands_that_run_beside_a_server_on_sqlite_do_no_harm(
    run: "Run", serve: "Run", http: AsyncClient, sqlite_url: str, tmp_path: Path
) -> None:
    roster = await serve(sqlite_url)
    url = await roster.url()
    commands = [await run("db", command, database_url=sqlite_url) for command in ("upgrade", "status")]

    created, running = 0, True
    while running or created < 20:
        running = any(command.process.returncode is None for command in commands)
        created += 1
        assert (await http.post(f"{url}/users/", json={"name": f"u{created}"})).json()["id"] == created

    for command in commands:
        assert "SQLite" in await said_by(command)
    assert (await http.get(f"{url}/health/ready")).json() == {"status": "ok"}
    counted = await http.get(f"{url}/users/?limit=1&count=true")
    assert counted.headers["x-total-count"] == str(created)
    assert await roster.stop() == 0
    connection = sqlite3.connect(tmp_path / "roster.db")
    assert connection.execute("SELECT count(*) FROM users").fetchall() == [(created,)]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_a_server_on_a_console_prints_its_address(serve: "Run", http: AsyncClient, sqlite_url: str) -> None:
    roster = await serve(sqlite_url, log_format="console")

    line = await roster.line(lambda line: line.startswith("  api "))

    assert (await http.get(f"{line.split()[1]}/health/live")).json() == {"status": "ok"}


async def test_a_server_on_a_terminal_prints_a_link_to_the_console_while_no_keys_exist(
    serve: "Run", http: AsyncClient, sqlite_url: str
) -> None:
    roster = await serve(sqlite_url, log_format="console")
    link = (await roster.line(lambda line: line.startswith("  console "))).split()[1]
    url, token = link.rsplit("/", 1)
    answers = [await http.post(url, data={"link": token}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 401]


async def test_no_log_has_a_link_to_the_console(serve: "Run", sqlite_url: str) -> None:
    roster = await serve(sqlite_url)
    url = await roster.url()
    [serving] = [event for event in roster.events if event["event"] == "serving"]
    assert serving["console"] == f"{url}/console/"
