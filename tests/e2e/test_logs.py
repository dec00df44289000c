"""What the log of a real server has, and what it never has."""

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
from httpx2 import AsyncClient

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

PRIVATE = "zq7xp"
"""A part of each value that a client sends here. No line of the log may have it."""

ALICE = {
    "name": f"Alice {PRIVATE}",
    "email": f"alice@{PRIVATE}.example.org",
    "username": f"alice-{PRIVATE}",
    "external_id": f"hr-{PRIVATE}",
    "attributes": {PRIVATE: [PRIVATE]},
}


async def ask_all_sorts(http: AsyncClient, url: str) -> dict[str, int]:
    """A session that includes refusals of every kind. The status of each request id."""
    asked: dict[str, int] = {}

    async def ask(method: str, path: str, **options: Any) -> None:
        request_id = f"r-{len(asked)}"
        options["headers"] = {"x-request-id": request_id, **options.get("headers", {})}
        asked[request_id] = (await http.request(method, url + path, **options)).status_code

    await ask("POST", "/users/", json=ALICE)
    await ask("POST", "/users/", json=ALICE)
    await ask("PATCH", "/users/1", json={"email": f"bob@{PRIVATE}.example.org"})
    await ask("POST", "/users/", json={"name": f"{PRIVATE}\0"})
    await ask("POST", "/users/", content=f'{{"name":{PRIVATE}'.encode(), headers={"content-type": "application/json"})
    await ask("POST", "/users/", content=PRIVATE.encode(), headers={"content-type": f"text/{PRIVATE}"})
    await ask("GET", f"/users/by/email/alice@{PRIVATE}.example.org")
    await ask("GET", f"/users/?email=alice@{PRIVATE}.example.org")
    await ask("GET", f"/users/?limit={PRIVATE}")
    await ask("GET", f"/{PRIVATE}")
    await ask("OPTIONS", f"/users/?a={PRIVATE}")
    await ask("GET", "/users/1", headers={"user-agent": PRIVATE, "authorization": f"Bearer {PRIVATE}"})
    await ask("DELETE", "/users/1")
    await ask("GET", "/users/1")
    return asked


async def break_database(url: str, folder: Path) -> None:
    """Drops a table of the running server, so that everything it does with users is an internal error."""
    rename = "ALTER TABLE users RENAME COLUMN email TO lost"
    if url.startswith("sqlite"):
        connection = sqlite3.connect(folder / "roster.db")
        connection.execute(rename)
        connection.close()
    else:
        driver = await asyncpg.connect(url)
        await driver.execute(rename)
        await driver.close()


async def mend_database(url: str) -> None:
    if not url.startswith("sqlite"):
        driver = await asyncpg.connect(url)
        await driver.execute("ALTER TABLE users RENAME COLUMN lost TO email")
        await driver.close()


def said(roster: "Roster") -> str:
    return "\n".join([*roster.said, *roster.complained]).lower()


async def test_nothing_that_a_client_sent_is_in_the_log(serve: "Run", http: AsyncClient, sqlite_url: str) -> None:
    roster = await serve(sqlite_url, log_level="debug")
    asked = await ask_all_sorts(http, await roster.url())
    assert await roster.stop() == 0

    assert PRIVATE not in said(roster)
    lines = {event["request_id"]: event for event in roster.events if event["event"] == "request"}
    assert {request_id: line["status"] for request_id, line in lines.items()} == asked
    assert set(asked.values()) >= {200, 201, 204, 400, 404, 405, 409, 410, 415, 422}
    assert lines["r-0"]["operation"] == "create_user"


async def test_a_failure_is_in_the_log_with_its_traceback_and_without_values(
    serve: "Run", http: AsyncClient, database_url: str, tmp_path: Path
) -> None:
    roster = await serve(database_url)
    url = await roster.url()
    await break_database(database_url, tmp_path)
    try:
        write = await http.post(f"{url}/users/", json=ALICE, headers={"x-request-id": "r-write"})
        read = await http.get(f"{url}/users/by/email/alice@{PRIVATE}.example.org", headers={"x-request-id": "r-read"})
    finally:
        await mend_database(database_url)
    assert await roster.stop() == 0

    for answer, request_id in ((write, "r-write"), (read, "r-read")):
        assert answer.status_code == 500
        assert answer.json()["request_id"] == answer.headers["x-request-id"] == request_id
        assert not {"email", "lost", "column"} & set(answer.text.lower().replace('"', " ").split())
        (failed,) = [e for e in roster.events if e["event"] == "failed" and e["request_id"] == request_id]
        assert "Traceback" in failed["exception"]
        assert "email" in failed["exception"]
    assert PRIVATE not in said(roster)


async def test_a_log_on_a_console_shows_failures(
    serve: "Run", http: AsyncClient, sqlite_url: str, tmp_path: Path
) -> None:
    roster = await serve(sqlite_url, log_format="console")
    url = (await roster.line(lambda line: line.startswith("  api "))).split()[1]
    await break_database(sqlite_url, tmp_path)

    answer = await http.post(f"{url}/users/", json=ALICE)

    assert answer.status_code == 500
    assert await roster.stop() == 0
    assert "Traceback" in "".join(roster.said)
    assert roster.complained == []
    assert PRIVATE not in said(roster)


async def test_a_new_database_and_an_unknown_variable_are_logged(serve: "Run", sqlite_url: str, tmp_path: Path) -> None:
    server = await serve(sqlite_url, databse_url="x")
    await server.url()
    events = {event["event"]: event for event in server.events}
    assert events["created a new database"]["database"].endswith(f", {tmp_path}/roster.db")
    misspelt = "ROSTER_DATABSE_URL is not a setting. Did you mean ROSTER_DATABASE_URL?"
    assert events[misspelt]["level"] == "warning"
    await server.stop()

    again = await serve(sqlite_url)
    await again.url()
    assert "created a new database" not in {event["event"] for event in again.events}
    assert {event["event"]: event for event in again.events}["serving"]["database"].endswith(f", {tmp_path}/roster.db")
