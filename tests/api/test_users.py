"""Users over HTTP, on both databases."""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from httpx2 import AsyncClient, Response

from api.container import Container
from api.web.cursors import CHECK_BYTES, check, write_cursor
from repositories.engines.sqlite.database import SqliteDatabase

RICH = {
    "name": "Alice",
    "email": "Alice@Example.org",
    "username": "alice",
    "external_id": "hr-4711",
    "status": "suspended",
    "attributes": {"department": "eng", "floors": [1, 2.5, None, True, "drei"]},
}
MERGE_PATCH = {"content-type": "application/merge-patch+json"}


async def create(client: AsyncClient, **body: object) -> Response:
    answer = await client.post("/users/", json=body)
    assert answer.status_code == 201, answer.text
    return answer


async def test_a_user_with_all_fields_shows_them_as_typed(database_client: AsyncClient) -> None:
    created = await create(database_client, **RICH)

    assert created.json() == {"id": 1, **RICH}
    assert (await database_client.get("/users/1")).content == created.content


async def test_fields_without_a_value_are_left_out(database_client: AsyncClient) -> None:
    created = await create(
        database_client, name="Bob", email=None, username=None, external_id=None, status="active", attributes={}
    )

    assert created.content == b'{"id":1,"name":"Bob"}'


async def test_the_parameter_fields_with_a_star_shows_every_field(database_client: AsyncClient) -> None:
    await create(database_client, name="Alice")

    shown: dict[str, Any] = (await database_client.get("/users/1?fields=*")).json()

    created_at, updated_at = shown.pop("created_at"), shown.pop("updated_at")
    assert shown == {
        "id": 1,
        "name": "Alice",
        "email": None,
        "username": None,
        "external_id": None,
        "status": "active",
        "attributes": {},
        "deleted_at": None,
        "version": 1,
    }
    assert created_at == updated_at
    assert created_at.endswith("Z")
    assert datetime.fromisoformat(created_at).utcoffset() == datetime.now(UTC).utcoffset()


async def test_the_parameter_fields_shows_exactly_these_in_their_order(database_client: AsyncClient) -> None:
    await create(database_client, name="Alice")

    one = await database_client.get("/users/1", params={"fields": "id,email"})
    many = await database_client.get("/users/", params={"fields": "email, id"})
    created = await database_client.post("/users/?fields=version,id", json={"name": "Bob"})
    patched = await database_client.patch("/users/1?fields=name", json={"name": "Alicia"})

    assert one.content == b'{"id":1,"email":null}'
    assert many.content == b'[{"email":null,"id":1}]'
    assert created.content == b'{"version":1,"id":2}'
    assert patched.content == b'{"name":"Alicia"}'


@pytest.mark.parametrize("fields", ["", "id,", "id,nmae", "*,id", "ID", "password", "__class__"])
async def test_unknown_fields_are_refused_before_anything_is_done(client: AsyncClient, fields: str) -> None:
    query = {"fields": fields}

    answers = [
        await client.post("/users/", params=query, json={"name": "Alice"}),
        await client.get("/users/", params=query),
        await client.get("/users/1", params=query),
        await client.patch("/users/1", params=query, json={"name": "Bob"}),
    ]

    assert [answer.status_code for answer in answers] == [422] * 4
    assert [answer.json()["errors"][0]["pointer"] for answer in answers] == ["/query/fields"] * 4
    assert (await client.get("/users/")).json() == []


async def test_bookkeeping_is_in_the_headers(database_client: AsyncClient) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    created = await create(database_client, name="Alice")
    read = await database_client.get("/users/1")
    patched = await database_client.patch("/users/1", json={"name": "Alicia"})

    assert created.headers["location"] == "/users/1"
    assert [answer.headers["etag"] for answer in (created, read, patched)] == ['"1"', '"1"', '"2"']
    assert created.headers["last-modified"] == read.headers["last-modified"]
    for answer in (created, patched):
        assert answer.headers["last-modified"].endswith(" GMT")
        assert before <= parsedate_to_datetime(answer.headers["last-modified"]) <= datetime.now(UTC)
    assert "location" not in read.headers


