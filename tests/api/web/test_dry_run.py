"""Dry runs of every write, on both databases: the answer of the real call, and nothing stored."""

from typing import TYPE_CHECKING, Any, Final

import pytest
from httpx2 import AsyncClient, Response
from tests.api.described import GUARDED, Operation, fill, lawful
from tests.api.described import WRITES as WRITING

from domain.keys import Scope

if TYPE_CHECKING:
    from tests.api.conftest import Directory

HELD: Final = "alice@example.org"
WRITES: Final[dict[str, tuple[str, str, Any]]] = {
    "create": ("POST", "/users/", {"name": "Dora", "email": "d@e.f", "attributes": {"a": [1]}}),
    "create and show": ("POST", "/users/?fields=name,version", {"name": "Dora"}),
    "patch": ("PATCH", "/users/1", {"name": "Alicia", "email": None}),
    "patch of nothing": ("PATCH", "/users/1", {"name": "Alice"}),
    "put a new one": ("PUT", "/users/by/external-id/new", {"name": "Dora"}),
    "put over": ("PUT", "/users/by/external-id/x", {"name": "Bobby"}),
    "put of nothing": ("PUT", "/users/by/external-id/x", {"name": "Bob"}),
    "delete": ("DELETE", "/users/1", None),
    "purge": ("DELETE", "/users/1?purge=true", None),
    "purge of a deleted one": ("DELETE", "/users/3?purge=true", None),
    "restore": ("POST", "/users/3/restore", None),
    "restore of a living one": ("POST", "/users/1/restore", None),
}
REFUSED: Final[dict[str, tuple[str, str, Any, int]]] = {
    "a taken key": ("POST", "/users/", {"name": "Eve", "email": HELD.upper()}, 409),
    "a taken key for a patch": ("PATCH", "/users/2", {"email": HELD}, 409),
    "a taken key for a put": ("PUT", "/users/by/external-id/new", {"name": "Eve", "email": HELD}, 409),
    "a key taken meanwhile": ("POST", "/users/4/restore", None, 409),
    "a broken rule": ("POST", "/users/", {"name": " "}, 422),
    "a wrong type": ("PATCH", "/users/1", {"name": 1}, 422),
    "an unknown field": ("PATCH", "/users/1", {"nmae": "Eve"}, 422),
    "a bad path": ("DELETE", "/users/0", None, 422),
    "nobody": ("PATCH", "/users/99", {"name": "Eve"}, 404),
    "nobody to purge": ("DELETE", "/users/99?purge=true", None, 404),
    "nobody to restore": ("POST", "/users/99/restore", None, 404),
    "a deleted one": ("DELETE", "/users/3", None, 410),
    "another version": ("PATCH", "/users/1", {"name": "Eve"}, 412),
}


@pytest.fixture
async def client(database_client: AsyncClient) -> AsyncClient:
    """A client of a directory with two users and two deleted ones. The e-mail of one of these is taken."""
    await database_client.post("/users/", json={"name": "Alice", "username": "alice"})
    await database_client.post("/users/", json={"name": "Bob", "external_id": "x"})
    for email in ("carol@example.org", HELD):
        deleted = await database_client.post("/users/", json={"name": "Carol", "email": email})
        await database_client.delete(deleted.headers["location"])
    await database_client.patch("/users/1", json={"email": HELD})
    return database_client


async def everything(client: AsyncClient) -> list[bytes]:
    """Everything that is stored, as far as the API shows it."""
    paths = ("/users/?fields=*", "/changes/", "/users/3/changes/")
    return [(await client.get(path)).content for path in paths]


async def ask(client: AsyncClient, method: str, path: str, body: Any, *, dry: bool) -> Response:
    params = dict(part.split("=") for part in path.partition("?")[2].split("&") if part)
    stale = {"if-match": '"1"'} if body == {"name": "Eve"} else {}
    if dry:
        params["dry_run"] = "true"
    return await client.request(method, path.partition("?")[0], params=params, json=body, headers=stale)


def comparable(answer: Response) -> dict[str, str]:
    """The headers without those that differ in each exchange."""
    but = ("x-request-id", "roster-seq", "dry-run", "last-modified", "location", "content-length")
    return {name: value for name, value in answer.headers.items() if name not in but}


