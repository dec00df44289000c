"""Keys over HTTP: shown with their secret once, listed without it. Every change has its actor."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
import structlog
from httpx2 import AsyncClient

from api.container import Container
from domain.keys import Scope, id_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.api.conftest import Directory

FIELDS = {"id", "name", "scopes", "created_at", "expires_at", "rotated_at", "revoked_at", "last_used_at"}


async def test_a_created_key_is_shown_with_its_secret(database_client: AsyncClient) -> None:
    body = {"name": "import", "scopes": ["users:write", "keys:admin"], "expires_at": "9000-01-01T02:00:00+02:00"}

    created = await database_client.post("/keys/", json=body)

    assert created.status_code == 201
    key = created.json()
    assert key.keys() == FIELDS | {"secret"}
    assert id_in(key["secret"]) == key["id"] == 1
    assert (key["name"], key["scopes"]) == ("import", ["keys:admin", "users:write"])
    assert key["expires_at"] == "9000-01-01T00:00:00Z"
    assert (created.headers["location"], created.headers["roster-seq"]) == ("/keys/1", "1")
    headers = {"authorization": f"bearer {key['secret']}"}
    shown = await database_client.get(created.headers["location"], headers=headers)
    assert {**shown.json(), "last_used_at": None} == {name: key[name] for name in FIELDS}


async def test_answers_with_secrets_are_not_cacheable(directory: "Directory") -> None:
    _, admin = await directory.key(*Scope)

    created = await directory.ask("POST", "/keys/", key=admin, json={"name": "n", "scopes": ["users:read"]})
    rotated = await directory.ask("POST", "/keys/2/rotate", key=admin)

    assert {answer.headers["cache-control"] for answer in (created, rotated)} == {"no-store"}


async def test_a_secret_is_shown_once(directory: "Directory") -> None:
    _, admin = await directory.key(*Scope)
    secret = (await directory.ask("POST", "/keys/", key=admin, json={"name": "n", "scopes": ["users:read"]})).json()[
        "secret"
    ]
    await directory.ask("GET", "/users/", key=secret)

    answers = [
        await directory.ask("GET", path, key=admin)
        for path in ("/keys/", "/keys/2", "/changes/", "/openapi.json", "/users/")
    ]
    refused = await directory.ask("POST", "/keys/", key=secret, json={"name": secret, "scopes": ["users:read"]})

    for answer in (*answers, refused):
        assert secret not in answer.text
        assert secret.split("_")[2][:32] not in answer.text


async def test_keys_are_listed_by_pages_without_their_secrets(directory: "Directory") -> None:
    _, admin = await directory.key(Scope.KEYS_ADMIN)
    gone, _ = await directory.key(Scope.USERS_READ)
    await directory.key(Scope.USERS_READ)
    await directory.revoke(gone)

    first = await directory.ask("GET", "/keys/?limit=1", key=admin)
    second = await directory.ask("GET", first.links["next"]["url"], key=admin)

    assert [key["id"] for key in first.json() + second.json()] == [1, 3]
    assert all(key.keys() == FIELDS for key in first.json() + second.json())
    assert "next" not in second.links
    assert first.json()[0]["last_used_at"] == "2026-01-01T12:00:00Z"


async def test_a_revoked_key_is_not_accepted_and_still_shown_by_its_id(directory: "Directory") -> None:
    _, admin = await directory.key(*Scope)
    _, secret = await directory.key(Scope.USERS_READ)
    assert (await directory.ask("GET", "/users/", key=secret)).status_code == 200

    revoked = await directory.ask("DELETE", "/keys/2", key=admin)

    assert (revoked.status_code, revoked.content, revoked.headers["roster-seq"]) == (204, b"", "3")
    assert (await directory.ask("GET", "/users/", key=secret)).status_code == 401
    assert (await directory.ask("GET", "/keys/2", key=admin)).json()["revoked_at"] == "2026-01-01T12:00:00Z"
    assert (await directory.ask("DELETE", "/keys/2", key=admin)).status_code == 404
    assert (await directory.ask("POST", "/keys/2/rotate", key=admin)).status_code == 404


async def test_both_secrets_are_valid_during_the_overlap(directory: "Directory") -> None:
    _, admin = await directory.key(*Scope)
    _, before = await directory.key(Scope.USERS_READ)

    after = (await directory.ask("POST", "/keys/2/rotate?overlap=60s", key=admin)).json()["secret"]

    def both() -> Any:
        return [directory.ask("GET", "/users/", key=secret) for secret in (before, after)]

    assert [(await answer).status_code for answer in both()] == [200, 200]
    directory.time.pass_by(60)
    assert [(await answer).status_code for answer in both()] == [401, 200]


@pytest.mark.parametrize("overlap", ["-1s", "2592001s", "31d", "1.0h", "+1h", "60", "x", "", "1e3s"])
async def test_an_overlap_outside_its_bounds_is_refused(directory: "Directory", overlap: str) -> None:
    _, admin = await directory.key(*Scope)

    refused = await directory.ask("POST", "/keys/1/rotate", key=admin, params={"overlap": overlap})

    assert refused.json()["errors"][0]["pointer"] == "/query/overlap"
    assert (await directory.ask("GET", "/keys/1", key=admin)).json()["rotated_at"] is None


async def test_the_last_admin_key_is_not_revoked_over_http(directory: "Directory") -> None:
    _, admin = await directory.key(Scope.KEYS_ADMIN)

    refused = await directory.ask("DELETE", "/keys/1", key=admin)

    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin_key")
    assert (await directory.ask("GET", "/keys/1", key=admin)).status_code == 200


@pytest.mark.parametrize("path", ["/keys/", "/keys/2/rotate"])
async def test_a_key_cannot_grant_a_scope_that_it_lacks(directory: "Directory", path: str) -> None:
    _, admin = await directory.key(Scope.KEYS_ADMIN)
    await directory.key(Scope.KEYS_ADMIN, Scope.USERS_READ)
    before = (await directory.ask("GET", "/keys/", key=admin)).json()
    more = {"name": "more", "scopes": ["keys:admin", "users:read"]}
    body: dict[str, Any] = {"json": more} if path == "/keys/" else {}

    refused = await directory.ask("POST", path, key=admin, **body)

    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "A key cannot grant a scope that it does not hold: users:read.",
    )
    assert (await directory.ask("GET", "/keys/", key=admin)).json() == before


BROKEN: dict[str, tuple[Any, str]] = {
    "no name": ({"scopes": ["users:read"]}, "/body/name"),
    "a blank name": ({"name": " ", "scopes": ["users:read"]}, "/body/name"),
    "a name too long": ({"name": "n" * 201, "scopes": ["users:read"]}, "/body/name"),
    "no scopes": ({"name": "n", "scopes": []}, "/body/scopes"),
    "another scope": ({"name": "n", "scopes": ["users:all"]}, "/body/scopes/0"),
    "a scope in another case": ({"name": "n", "scopes": ["Users:Read"]}, "/body/scopes/0"),
    "a scope alone": ({"name": "n", "scopes": "users:read"}, "/body/scopes"),
    "the past": ({"name": "n", "scopes": ["users:read"], "expires_at": "2026-01-01T12:00:00Z"}, "/body/expires_at"),
    "no time zone": ({"name": "n", "scopes": ["users:read"], "expires_at": "2030-01-01T00:00:00"}, "/body/expires_at"),
    "a day": ({"name": "n", "scopes": ["users:read"], "expires_at": "2030-01-01"}, "/body/expires_at"),
    "a number": ({"name": "n", "scopes": ["users:read"], "expires_at": 1893456000}, "/body/expires_at"),
    "a number as text": ({"name": "n", "scopes": ["users:read"], "expires_at": "1893456000"}, "/body/expires_at"),
    "beyond all years": (
        {"name": "n", "scopes": ["users:read"], "expires_at": "9999-12-31T23:59:59-01:00"},
        "/body/expires_at",
    ),
}


@pytest.mark.parametrize(("body", "pointer"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_body_that_breaks_a_rule_is_refused(directory: "Directory", body: Any, pointer: str) -> None:
    refused = await directory.ask("POST", "/keys/", json=body)

    assert refused.status_code == 422, refused.text
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    assert (await directory.ask("GET", "/keys/")).json() == []


async def test_a_key_ends_when_it_expires(directory: "Directory") -> None:
    _, secret = await directory.key(Scope.USERS_READ, expires_at=directory.time.now + timedelta(hours=1))

    directory.time.pass_by(3599)
    assert (await directory.ask("GET", "/users/", key=secret)).status_code == 200
    directory.time.pass_by(1)
    assert (await directory.ask("GET", "/users/", key=secret)).status_code == 401


async def test_every_change_names_its_actor(directory: "Directory") -> None:
    await directory.ask("POST", "/users/", json={"name": "Alice"})
    await directory.ask("POST", "/keys/", json={"name": "first", "scopes": list(Scope)})
    key, secret = await directory.key(*Scope)
    await directory.ask("PATCH", "/users/1", key=secret, json={"name": "Alicia"})
    await directory.ask("DELETE", "/keys/1", key=secret)

    recorded = (await directory.ask("GET", "/changes/", key=secret)).json()

    assert [(change["kind"], change["entity_id"], change["actor"]) for change in recorded] == [
        ("user", 1, "anonymous"),
        ("key", 1, "anonymous"),
        ("key", 2, "cli:tester"),
        ("user", 1, f"key:{key.id}"),
        ("key", 1, f"key:{key.id}"),
    ]


async def test_the_access_log_names_the_actor_and_no_secret(directory: "Directory") -> None:
    with structlog.testing.capture_logs() as logs:
        await directory.ask("GET", "/users/")
        key, secret = await directory.key(Scope.USERS_READ)
        await directory.ask("GET", "/users/", key=secret)
        await directory.ask("POST", "/users/", key=secret)
        await directory.ask("GET", "/users/", key=secret[:-1])
        await directory.ask("HEAD", "/users/", key=secret)

    assert [(line["actor"], line["status"]) for line in logs if line["event"] == "request"] == [
        ("anonymous", 200),
        (f"key:{key.id}", 200),
        (f"key:{key.id}", 403),
        ("anonymous", 401),
        (f"key:{key.id}", 200),
    ]
    assert secret[:-1] not in repr(logs)


async def test_the_same_idempotency_key_of_two_callers_is_independent(directory: "Directory") -> None:
    _, one = await directory.key(Scope.USERS_WRITE)
    _, other = await directory.key(Scope.USERS_WRITE)
    headers = {"idempotency-key": "the-same-key"}

    answers = [
        await directory.ask("POST", "/users/", key=key, json={"name": "Alice"}, headers=headers)
        for key in (one, other, one)
    ]

    assert [answer.json()["id"] for answer in answers] == [1, 2, 1]
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, None, "true"]


async def test_the_database_file_has_only_a_hash_of_the_secret(
    container_at: Callable[[str], Container], client_of: Callable[[Container], Any], sqlite_url: str, tmp_path: "Path"
) -> None:
    async with client_of(container_at(sqlite_url)) as client:
        created = (await client.post("/keys/", json={"name": "findable", "scopes": ["keys:admin"]})).json()
        headers = {"authorization": f"Bearer {created['secret']}"}
        rotated = (await client.post("/keys/1/rotate", headers=headers)).json()
        files = [file.read_bytes() for file in tmp_path.iterdir() if file.name.startswith("roster.db")]
    files += [file.read_bytes() for file in tmp_path.iterdir() if file.name.startswith("roster.db")]

    assert any(b"findable" in file for file in files)
    for secret in (created["secret"], rotated["secret"]):
        random = secret.split("_")[2][:32].encode()
        assert [file for file in files if random in file] == []


async def test_keys_work_the_same_on_every_database(database_client: AsyncClient) -> None:
    admin = (await database_client.post("/keys/", json={"name": "a", "scopes": list(Scope)})).json()["secret"]
    headers = {"authorization": f"Bearer {admin}"}
    reader = (
        await database_client.post("/keys/", json={"name": "r", "scopes": ["users:read"]}, headers=headers)
    ).json()["secret"]
    read = {"authorization": f"Bearer {reader}"}

    assert (await database_client.get("/users/")).status_code == 401
    assert (await database_client.get("/users/", headers=read)).status_code == 200
    rotated = await database_client.post("/keys/2/rotate?overlap=0s", headers=headers)
    assert (await database_client.get("/users/", headers=read)).status_code == 401
    read["authorization"] = f"Bearer {rotated.json()['secret']}"
    assert (await database_client.get("/users/", headers=read)).status_code == 200
    async with asyncio.timeout(30):
        while not all(each["last_used_at"] for each in (await database_client.get("/keys/", headers=headers)).json()):
            pass  # a use is noted after the answer
    assert (await database_client.delete("/keys/2", headers=headers)).status_code == 204
    assert (await database_client.get("/users/", headers=read)).status_code == 401


@pytest.fixture
async def sqlite_container(
    upgraded_sqlite_url: str, container_at: Callable[[str], Container]
) -> AsyncIterator[Container]:
    container = container_at(upgraded_sqlite_url)
    await container.units().start()
    yield container
    await container.units().stop()


async def test_a_read_does_not_wait_for_the_update_of_last_used_at(
    sqlite_container: Container, client_of: Callable[[Container], Any]
) -> None:
    async with client_of(sqlite_container) as client, asyncio.timeout(30):
        secret = (
            await client.post("/keys/", json={"name": "a", "scopes": [Scope.KEYS_ADMIN, Scope.USERS_READ]})
        ).json()["secret"]
        async with sqlite_container.database().transaction() as writer:
            await writer.fetch(sa.select(sa.literal(1)))
            read = await client.get("/users/", headers={"authorization": f"Bearer {secret}"})
            assert read.status_code == 200


async def test_a_read_succeeds_on_a_database_that_refuses_writes(
    sqlite_container: Container, client_of: Callable[[Container], Any]
) -> None:
    async with client_of(sqlite_container) as client, asyncio.timeout(30):
        secret = (
            await client.post("/keys/", json={"name": "a", "scopes": [Scope.KEYS_ADMIN, Scope.USERS_READ]})
        ).json()["secret"]
        writing: Any = sqlite_container.database()
        await writing._writing.execute_fetchall("PRAGMA query_only=ON")
        read = await client.get("/users/", headers={"authorization": f"Bearer {secret}"})
        assert read.status_code == 200