async def test_location_leads_to_the_user(database_client: AsyncClient) -> None:
    created = await create(database_client, name="Alice", email="a@b.c")

    assert (await database_client.get(created.headers["location"])).content == created.content


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/merge-patch+json", "Application/JSON; charset=utf-8"]
)
async def test_a_patch_is_accepted_in_both_media_types(database_client: AsyncClient, media_type: str) -> None:
    await create(database_client, name="Alice", email="a@b.c", attributes={"floor": 1, "team": {"a": 1, "b": 2}})

    patched = await database_client.patch(
        "/users/1",
        content=b'{"email":null,"status":"suspended","attributes":{"floor":null,"team":{"a":null,"c":3}}}',
        headers={"content-type": media_type},
    )

    assert patched.status_code == 200
    assert patched.json() == {
        "id": 1,
        "name": "Alice",
        "status": "suspended",
        "attributes": {"team": {"b": 2, "c": 3}},
    }
    assert (await database_client.get("/users/1")).content == patched.content


async def test_a_patch_that_changes_nothing_writes_nothing(database_client: AsyncClient) -> None:
    created = await create(database_client, **RICH)

    for patch in ({}, {"name": " Alice "}, {"attributes": {"department": "eng", "gone": None}}, dict(RICH)):
        patched = await database_client.patch("/users/1", json=patch)
        assert (patched.status_code, patched.headers["etag"]) == (200, '"1"')
        assert patched.headers["last-modified"] == created.headers["last-modified"]

    assert len((await database_client.get("/changes/")).json()) == 1


async def test_a_patch_cannot_clear_the_name(database_client: AsyncClient) -> None:
    await create(database_client, name="Alice")

    refused = await database_client.patch("/users/1", json={"name": None})

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/body/name"
    assert (await database_client.get("/users/1")).headers["etag"] == '"1"'


async def test_a_deleted_user_is_a_410_and_an_unknown_one_a_404(database_client: AsyncClient) -> None:
    await create(database_client, name="Alice")

    deleted = await database_client.delete("/users/1")
    again = [await database_client.request(method, "/users/1") for method in ("DELETE", "GET")]
    again.append(await database_client.patch("/users/1", json={"name": "Bob"}))
    unknown = [await database_client.request(method, "/users/2") for method in ("DELETE", "GET")]
    unknown.append(await database_client.patch("/users/2", json={"name": "Bob"}))

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert [(answer.status_code, answer.json()["code"]) for answer in again] == [(410, "gone")] * 3
    assert [(answer.status_code, answer.json()["code"]) for answer in unknown] == [(404, "not_found")] * 3
    assert (await database_client.get("/users/")).json() == []


async def test_a_deleted_user_frees_its_keys_but_never_its_id(database_client: AsyncClient) -> None:
    await create(database_client, **RICH)
    await database_client.delete("/users/1")

    assert (await create(database_client, **RICH)).json()["id"] == 2


