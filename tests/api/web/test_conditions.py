"""Conditional requests (RFC 9110, section 13), on both databases."""

from typing import Final

import pytest
from httpx2 import AsyncClient, Response

BY_KEY: Final = "/users/by/external-id/x"
READS: Final = ("/users/1", BY_KEY, "/users/by/email/a@b.c", "/users/by/username/alice")
ALICE: Final = {"name": "Alice", "email": "a@b.c", "username": "alice", "external_id": "x"}

SAME: Final = ['"2"', 'W/"2"', "*", " * ", '"1", "2"', '"1","2"', 'W/"1", W/"2"', '"other", "2"', '"a,b" , "2"', '"2",']
OTHER: Final = ['"1"', '"3"', 'W/"1"', '"1", "3"', '"02"', '"+2"', '"garbage"', '"²"']

STRONG: Final = [each for each in SAME if "W/" not in each]
WEAK_OR_OTHER: Final = [each for each in (*SAME, *OTHER) if each not in STRONG]


@pytest.fixture
async def client(database_client: AsyncClient) -> AsyncClient:
    """A client of a directory in which the first user is at version 2."""
    await database_client.put(BY_KEY, json={"name": "Al"})
    await database_client.put(BY_KEY, json=ALICE)
    return database_client


WRITES: Final = {
    "patch": ("PATCH", "", {"name": "Eve"}),
    "put": ("PUT", "", {"name": "Eve"}),
    "delete": ("DELETE", "", None),
    "purge": ("DELETE", "purge=true", None),
}


async def write(client: AsyncClient, kind: str, if_match: str, path: str = "/users/1", query: str = "") -> Response:
    method, own_query, body = WRITES[kind]
    where = BY_KEY if kind == "put" else path
    headers = [(b"if-match", if_match.encode())]
    return await client.request(method, f"{where}?{own_query}&{query}", json=body, headers=headers)


async def test_an_entity_tag_is_strong_and_is_the_version(client: AsyncClient) -> None:
    assert {(await client.get(path)).headers["etag"] for path in READS} == {'"2"'}
    await client.patch("/users/1", json={"attributes": {"a": 1}})
    assert {(await client.get(path)).headers["etag"] for path in READS} == {'"3"'}


@pytest.mark.parametrize("path", READS)
async def test_a_client_with_the_current_version_gets_a_304_without_a_body(client: AsyncClient, path: str) -> None:
    full = await client.get(path)
    for tags in SAME:
        for method in ("GET", "HEAD"):
            unchanged = await client.request(method, path, headers={"if-none-match": tags})
            assert (unchanged.status_code, unchanged.content) == (304, b""), tags
            for name in ("etag", "last-modified"):
                assert unchanged.headers[name] == full.headers[name]
            assert "content-type" not in unchanged.headers


@pytest.mark.parametrize("path", READS)
async def test_a_client_with_another_version_gets_the_current_one(client: AsyncClient, path: str) -> None:
    for tags in OTHER:
        read = await client.get(path, headers=[(b"if-none-match", tags.encode())])
        assert (read.status_code, read.json()["name"]) == (200, "Alice"), tags


async def test_a_missing_user_is_not_found_even_if_the_client_has_a_version(client: AsyncClient) -> None:
    await client.delete("/users/1")
    for tags in ("*", '"3"'):
        answers = [await client.get(path, headers={"if-none-match": tags}) for path in (*READS, "/users/2")]
        assert [answer.status_code for answer in answers] == [410, 404, 404, 404, 404]


@pytest.mark.parametrize("kind", WRITES)
async def test_a_write_to_the_version_in_if_match_is_carried_out(client: AsyncClient, kind: str) -> None:
    done = 204 if kind in ("delete", "purge") else 200
    for tags in STRONG:
        assert (await write(client, kind, tags, query="dry_run=true")).status_code == done, tags
    written = await write(client, kind, '"1", "2"')
    assert (written.status_code, written.headers["roster-seq"].isdigit()) == (done, True)


