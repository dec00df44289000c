"""Keys and several processes: what one does takes effect in the others. No request gets around keys."""

import asyncio
import json
import os
import pwd
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import pytest
from httpx2 import AsyncClient

from domain.keys import FIRST_ID, Scope, write_secret

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

DEADLINE_S: Final = 30
PAUSE_S: Final = 0.05
BOOTSTRAP: Final = write_secret(FIRST_ID, "s" * 32)
SERVERS: Final = 4


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def until(happens: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await happens():  # noqa: ASYNC110  # another process tells nobody
            await asyncio.sleep(PAUSE_S)


async def status(http: AsyncClient, url: str, headers: dict[str, str] | None = None) -> int:
    return (await http.get(f"{url}/users/", headers=headers)).status_code


async def keys(run: "Run", database_url: str, *arguments: str) -> str:
    """The output of a command beside the running servers."""
    roster: Roster = await run("keys", *arguments, database_url=database_url)
    assert await roster.ended() == 0, roster.errors
    return "\n".join(roster.said)


async def test_keys_are_created_and_revoked_on_the_command_line_while_a_server_runs(
    serve: "Run", run: "Run", http: AsyncClient, sqlite_url: str
) -> None:
    url = await (await serve(sqlite_url)).url()
    assert (await http.post(f"{url}/users/", json={"name": "Alice"})).status_code == 201

    scopes = [word for scope in ("keys:admin", "users:read", "changes:read") for word in ("--scope", scope)]
    key = json.loads(await keys(run, sqlite_url, "create", "admin", *scopes, "--expires", "90d", "--json"))

    async def locked() -> bool:
        return await status(http, url) == 401

    await until(locked)
    assert await status(http, url, bearer(key["secret"])) == 200
    recorded = (await http.get(f"{url}/changes/", headers=bearer(key["secret"]))).json()
    assert [change["actor"] for change in recorded] == ["anonymous", f"cli:{pwd.getpwuid(os.getuid()).pw_name}"]

    await keys(run, sqlite_url, "revoke", "1", "--force")

    async def refused() -> bool:
        return await status(http, url, bearer(key["secret"])) == 401

    await until(refused)
    assert await locked()


async def test_servers_that_start_together_seed_one_key_and_notice_revocations_of_each_other(
    serve: "Run", http: AsyncClient, postgres_url: str
) -> None:
    rosters = await asyncio.gather(*(serve(postgres_url, bootstrap_key=BOOTSTRAP) for _ in range(SERVERS)))
    one, *others = await asyncio.gather(*(roster.url() for roster in rosters))
    listed = (await http.get(f"{one}/keys/", headers=bearer(BOOTSTRAP))).json()
    assert [(key["id"], key["name"], key["scopes"]) for key in listed] == [(1, "bootstrap", sorted(Scope))]

    body = {"name": "short-lived", "scopes": ["users:read"]}
    key = (await http.post(f"{one}/keys/", headers=bearer(BOOTSTRAP), json=body)).json()
    assert [await status(http, url, bearer(key["secret"])) for url in (one, *others)] == [200] * SERVERS
    assert [await status(http, url) for url in (one, *others)] == [401] * SERVERS

    revoked = await http.delete(f"{one}/keys/{key['id']}", headers=bearer(BOOTSTRAP))
    assert revoked.status_code == 204
    assert await status(http, one, bearer(key["secret"])) == 401  # at once

    async def refused() -> bool:
        return {await status(http, url, bearer(key["secret"])) for url in others} == {401}

    await until(refused)
    recorded = (await http.get(f"{one}/changes/", headers=bearer(BOOTSTRAP))).json()
    assert [change["actor"] for change in recorded] == ["bootstrap", "key:1", "key:1"]
    for roster in rosters:
        assert await roster.stop() == 0
        assert roster.complained == []
        assert BOOTSTRAP not in "".join(roster.said)
        assert key["secret"] not in "".join(roster.said)


DISGUISES: Final[list[tuple[str, str, dict[str, str]]]] = [
    ("GET", path, {})
    for path in (
        "/users/", "/users", "/%75sers/", "/users%2f", "/%2Fusers/", "//users/", "//users", "/./users/", "/users/.",
        "/users/../users/", "/docs/../users/", "/docs/assets/../../users/", "/docs/assets/%2e%2e/%2e%2e/users/",
        "/docs/assets/..%2f..%2fusers/", "/health/live/../../users/", "/health/live%2f..%2f..%2fusers/", "/USERS/",
        "/Users/", "/users;/", "/users/;x=y", "/users;x=y/", "/health/live;/../users/", "/users/?authorization=x",
        "/users/1", "/users/1.", "/users/1%20", "/users/1%00", "/users/1/", "/users/%31", "/users/1;", "/users/./1",
        "/users/1.json", "/users/1/../1", "/users/?_method=GET", "/users%00/", "/users%09/", "/users/%0d%0aX:%20y",
        "/users/by/email/alice@example.org", "/users/by%2femail/alice@example.org", "/\\users/", "/%5cusers/",
        "http://localhost/users/", "http://localhost:1/users/", "http://evil.example/health/live/../../users/",
        "/health/live?/../../users/", "/openapi.json/../users/", "/changes/", "/users/1/changes/", "/keys/", "/keys/1",
    )
] + [
    (method, path, headers)
    for method, path in (("GET", "/users/"), ("GET", "/health/live"), ("GET", "/nowhere"), ("POST", "/users/1/restore"))
    for headers in (
        {"X-Original-URL": "/users/"}, {"X-Rewrite-URL": "/users/"}, {"X-Forwarded-Prefix": "/users/"},
        {"X-Forwarded-For": "127.0.0.1"}, {"X-Real-IP": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1;host=localhost"},
        {"X-Forwarded-Host": "localhost"}, {"Host": "localhost/health/live?"}, {"Host": "localhost\\@evil.example"},
        {"Host": "evil.example"}, {"Host": ""}, {"X-HTTP-Method-Override": "GET"}, {"X-HTTP-Method": "DELETE"},
        {"X-Method-Override": "HEAD"}, {"X-Forwarded-User": "admin"}, {"X-Remote-User": "admin"},
        {"Remote-User": "admin"}, {"Proxy-Authorization": "Bearer {secret}"}, {"Cookie": "authorization={secret}"},
        {"X-Api-Key": "{secret}"}, {"X-Authorization": "Bearer {secret}"}, {"Authorization": "Bearer {secret}x"},
        {"Authorization": "bearer {secret}, Bearer {secret}"}, {"Upgrade": "websocket", "Connection": "Upgrade, close"},
        {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings, close", "HTTP2-Settings": ""},
    )
] + [
    (method, "/users/", {})
    for method in ("HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "GET\t", "BREW", "PROPFIND")
]  # fmt: skip
"""Requests without a valid key that another server might accept."""


async def raw(address: tuple[str, int], method: str, path: str, headers: dict[str, str]) -> str:
    """The answer to a request that is sent byte for byte."""
    reader, writer = await asyncio.open_connection(*address)
    lines = [f"{name}: {value}\r\n" for name, value in {"Host": "localhost", "Connection": "close", **headers}.items()]
    writer.write(f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
    async with asyncio.timeout(DEADLINE_S):
        answer = await reader.read()
    writer.close()
    return answer.decode()


@pytest.fixture
async def locked(serve: "Run", http: AsyncClient, sqlite_url: str) -> tuple[str, int]:
    """The address of a server whose first user is Alice, with a key."""
    roster = await serve(sqlite_url, bootstrap_key=BOOTSTRAP)
    alice: dict[str, Any] = {"name": "Alice", "email": "alice@example.org"}
    created = await http.post(f"{await roster.url()}/users/", json=alice, headers=bearer(BOOTSTRAP))
    assert created.status_code == 201
    address: tuple[str, int] = await roster.address()
    return address


async def test_a_request_that_hides_a_missing_key_gets_nothing(locked: tuple[str, int], http: AsyncClient) -> None:
    assert "Alice" in await raw(locked, "GET", "/users/", {"Authorization": f"Bearer {BOOTSTRAP}"})
    url = f"http://{locked[0]}:{locked[1]}"
    before = (await http.get(f"{url}/changes/", headers=bearer(BOOTSTRAP))).content

    for method, path, headers in DISGUISES:
        sent = {name: value.format(secret=BOOTSTRAP) for name, value in headers.items()}
        answer = await raw(locked, method, path, sent)
        head = answer.partition("\r\n\r\n")[0]
        code = int(head.split()[1]) if head else 0
        is_open = path.partition("?")[0] == "/health/live"
        assert is_open or code in {0, 400, 401, 404, 405, 429}, (method, path, headers, head)
        for value in ("Alice", "alice", "bootstrap", "created_at"):
            assert value not in answer.replace("/users/by/email/alice", "").replace("%2femail/alice", ""), (
                path,
                answer,
            )

    assert (await http.get(f"{url}/changes/", headers=bearer(BOOTSTRAP))).content == before