@pytest.mark.parametrize(
    ("field", "first", "second"),
    [("email", "Ali@Example.org", "ALI@example.ORG"), ("username", "straße", "STRASSE"), ("external_id", "x", "x")],
)
async def test_a_taken_key_is_a_conflict_that_names_it(
    database_client: AsyncClient, field: str, first: str, second: str
) -> None:
    await create(database_client, name="Alice", **{field: first})
    await create(database_client, name="Bob")

    for refused in (
        await database_client.post("/users/", json={"name": "Eve", field: second}),
        await database_client.patch("/users/2", json={field: second}),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert refused.json()["errors"] == [
            {"pointer": f"/body/{field}", "code": "taken", "detail": f"Another one has this {field}.", "id": 1}
        ]


async def test_of_many_concurrent_creations_with_the_same_key_one_succeeds(database_client: AsyncClient) -> None:
    attempts = [database_client.post("/users/", json={"name": f"U{n}", "email": "one@b.c"}) for n in range(20)]

    statuses = sorted([answer.status_code for answer in await asyncio.gather(*attempts)])

    assert statuses == [201] + [409] * 19
    assert len((await database_client.get("/users/")).json()) == 1


async def test_each_write_is_one_change_with_its_request(database_client: AsyncClient) -> None:
    await database_client.post("/users/", json={"name": "Alice"}, headers={"x-request-id": "r-create"})
    await database_client.patch("/users/1", json={"name": "Bob"}, headers={"x-request-id": "r-patch"})
    await database_client.delete("/users/1", headers={"x-request-id": "r-delete"})

    feed = (await database_client.get("/changes/")).json()
    history = (await database_client.get("/users/1/changes")).json()

    assert history == feed
    assert [(each["action"], each["request_id"], each["version"]) for each in feed] == [
        ("created", "r-create", 1),
        ("updated", "r-patch", 2),
        ("deleted", "r-delete", 3),
    ]
    assert (feed[1]["before"], feed[1]["after"]) == ({"name": "Alice"}, {"name": "Bob"})


async def test_the_feed_continues_at_its_link(database_client: AsyncClient) -> None:
    seen = []
    page = await database_client.get("/changes/?limit=2")
    for number in range(5):
        await create(database_client, name=f"U{number}")
    for _ in range(4):
        page = await database_client.get(page.links["next"]["url"])
        seen += [change["entity_id"] for change in page.json()]

    assert seen == [1, 2, 3, 4, 5]
    assert page.json() == []
    assert (await database_client.get("/users/9/changes/")).status_code == 404


async def insert_users(container: Container, count: int) -> None:
    """Writes into the table directly, since a thousand requests would show nothing more."""
    database = container.database()
    moment = "'2026-01-01T00:00:00.000000+00:00'" if isinstance(database, SqliteDatabase) else "now()"
    async with database.transaction() as executor:
        insert = sa.text(
            "INSERT INTO users (name, name_key, status, attributes, created_at, updated_at, version) "
            f"VALUES (:name, :name, 'active', '{{}}', {moment}, {moment}, 1)"
        )
        for number in range(1, count + 1):
            await executor.fetch(insert, {"name": f"u{number}"})
        await executor.commit()


@pytest.mark.parametrize("limit", [None, 1, 7, 999, 1000])
async def test_a_reader_that_follows_the_links_sees_every_user_once(
    limit: int | None,
    database_url: str,
    container_at: Callable[[str], Container],
    client_of: Callable[[Container], Any],
) -> None:
    count = 20 if limit == 1 else 1003
    container = container_at(database_url)
    async with client_of(container) as client:
        await insert_users(container, count)
        url: str | None = "/users/?fields=id" + (f"&limit={limit}" if limit else "")
        seen, sizes = [], []
        while url:
            page = await client.get(url)
            assert page.status_code == 200, page.text
            sizes.append(len(page.json()))
            seen += [user["id"] for user in page.json()]
            url = page.links.get("next", {}).get("url")

    assert seen == list(range(1, count + 1))
    assert sizes[:-1] == [limit or 100] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= (limit or 100)


async def test_a_last_page_that_is_full_has_no_link(database_client: AsyncClient) -> None:
    for name in ("Alice", "Bob"):
        await create(database_client, name=name)

    assert "link" not in (await database_client.get("/users/?limit=2")).headers
    assert (await database_client.get("/users?limit=1&fields=id")).headers["link"].startswith("</users?")


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "1e3", "", "a", "9" * 5000])
async def test_a_limit_outside_its_bounds_is_refused(client: AsyncClient, limit: str) -> None:
    refused = await client.get("/users/", params={"limit": limit})

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/query/limit"


LIST = "/users?"
"""The list for which cursors without a filter and a sort are made."""


