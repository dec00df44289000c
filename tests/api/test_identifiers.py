"""Users by their identifiers: found, changed, deleted and restored, and the messages about taken identifiers."""

from typing import TYPE_CHECKING, Any

import pytest
from httpx2 import AsyncClient

from domain.keys import Scope

if TYPE_CHECKING:
    from tests.api.conftest import Directory

ALICE: dict[str, Any] = {"name": "Alice", "email": "alice@example.org", "username": "alice", "external_id": "hr/1"}
BY = "/users/by/external-id/hr/1"


@pytest.fixture
async def client(database_client: AsyncClient) -> AsyncClient:
    await database_client.post("/users/", json=ALICE)
    return database_client


@pytest.mark.parametrize("path", ["external-id/hr/1", "email/ALICE@example.org", "username/Alice"])
async def test_each_identifier_finds_changes_and_deletes(client: AsyncClient, path: str) -> None:
    found = await client.get(f"/users/by/{path}")
    assert (found.json()["id"], found.headers["ETag"]) == (1, '"1"')
    assert (await client.patch(f"/users/by/{path}", json={"name": "X"}, headers={"if-match": '"2"'})).status_code == 412
    changed = await client.patch(f"/users/by/{path}", json={"name": "Alicia"}, headers={"if-match": '"1"'})
    assert (changed.status_code, changed.json()["name"], changed.headers["Roster-Seq"]) == (200, "Alicia", "2")
    assert (await client.delete(f"/users/by/{path}", headers={"if-match": '"1"'})).status_code == 412
    assert (await client.delete(f"/users/by/{path}")).status_code == 204
    assert (await client.delete(f"/users/by/{path}")).status_code == 404
    assert (await client.get("/users/1")).status_code == 410


async def test_users_have_three_identifiers_and_only_an_external_id_can_be_put(client: AsyncClient) -> None:
    for ask, path in ((client.get, "name/Alice"), (client.delete, "phone/1")):
        refused = await ask(f"/users/by/{path}")
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/path/identifier")
    refused = await client.put("/users/by/email/a@b.c", json={"name": "A"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/path/identifier")


async def test_a_put_with_restore_restores_a_deleted_user(client: AsyncClient) -> None:
    await client.delete("/users/1")
    back = await client.put(f"{BY}?restore=true", json={"name": "Alicia"})
    assert (back.status_code, back.json()) == (200, {"id": 1, "name": "Alicia", "external_id": "hr/1"})
    last = (await client.get("/changes/")).json()[-1]
    assert (last["action"], last["after"]["name"], last["after"]["deleted_at"]) == ("restored", "Alicia", None)
    again = await client.put(f"{BY}?restore=true", json={"name": "Alicia"})
    assert (again.status_code, "Roster-Seq" in again.headers) == (200, False)


async def test_a_put_with_restore_restores_the_last_created_user(client: AsyncClient) -> None:
    await client.delete("/users/1")
    assert (await client.put(BY, json={"name": "Second"})).status_code == 201
    await client.delete("/users/2")
    await client.put("/users/by/external-id/other", json={"name": "Third"})
    assert (await client.put(f"{BY}?restore=true", json={"name": "Back"})).json()["id"] == 2
    assert (await client.put("/users/by/external-id/new?restore=true", json={"name": "New"})).status_code == 201


async def test_a_conflict_names_every_taken_identifier_and_its_user(client: AsyncClient) -> None:
    await client.post("/users/", json={"name": "Bob", "username": "bob"})
    taken = {"email": "ALICE@example.org", "username": "bob", "external_id": "free"}
    for refused in (
        await client.post("/users/", json={"name": "Eve", **taken}),
        await client.put("/users/by/external-id/free", json={"name": "Eve", **taken}),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert refused.json()["detail"] == "Another one has this email and username."
        assert [(error["pointer"], error["id"]) for error in refused.json()["errors"]] == [
            ("/body/email", 1),
            ("/body/username", 2),
        ]
    eve = await client.post("/users/", json={"name": "Eve", "username": "eve"})
    refused = await client.patch(eve.headers["Location"], json={"email": "alice@example.org", "username": "Eve"})
    assert [(error["pointer"], error["id"]) for error in refused.json()["errors"]] == [("/body/email", 1)]


async def test_a_refused_restoration_names_every_taken_identifier(client: AsyncClient) -> None:
    await client.delete("/users/1")
    await client.post("/users/", json={**ALICE, "name": "Eve"})
    refused = await client.post("/users/1/restore")
    assert [error["id"] for error in refused.json()["errors"]] == [2, 2, 2]


async def test_a_conflict_does_not_name_the_user_without_the_scope_to_read(directory: "Directory") -> None:
    _, writer = await directory.key(Scope.USERS_WRITE)
    _, both = await directory.key(Scope.USERS_WRITE, Scope.USERS_READ)
    await directory.ask("POST", "/users/", key=writer, json=ALICE)
    blind = await directory.ask("POST", "/users/", key=writer, json=ALICE)
    assert [set(error) for error in blind.json()["errors"]] == [{"pointer", "code", "detail"}] * 3
    seeing = await directory.ask("POST", "/users/", key=both, json=ALICE)
    assert [error["id"] for error in seeing.json()["errors"]] == [1, 1, 1]
