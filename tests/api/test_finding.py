"""Users by their own keys, and PUT by external id, on both databases."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
from httpx2 import AsyncClient, Response

ODD_KEYS = ["a/b", "/a", "a/", "//", "a%2Fb", "a b", "a?b#c", ".", "..", "é😀", "a\\b", "a;b=c", "+", "&", "restore"]


def by(key: str, value: str) -> str:
    return f"/users/by/{key}/{quote(value, safe='').replace('.', '%2E')}"


async def put(client: AsyncClient, key: str, **body: object) -> Response:
    return await client.put(by("external-id", key), json=body)


async def changes(client: AsyncClient) -> list[dict[str, Any]]:
    recorded: list[dict[str, Any]] = (await client.get("/changes/?limit=1000")).json()
    return recorded


async def test_a_user_is_found_by_each_of_its_keys(database_client: AsyncClient) -> None:
    body = {"name": "Alice", "email": "Alice@Example.org", "username": "Alice", "external_id": "hr-4711"}
    await database_client.post("/users/", json={"name": "Bob", "email": "b@c.d", "username": "bob", "external_id": "x"})
    created = await database_client.post("/users/", json=body)

    for path in ("email/alice@example.ORG", "email/ALICE%40EXAMPLE.ORG", "username/aLiCe", "external-id/hr-4711"):
        found = await database_client.get(f"/users/by/{path}")
        assert (found.status_code, found.content) == (200, created.content), path
        assert found.headers["last-modified"] == created.headers["last-modified"]
    assert (await database_client.get("/users/by/username/alice?fields=id")).content == b'{"id":2}'
    assert (await database_client.get("/users/by/external-id/HR-4711")).status_code == 404


@pytest.mark.parametrize("key", ["email", "username", "external-id"])
async def test_a_key_in_a_path_may_have_any_character(database_client: AsyncClient, key: str) -> None:
    field = key.replace("-", "_")
    for value in ODD_KEYS:
        created = await database_client.post("/users/", json={"name": value, field: value})
        assert created.status_code == 201, created.text
    for value in ODD_KEYS:
        found = await database_client.get(by(key, value))
        assert (found.status_code, found.json().get(field)) == (200, value)


@pytest.mark.parametrize("key", ["email", "username", "external-id"])
async def test_an_unknown_key_is_not_found(database_client: AsyncClient, key: str) -> None:
    await database_client.post("/users/", json={"name": "Alice"})
    for value in ("x", "x" * 2048, "é" * 700, "%00", "a%00b", "%FF", "%ED%A0%80", "%E2%82", "null", "1", "", "%20"):
        answer = await database_client.get(f"/users/by/{key}/{value}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), value


@pytest.mark.parametrize(
    ("kept", "asked", "same"),
    [
        ("Straße", "STRASSE", True),
        ("Straße", "strasse", True),
        ("Istanbul", "ISTANBUL", True),
        ("Istanbul", "ıstanbul", False),  # noqa: RUF001
        ("İstanbul", "i\u0307stanbul", True),
        ("İstanbul", "istanbul", False),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευς", True),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευσ", True),
        ("ﬃ", "FFI", True),
        ("Å", "a\u030a", True),
    ],
)
async def test_email_and_username_are_the_same_in_any_case_of_any_language(
    database_client: AsyncClient, kept: str, asked: str, same: bool
) -> None:
    await database_client.post("/users/", json={"name": "A", "email": kept, "username": kept, "external_id": kept})

    for key in ("email", "username"):
        found = await database_client.get(by(key, asked))
        listed = await database_client.get("/users/", params={key: asked})
        taken = await database_client.post("/users/?dry_run=true", json={"name": "B", key: asked})
        if same:
            assert found.json()[key] == listed.json()[0][key] == kept
            assert (taken.status_code, taken.json()["errors"][0]["pointer"]) == (409, f"/body/{key}")
        else:
            assert (found.status_code, listed.json(), taken.status_code) == (404, [], 201)
    assert (await database_client.get(by("external-id", asked))).status_code == 404


async def test_a_put_creates_and_then_replaces_and_then_changes_nothing(database_client: AsyncClient) -> None:
    created = await put(database_client, "hr/1", name="Alice", email="a@b.c", attributes={"a": 1, "b": 2})
    replaced = await put(database_client, "hr/1", name="Alicia", username="al", attributes={"c": None})
    again = await put(database_client, "hr/1", name="Alicia", username="al", attributes={"c": None})

    assert [each.status_code for each in (created, replaced, again)] == [201, 200, 200]
    assert created.headers["location"] == "/users/1"
    assert "location" not in replaced.headers
    assert created.json()["external_id"] == "hr/1"
    expected = {"id": 1, "name": "Alicia", "username": "al", "external_id": "hr/1", "attributes": {"c": None}}
    assert replaced.json() == again.json() == expected
    assert (await database_client.get("/users/1")).json() == expected
    assert [each.headers["etag"] for each in (created, replaced, again)] == ['"1"', '"2"', '"2"']
    assert again.headers["last-modified"] == replaced.headers["last-modified"]
    recorded = await changes(database_client)
    assert [each["action"] for each in recorded] == ["created", "updated"]
    assert [each.headers.get("roster-seq") for each in (created, replaced, again)] == [
        str(recorded[0]["seq"]), str(recorded[1]["seq"]), None,
    ]  # fmt: skip


async def test_a_put_replaces_the_status_too(database_client: AsyncClient) -> None:
    await put(database_client, "x", name="Alice", status="suspended")
    assert (await put(database_client, "x", name="Alice")).json() == {"id": 1, "name": "Alice", "external_id": "x"}


async def test_a_body_may_repeat_the_key_of_the_path_but_not_contradict_it(database_client: AsyncClient) -> None:
    for same in ("x", None):
        assert (await put(database_client, "x", name="Alice", external_id=same)).status_code in (200, 201)
    for other in ("y", "X", " x", ""):
        refused = await put(database_client, "x", name="Eve", external_id=other)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/body/external_id"), other
    assert (await database_client.get("/users/1")).json() == {"id": 1, "name": "Alice", "external_id": "x"}
    assert len(await changes(database_client)) == 1


async def test_a_put_with_an_invalid_key_is_refused(database_client: AsyncClient) -> None:
    for key in ("%00", "a%00b", "x" * 256, "x" * 2048, "", "%20", "é" * 700):
        refused = await database_client.put(f"/users/by/external-id/{key}", json={"name": "Alice"})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/body/external_id"), key
    for body in ({}, {"name": ""}, {"name": "A", "nmae": "B"}, {"name": "A", "id": 1}, {"name": "A", "version": 1}):
        assert (await put(database_client, "x", **body)).status_code == 422
    assert (await put(database_client, "😀" * 255, name="Alice")).status_code == 201
    assert len(await changes(database_client)) == 1


async def test_a_put_with_a_key_of_another_user_is_a_conflict(database_client: AsyncClient) -> None:
    await database_client.post("/users/", json={"name": "Bob", "email": "b@c.d", "username": "bob"})
    await put(database_client, "x", name="Alice")

    for key, value in (("email", "B@C.D"), ("username", "BOB")):
        for path in ("x", "new"):
            refused = await put(database_client, path, name="Alice", **{key: value})
            assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (409, f"/body/{key}")
    assert (await database_client.get(by("external-id", "new"))).status_code == 404


async def test_a_put_over_a_deleted_user_creates_another_one(database_client: AsyncClient) -> None:
    await put(database_client, "x", name="Alice")
    await database_client.delete("/users/1")

    created_again = await put(database_client, "x", name="Alice")

    assert (created_again.status_code, created_again.json()["id"]) == (201, 2)
    assert (await database_client.get("/users/1")).status_code == 410
    assert (await database_client.post("/users/1/restore")).status_code == 409


@pytest.mark.parametrize("keys", [{}, {"email": "a@b.c", "username": "alice"}], ids=["alone", "with other keys"])
async def test_concurrent_puts_of_one_new_user_create_it_once(
    database_client: AsyncClient, keys: dict[str, str]
) -> None:
    puts = await asyncio.gather(*(put(database_client, "x", name="Alice", **keys) for _ in range(20)))

    assert sorted(each.status_code for each in puts) == [200] * 19 + [201]
    assert len({each.content for each in puts}) == 1
    assert [change["action"] for change in await changes(database_client)] == ["created"]


async def test_concurrent_puts_replace_each_other_one_after_the_other(database_client: AsyncClient) -> None:
    puts = await asyncio.gather(*(put(database_client, "x", name=f"A{n}", email="a@b.c") for n in range(20)))

    assert sorted(each.status_code for each in puts) == [200] * 19 + [201]
    recorded = await changes(database_client)
    assert [change["version"] for change in recorded] == list(range(1, 21))
    assert {change["after"]["name"] for change in recorded} == {f"A{n}" for n in range(20)}


async def test_of_many_concurrent_puts_that_only_create_one_succeeds(database_client: AsyncClient) -> None:
    database_client.headers["if-none-match"] = "*"
    puts = await asyncio.gather(*(put(database_client, "x", name=f"A{n}", email="a@b.c") for n in range(20)))

    assert sorted(each.status_code for each in puts) == [201] + [412] * 19
    assert len(await changes(database_client)) == 1