@pytest.mark.parametrize("write", WRITES)
async def test_a_dry_run_returns_the_answer_of_the_write_and_stores_nothing(client: AsyncClient, write: str) -> None:
    before = await everything(client)

    tried = await ask(client, *WRITES[write], dry=True)
    assert await everything(client) == before
    done = await ask(client, *WRITES[write], dry=False)

    assert (tried.status_code, comparable(tried)) == (done.status_code, comparable(done))
    assert shown(tried) == shown(done)
    assert tried.headers["dry-run"] == "true"
    assert "roster-seq" not in tried.headers
    assert "dry-run" not in done.headers
    assert ("roster-seq" in done.headers) is ("nothing" not in write and "living" not in write)


def shown(answer: Response) -> Any:
    """The body. The id of a new user is not compared, since PostgreSQL uses up ids for dry runs."""
    body: dict[str, Any] = answer.json() if answer.content else {}
    return {name: value for name, value in body.items() if name != "id" or answer.status_code != 201}


async def test_a_dry_run_is_refused_like_the_write(client: AsyncClient) -> None:
    before = await everything(client)
    for call, (*request, status) in REFUSED.items():
        tried = await ask(client, *request, dry=True)
        refused = await ask(client, *request, dry=False)

        assert tried.status_code == refused.status_code == status, call
        assert {**tried.json(), "request_id": ""} == {**refused.json(), "request_id": ""}
        assert (tried.headers["dry-run"], "dry-run" in refused.headers) == ("true", False), call
    assert await everything(client) == before


async def test_a_dry_run_does_not_use_its_idempotency_key(client: AsyncClient) -> None:
    key = {"idempotency-key": "create-dora"}
    for _ in range(2):
        tried = await client.post("/users/?dry_run=true", json={"name": "Dora"}, headers=key)
        assert (tried.status_code, tried.headers["dry-run"]) == (201, "true")
    created = await client.post("/users/", json={"name": "Dora"}, headers=key)
    assert "idempotency-replayed" not in created.headers
    assert len((await client.get("/users/")).json()) == 3


@pytest.mark.parametrize("word", ["false", "0"])
async def test_a_false_value_of_dry_run_stores(client: AsyncClient, word: str) -> None:
    created = await client.post(f"/users/?dry_run={word}", json={"name": "Dora"})
    assert "dry-run" not in created.headers
    assert (await client.get(created.headers["location"])).status_code == 200


async def test_an_invalid_value_of_dry_run_stores_nothing(client: AsyncClient) -> None:
    for query in ("dry_run=", "dry_run=maybe", "dryrun=true"):
        assert (await client.post(f"/users/?{query}", json={"name": "Dora"})).status_code == 422
    assert len((await client.get("/users/")).json()) == 2


@pytest.mark.parametrize("operation", [each for each in GUARDED if each.reads], ids=str)
async def test_only_writes_accept_dry_run(client: AsyncClient, operation: Operation) -> None:
    refused = await client.get(f"{operation.at(1, 'alice')}?dry_run=true")

    assert (refused.status_code, "dry-run" in refused.headers) == (422, False)
    assert refused.json()["errors"][0] == {
        "pointer": "/query/dry_run",
        "code": "unknown",
        "detail": "There is no such parameter.",
    }


@pytest.mark.parametrize("operation", WRITING, ids=str)
async def test_every_write_has_a_dry_run_that_stores_nothing(directory: "Directory", operation: Operation) -> None:
    """The writes of every entity, by their examples. The answers are compared above, on users."""
    _, secret = await directory.key(*Scope)

    async def ask(method: str, path: str, **options: Any) -> Response:
        return await directory.ask(method, path, key=secret, **options)

    async def everything() -> list[bytes]:
        lists = [each.path for each in GUARDED if each.reads and not each.parameters("path")]
        return [(await ask("GET", path)).content for path in lists]

    await fill(ask, but=operation if operation.method == "POST" else None)
    before = await everything()

    body = {} if operation.body is None else {"json": lawful(operation.body)}
    tried = await ask(operation.method, operation.at(1, "x"), params={"dry_run": "true"}, **body)

    assert tried.status_code < 500, tried.text
    assert tried.headers["dry-run"] == "true"
    assert "roster-seq" not in tried.headers
    assert await everything() == before
    if operation.creates:
        assert tried.status_code == 201, tried.text


@pytest.mark.parametrize("database_container", ["sqlite"], indirect=True)
async def test_a_dry_run_on_sqlite_uses_no_number(client: AsyncClient) -> None:
    for _ in range(3):
        tried = await client.post("/users/?dry_run=true", json={"name": "Dora"})
        assert (tried.json()["id"], tried.headers["location"]) == (5, "/users/5")
    created = await client.post("/users/", json={"name": "Dora"})
    last = (await client.get("/changes/")).json()[-1]
    assert (created.json()["id"], last["seq"], created.headers["roster-seq"]) == (5, 8, "8")