@pytest.mark.parametrize("kind", WRITES)
async def test_a_write_to_another_version_than_if_match_is_refused(client: AsyncClient, kind: str) -> None:
    before = (await client.get("/users/1?fields=*")).content
    for tags in WEAK_OR_OTHER:
        refused = await write(client, kind, tags)
        assert (refused.status_code, refused.json()["code"]) == (412, "stale"), tags
    assert (await client.get("/users/1?fields=*")).content == before
    assert len((await client.get("/changes/")).json()) == 2


async def test_of_two_writers_that_read_the_same_version_the_second_is_refused(client: AsyncClient) -> None:
    tag = (await client.get("/users/1")).headers["etag"]

    first = await client.patch("/users/1", json={"name": "First"}, headers={"if-match": tag})
    second = await client.patch("/users/1", json={"name": "Second"}, headers={"if-match": tag})
    again = await client.patch("/users/1", json={"name": "Second"}, headers={"if-match": first.headers["etag"]})

    assert [answer.status_code for answer in (first, second, again)] == [200, 412, 200]


async def test_a_stale_patch_is_refused_even_if_it_would_change_nothing(client: AsyncClient) -> None:
    assert (await client.patch("/users/1", json={}, headers={"if-match": '"1"'})).status_code == 412
    assert (await client.patch("/users/1", json={}, headers={"if-match": '"2"'})).status_code == 200


async def test_an_unknown_user_is_a_404_before_versions_are_compared(client: AsyncClient) -> None:
    for kind in ("patch", "delete", "purge"):
        for tags in ("*", '"1"', '"garbage"'):
            unknown = await write(client, kind, tags, "/users/2")
            assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


async def test_a_deleted_user_is_a_410_before_versions_are_compared(client: AsyncClient) -> None:
    await client.delete("/users/1")
    for kind in ("patch", "delete"):
        for tags in ("*", '"3"', '"2"'):
            gone = await write(client, kind, tags)
            assert (gone.status_code, gone.json()["code"]) == (410, "gone")


async def test_erasing_a_deleted_user_checks_its_version(client: AsyncClient) -> None:
    await client.delete("/users/1")
    assert (await write(client, "purge", '"2"')).status_code == 412
    assert (await write(client, "purge", '"3"')).status_code == 204


async def test_a_put_with_if_match_creates_no_user(client: AsyncClient) -> None:
    new = "/users/by/external-id/new"
    for tags in ("*", '"1"', '"0"', '"garbage"'):
        refused = await client.put(new, json={"name": "New"}, headers={"if-match": tags})
        assert (refused.status_code, refused.json()["code"]) == (412, "stale"), tags
    assert (await client.get(new)).status_code == 404


async def test_a_put_that_only_creates_replaces_no_user(client: AsyncClient) -> None:
    only_create = {"if-none-match": "*"}
    created = await client.put("/users/by/external-id/new", json={"name": "New"}, headers=only_create)
    refused = await client.put(BY_KEY, json={"name": "New"}, headers=only_create)
    assert (created.status_code, refused.status_code, refused.json()["code"]) == (201, 412, "stale")
    assert (await client.get("/users/1")).json()["name"] == "Alice"


async def test_a_put_follows_if_none_match(client: AsyncClient) -> None:
    for tags, status in (('"2"', 412), ('"1", W/"2"', 412), ('"02"', 200), ('"2"', 200)):
        put = await client.put(BY_KEY, json={"name": "New"}, headers={"if-none-match": tags})
        assert put.status_code == status, tags


async def test_both_conditions_have_to_hold(client: AsyncClient) -> None:
    for match, none_match, status in (('"2"', "*", 412), ('"1"', '"1"', 412), ('"2"', '"1"', 200)):
        headers = {"if-match": match, "if-none-match": none_match}
        assert (await client.put(BY_KEY, json={"name": "New"}, headers=headers)).status_code == status
