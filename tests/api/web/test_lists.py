"""Lists over HTTP: filters, sorts, pages and counts, on both databases."""

import random
from collections.abc import Sequence
from typing import Any, Final

import pytest
from httpx2 import AsyncClient, Response

USERS: Final[Sequence[dict[str, Any]]] = [
    {"name": "bob", "email": "bob@acme.com", "status": "suspended", "attributes": {"department": "eng", "level": 2}},
    {"name": "Alice", "email": "Alice@Acme.com", "username": "al", "attributes": {"department": "eng", "level": 10}},
    {"name": "carol", "external_id": "c-1", "attributes": {"department": "sales"}},
    {"name": "ALICE", "username": "Zed", "status": "suspended"},
    {"name": "Éva", "email": "eva@example.org", "username": "eva", "external_id": "C-1"},
    {"name": "bob", "username": "%_"},
]


@pytest.fixture
async def client(database_client: AsyncClient) -> AsyncClient:
    """A client of a directory with six users, with the ids 1 to 6, and a deleted one."""
    for user in USERS:
        assert (await database_client.post("/users/", json=user)).status_code == 201
    deleted = await database_client.post("/users/", json={"name": "Alice", "email": "gone@acme.com"})
    await database_client.delete(deleted.headers["location"])
    return database_client


def ids(page: Response) -> list[int]:
    assert page.status_code == 200, page.text
    return [user["id"] for user in page.json()]


async def walked(client: AsyncClient, **params: Any) -> list[int]:
    """The ids on all pages of a list, found by following the links."""
    page = await client.get("/users/", params=params)
    found = ids(page)
    while "next" in page.links:
        page = await client.get(page.links["next"]["url"])
        found += ids(page)
    return found


SORTED: Final = [
    ("id", [1, 2, 3, 4, 5, 6]),
    ("-id", [6, 5, 4, 3, 2, 1]),
    ("name", [2, 4, 1, 6, 3, 5]),
    ("-name", [5, 3, 6, 1, 4, 2]),
    ("name,-id", [4, 2, 6, 1, 3, 5]),
    ("status,name", [2, 6, 3, 5, 4, 1]),
    ("-status,name", [4, 1, 2, 6, 3, 5]),
    ("status,-name", [5, 3, 6, 2, 1, 4]),
    ("email", [2, 1, 5, 3, 4, 6]),
    ("-email", [6, 4, 3, 5, 1, 2]),
    ("username,-email", [6, 2, 5, 4, 3, 1]),
    ("external_id,username", [5, 3, 6, 2, 4, 1]),
    ("-external_id,name,-username", [4, 2, 1, 6, 3, 5]),
    ("-created_at", [6, 5, 4, 3, 2, 1]),
    (" Name , -ID ", [4, 2, 6, 1, 3, 5]),
]


async def test_a_list_is_sorted_by_several_fields_in_both_directions(client: AsyncClient) -> None:
    """Missing values come last, or first in descending order."""
    for sort, order in SORTED:
        assert ids(await client.get("/users/", params={"sort": sort})) == order
        for limit in (1, 4):
            assert await walked(client, sort=sort, limit=limit) == order


FILTERED: Final = [
    ('status eq "active" and (email ew "@acme.com" or name co "v")', [2, 5]),
    ('attributes.department eq "eng" and attributes.level gt 9', [2]),
    ("not (email pr)", [3, 4, 6]),
    ('name eq "ALICE"', [2, 4]),
    ('external_id eq "c-1"', [3]),
    ('username co "%"', [6]),
    ('created_at gt "2999-01-01T00:00:00Z"', []),
]


async def test_a_list_has_what_matches_its_filter(client: AsyncClient) -> None:
    for expression, found in FILTERED:
        listed = await client.get("/users/", params={"filter": expression, "count": "true"})
        assert (ids(listed), listed.headers["x-total-count"]) == (found, str(len(found)))
        assert await walked(client, filter=expression, limit=1, sort="-id") == found[::-1]


BAD_FILTERS: Final = [
    ("", 0),
    ("   ", 3),
    ("name", 4),
    ('nmae eq "x"', 0),
    ('name eq "x', 8),
    ('name eq "x" und id eq 1', 12),
    ('(name eq "x"', 12),
    ('name eq "x")', 11),
    ("name eq 1", 8),
    ('password eq "x"', 0),
    ('name_key eq "x"', 0),
    ("id eq 1 or id eq 1.5", 17),
    ('name eq "\\ud800"', 8),
]


async def test_a_malformed_filter_is_refused_with_the_position_of_the_error(client: AsyncClient) -> None:
    for expression, position in BAD_FILTERS:
        refused = await client.get("/users/", params={"filter": expression})
        assert (refused.status_code, refused.json()["code"], refused.json()["position"]) == (400, "malformed", position)


BAD_SORTS: Final = [
    ("", 0),
    ("name,", 5),
    ("name,,id", 5),
    ("nmae", 0),
    ("name,+id", 5),
    ("attributes", 0),
    ("name,-NAME", 6),
    ("id,name,email,status,username", 21),
    ("name desc", 0),
]