def forged(payload: bytes) -> str:
    """A cursor with a valid checksum, which anybody can compute."""
    return urlsafe_b64encode(check(payload, LIST) + payload).decode().rstrip("=")


GOOD = write_cursor((1,), LIST)
BAD_CURSORS = {
    "empty": "",
    "of another list": write_cursor((1,), "/groups?"),
    "of another sort": write_cursor(("alice", 1), "/users?sort=name"),
    "cut": GOOD[:-1],
    "flipped": ("B" if GOOD[0] != "B" else "C") + GOOD[1:],
    "spelled in another way": GOOD[:4] + "!" + GOOD[4:],
    "padded": GOOD + "=",
    "garbage": "garbage",
    "not ASCII": "€",
    "NUL": "\x00",
    "too short for a checksum": urlsafe_b64encode(b"x" * CHECK_BYTES).decode(),
    "forged: nothing": forged(b""),
    "forged: not JSON": forged(b"{"),
    "forged: not UTF-8": forged(b"\xff"),
    "forged: no array": forged(b"1"),
    "forged: too few": forged(b"[]"),
    "forged: too many": forged(b"[1,1]"),
    "forged: null": forged(b"[null]"),
    "forged: true": forged(b"[true]"),
    "forged: 1.0": forged(b"[1.0]"),
    "forged: text": forged(b'["1"]'),
    "forged: beyond 64 bits": forged(b"[999999999999999999999999999999]"),
    "forged: thousands of digits": forged(b"[" + b"9" * 3000 + b"]"),
    "forged: tens of thousands of digits": forged(b"[" + b"9" * 5000 + b"]"),
    "forged: deep": forged(b"[" * 3000),
    "forged: an object": forged(b"{}"),
    "forged: NaN": forged(b"[NaN]"),
}


@pytest.mark.parametrize("cursor", BAD_CURSORS.values(), ids=BAD_CURSORS.keys())
async def test_a_cursor_of_another_list_is_refused(client: AsyncClient, cursor: str) -> None:
    refused = await client.get("/users/", params={"cursor": cursor})

    assert (refused.status_code, refused.json()["code"]) == (400, "malformed")


async def test_an_unchanged_cursor_is_accepted(client: AsyncClient) -> None:
    for name in ("Alice", "Bob"):
        await create(client, name=name)

    first = await client.get("/users/?limit=1")

    assert first.links["next"]["url"] == f"/users/?limit=1&cursor={GOOD}"
    for cursor in (GOOD, forged(b"[1]")):
        assert (await client.get("/users", params={"cursor": cursor})).json() == [{"id": 2, "name": "Bob"}]


async def test_head_is_get_without_the_body(database_client: AsyncClient) -> None:
    await create(database_client, name="Alice")

    for path in ("/users/", "/users", "/users/1", "/changes/", "/health/live", "/openapi.json", "/docs", "/users/2"):
        got, head = await database_client.get(path), await database_client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        for name in ("content-type", "etag", "link"):
            assert head.headers.get(name) == got.headers.get(name)


@pytest.mark.parametrize(
    "id", ["1_0", "+1", "1.0", "%201", "1%0D%0A", "01", "%EF%BC%91", "0", "-1", "x", "1e0", "9" * 400]
)
async def test_another_spelling_of_an_id_is_refused(client: AsyncClient, id: str) -> None:
    await create(client, name="Alice")

    for path in (f"/users/{id}", f"/users/{id}/changes/"):
        refused = await client.get(path)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == "/path/id"


@pytest.mark.parametrize("key", ["a\nb", "a\r\n", "\na", "a/b", "%2F", "?", "a b"])
async def test_a_user_is_found_by_a_key_with_any_characters(database_client: AsyncClient, key: str) -> None:
    path = f"/users/by/external-id/{quote(key, safe='')}"

    put = await database_client.put(path, json={"name": "Alice"})
    found = await database_client.get(path)

    assert put.status_code == 201
    assert found.json() == {"id": 1, "name": "Alice", "external_id": key}
