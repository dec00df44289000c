"""The export of everything that the directory has about one person, over HTTP."""

import pytest
from httpx2 import AsyncClient

from services import exports


async def test_an_export_has_every_field_of_the_user_and_all_changes_about_it(client: AsyncClient) -> None:
    await client.post("/users/", json={"name": "Alice", "email": "alice@x.org"})
    await client.post("/users/", json={"name": "Bob"})
    await client.patch("/users/1", json={"name": "Alicia"})
    await client.delete("/users/1")

    held = await client.get("/users/1/export")

    assert held.status_code == 200
    assert held.headers["content-type"] == "application/json"
    assert held.json()["user"]["name"] == "Alicia"
    assert held.json()["user"]["deleted_at"] is not None
    assert held.json()["changes"] == (await client.get("/users/1/changes/")).json()
    assert [each["action"] for each in held.json()["changes"]] == ["created", "updated", "deleted"]


async def test_a_long_history_is_exported_whole(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MAX_LIMIT", 2)
    await client.post("/users/", json={"name": "Alice"})
    for number in range(4):
        await client.patch("/users/1", json={"name": f"Alice {number}"})

    held = (await client.get("/users/1/export")).json()

    assert held["changes"] == (await client.get("/users/1/changes/")).json()
    assert [each["version"] for each in held["changes"]] == [1, 2, 3, 4, 5]


async def test_the_export_of_an_erased_user_is_not_found(client: AsyncClient) -> None:
    await client.post("/users/", json={"name": "Alice"})
    await client.delete("/users/1?purge=true")

    for id in (1, 2):
        refused = await client.get(f"/users/{id}/export")
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


async def test_a_head_has_no_body(client: AsyncClient) -> None:
    await client.post("/users/", json={"name": "Alice"})
    answer = await client.head("/users/1/export")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_the_export_of_a_deleted_user_has_its_memberships(client: AsyncClient) -> None:
    await client.post("/users/", json={"name": "Alice"})
    for name in ("Engineers", "Pilots"):
        await client.post("/groups/", json={"name": name})
    await client.put("/groups/1/members/1", json={"role": "lead"})
    await client.put("/groups/2/members/1")

    before = (await client.get("/users/1/export")).json()
    await client.delete("/users/1")
    after = (await client.get("/users/1/export")).json()

    assert [(each["group_id"], each["role"]) for each in before["memberships"]] == [(1, "lead"), (2, None)]
    assert [each["group_id"] for each in after["memberships"]] == [1, 2]
    assert {each["kind"] for each in before["changes"]} == {"user", "membership"}