async def test_a_malformed_sort_is_refused_with_the_position_of_the_error(client: AsyncClient) -> None:
    for sort, position in BAD_SORTS:
        refused = await client.get("/users/", params={"sort": sort})
        assert (refused.status_code, refused.json()["code"], refused.json()["position"]) == (400, "malformed", position)


async def test_short_parameters_are_filters_that_all_have_to_match(client: AsyncClient) -> None:
    for query, found in (
        ("email=ALICE@acme.com", [2]),
        ("username=zed", [4]),
        ("external_id=c-1", [3]),
        ("external_id=C-1", [5]),
        ("status=suspended", [1, 4]),
        ("status=suspended&sort=name", [4, 1]),
        ("status=suspended&email=bob@acme.com", [1]),
        ("status=active&email=bob@acme.com", []),
        ('status=suspended&filter=name+sw+"a"', [4]),
        ("email=gone@acme.com", []),
        ("username=%25", []),
        ("username=%25_", [6]),
        ("email=", []),
    ):
        listed = await client.get(f"/users/?{query}&count=true")
        assert (ids(listed), listed.headers["x-total-count"]) == (found, str(len(found))), query


async def test_a_short_parameter_with_an_impossible_value_is_refused(client: AsyncClient) -> None:
    for query, status in (("status=gone", 422), ("status=", 422), ("email=%00", 400), ("username=a%00", 400)):
        assert (await client.get(f"/users/?{query}")).status_code == status, query


async def test_the_count_on_every_page_is_that_of_all_matches(client: AsyncClient) -> None:
    first = await client.get("/users/?limit=4&count=true")
    second = await client.get(first.links["next"]["url"])
    uncounted = await client.get("/users/?count=false")
    assert [page.headers["x-total-count"] for page in (first, second)] == ["6", "6"]
    assert [ids(first), ids(second)] == [[1, 2, 3, 4], [5, 6]]
    assert "x-total-count" not in uncounted.headers


async def test_a_cursor_belongs_to_one_list(client: AsyncClient) -> None:
    listed = {"filter": "id gt 0", "sort": "name", "status": "active", "limit": "1"}
    link = (await client.get("/users/", params=listed)).links["next"]["url"]
    cursor = dict(part.split("=") for part in link.partition("?")[2].split("&"))["cursor"]
    others: list[dict[str, str]] = [
        {"filter": "id gt 1"}, {"filter": "id  gt 0"}, {"sort": "-name"}, {"sort": "name,email"}, {"sort": "id"},
        {"status": "suspended"}, {"email": "a@b.c"}, {"username": "al"}, {"external_id": "x"},
    ]  # fmt: skip

    for other in others:
        refused = await client.get("/users/", params={**listed, **other, "cursor": cursor})
        assert (refused.status_code, refused.json()["code"]) == (400, "malformed"), other
    for left_out in ("filter", "sort", "status"):
        fewer = {name: value for name, value in listed.items() if name != left_out}
        assert (await client.get("/users/", params={**fewer, "cursor": cursor})).status_code == 400, left_out
    for same in ({"limit": "9"}, {"fields": "id"}, {"count": "true"}, {}):
        assert ids(await client.get("/users/", params={**listed, **same, "cursor": cursor}))[0] == 6
    assert ids(await client.get("/users", params={**listed, "cursor": cursor})) == [6]


@pytest.mark.parametrize("sort", ["id", "-id", "name", "-username", "status,-name", "email"])
async def test_an_unchanged_user_is_on_exactly_one_page_despite_other_writes(
    database_client: AsyncClient, sort: str
) -> None:
    """No user is skipped or repeated while others are added, changed and deleted."""
    dice = random.Random(sort)

    def somebody(number: int) -> dict[str, Any]:
        key = f"{dice.randrange(10**9):09}"
        return {"name": f"u{dice.randrange(9)}", "username": key, **({"email": key} if number % 2 else {})}

    locations = [(await database_client.post("/users/", json=somebody(n))).headers["location"] for n in range(24)]
    staying, going = locations[::2], locations[1::2]
    seen: list[str] = []
    page = await database_client.get("/users/", params={"sort": sort, "limit": 3, "fields": "id"})
    while True:
        seen += [f"/users/{user['id']}" for user in page.json()]
        if "next" not in page.links:
            break
        await database_client.post("/users/", json=somebody(len(seen)))
        if going:
            await database_client.delete(going.pop(dice.randrange(len(going))))
        page = await database_client.get(page.links["next"]["url"])

    assert sorted(set(seen)) == sorted(seen)
    assert set(staying) <= set(seen)


@pytest.mark.parametrize("path", ["/users/", "/users/1", "/groups/1/members/"])
async def test_a_field_that_is_asked_for_twice_is_shown_once(database_client: AsyncClient, path: str) -> None:
    client = database_client
    await client.post("/users/", json={"name": "Alice"})
    await client.post("/groups/", json={"name": "Builders"})
    await client.put("/groups/1/members/1")
    fields = "version, id,version,id"

    text = (await client.get(path, params={"fields": fields})).text

    assert text.strip("[]") == '{"version":1,"id":1}'
