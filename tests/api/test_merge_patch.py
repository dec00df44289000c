"""JSON merge patches (RFC 7396) of users, over HTTP, on both databases."""

import json
from typing import Any, Final

import pytest
from httpx2 import AsyncClient, Response

MERGE_PATCH: Final = "application/merge-patch+json"
RICH: Final[dict[str, Any]] = {
    "name": "Alice",
    "email": "a@b.c",
    "username": "alice",
    "external_id": "x",
    "status": "suspended",
    "attributes": {"team": {"name": "core", "tags": ["a", "b"], "lead": None}, "floor": 3, "zero": 0},
}


async def patch(client: AsyncClient, body: object, media_type: str = MERGE_PATCH) -> Response:
    return await client.patch("/users/1", content=json.dumps(body), headers={"content-type": media_type})


@pytest.fixture
async def client(database_client: AsyncClient) -> AsyncClient:
    """Of a directory with one user."""
    assert (await database_client.post("/users/", json=RICH)).status_code == 201
    return database_client


@pytest.mark.parametrize("media_type", [MERGE_PATCH, "application/json", f"{MERGE_PATCH}; charset=utf-8"])
async def test_fields_left_out_are_kept_and_null_clears(client: AsyncClient, media_type: str) -> None:
    patched = await patch(client, {"email": None, "username": None, "external_id": None}, media_type)
    expected = {"id": 1, **{name: RICH[name] for name in ("name", "status", "attributes")}}
    assert (patched.status_code, patched.json()) == (200, expected)
    assert (await client.get("/users/1")).json() == expected


MERGES: Final[list[tuple[dict[str, Any], dict[str, Any]]]] = [
    ({"floor": 4}, {**RICH["attributes"], "floor": 4}),
    ({"floor": None, "zero": None}, {"team": RICH["attributes"]["team"]}),
    ({"team": {"name": None}}, {**RICH["attributes"], "team": {"tags": ["a", "b"], "lead": None}}),
    ({"team": {"tags": ["c"]}}, {**RICH["attributes"], "team": {"name": "core", "tags": ["c"], "lead": None}}),
    (
        {"team": {"tags": [None, {"x": None}]}},
        {**RICH["attributes"], "team": {"name": "core", "tags": [None, {"x": None}], "lead": None}},
    ),
    ({"team": ["flat"]}, {**RICH["attributes"], "team": ["flat"]}),
    ({"team": "core"}, {**RICH["attributes"], "team": "core"}),
    ({"floor": {"number": 3, "wing": None}}, {**RICH["attributes"], "floor": {"number": 3}}),
    ({"new": {"deep": {"er": None, "est": 1}}}, {**RICH["attributes"], "new": {"deep": {"est": 1}}}),
    ({"team": {"lead": None}}, {**RICH["attributes"], "team": {"name": "core", "tags": ["a", "b"]}}),
    ({"floor": 3.0}, {**RICH["attributes"], "floor": 3.0}),
    ({"zero": False}, {**RICH["attributes"], "zero": False}),
    ({"~/a/b": 1, "": 2}, {**RICH["attributes"], "~/a/b": 1, "": 2}),
]


async def test_attributes_merge_member_by_member(client: AsyncClient) -> None:
    for change, attributes in MERGES:
        patched = await client.patch("/users/1?dry_run=true", json={"attributes": change})
        assert patched.status_code == 200, patched.text
        assert written(patched.json()["attributes"]) == written(attributes)
    kept = await patch(client, {"attributes": MERGES[3][0]})
    assert written(kept.json()["attributes"]) == written(MERGES[3][1])
    assert (kept.headers["etag"], (await client.get("/users/1")).content) == ('"2"', kept.content)


def written(value: object) -> str:
    """Values as JSON, since Python compares 0, 0.0 and false as equal."""
    return json.dumps(value, sort_keys=True)


async def test_null_clears_all_attributes_and_resets_the_status_to_active(client: AsyncClient) -> None:
    patched = await patch(client, {"attributes": None, "status": None})
    assert patched.json() == {"id": 1, **{name: RICH[name] for name in ("name", "email", "username", "external_id")}}


async def test_a_patch_that_changes_nothing_writes_nothing(client: AsyncClient) -> None:
    before = await client.get("/users/1?fields=*")
    nothing: list[dict[str, Any]] = [
        {},
        {**RICH, "attributes": {"floor": 3, "team": {"tags": ["a", "b"]}}},
        {"name": " Alice "},
        {"attributes": {}},
        {"attributes": {"never": None, "team": {"never": None}}},
    ]
    for body in nothing:
        unchanged = await patch(client, body)
        assert (unchanged.status_code, unchanged.headers["etag"]) == (200, '"1"')
        assert unchanged.headers["last-modified"] == before.headers["last-modified"]
        assert "roster-seq" not in unchanged.headers
    assert (await client.get("/users/1?fields=*")).content == before.content
    assert len((await client.get("/changes/")).json()) == 1


BROKEN: Final[list[tuple[Any, str]]] = [
    ({"name": None}, "/body/name"),
    ({"name": " "}, "/body/name"),
    ({"nmae": "Eve"}, "/body/nmae"),
    ({"nmae": None}, "/body/nmae"),
    ({"id": 1}, "/body/id"),
    ({"version": 1}, "/body/version"),
    ({"deleted_at": None}, "/body/deleted_at"),
    ({"created_at": "2026-01-01T00:00:00Z"}, "/body/created_at"),
    ({"attributes": []}, "/body/attributes"),
    ({"attributes": "x"}, "/body/attributes"),
    ({"attributes": {"a": "x" * 17_000}}, "/body/attributes"),
    ({"attributes": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {}}}}}}}}}}, "/body/attributes" + "/a" * 8),
    ({"email": ""}, "/body/email"),
    ({"email": 1}, "/body/email"),
    ({"status": "gone"}, "/body/status"),
    ([], "/body"),
    ("name", "/body"),
    (None, "/body"),
]


async def test_a_patch_that_breaks_a_rule_changes_nothing(client: AsyncClient) -> None:
    for body, pointer in BROKEN:
        asked = {"username": "new", **body} if isinstance(body, dict) else body
        refused = await patch(client, asked)
        assert refused.status_code == 422, body
        assert pointer in [each["pointer"] for each in refused.json()["errors"]]
    assert (await client.get("/users/1")).json() == {"id": 1, **RICH}


async def test_the_size_of_attributes_is_checked_after_the_merge(client: AsyncClient) -> None:
    half = "x" * 9_000
    assert (await patch(client, {"attributes": {"a": half}})).status_code == 200
    assert (await patch(client, {"attributes": {"b": half}})).status_code == 422
    assert (await patch(client, {"attributes": {"a": None, "b": half}})).status_code == 200
