"""Lists of users and searches (RFC 7644, sections 3.4.2 and 3.4.3; RFC 9865): filters, order, pages, attributes."""

from typing import Any
from urllib.parse import quote

import pytest
from tests.scim.conftest import ENTERPRISE, MESSAGE, USER, Scim

PEOPLE: list[dict[str, Any]] = [
    {"userName": "bjensen", "displayName": "Barbara", "name": {"familyName": "Jensen", "givenName": "Barbara"},
     "title": "VP", "userType": "Employee", "externalId": "E1",
     "emails": [{"value": "bj@example.com", "type": "work", "primary": True}, {"value": "b@home.org", "type": "home"}],
     "photos": [{"value": "https://x.org/A", "type": "photo"}],
     "phoneNumbers": [{"value": "1"}, {"value": "5", "primary": True}], "addresses": [{"locality": "M"}],
     ENTERPRISE: {"department": "Sales", "employeeNumber": "10", "manager": {"value": "9"}}},
    {"userName": "Jsmith", "displayName": "John", "name": {"familyName": "O'Malley"}, "userType": "Intern",
     "emails": [{"value": "js@example.org", "type": "work"}, {"value": "js@example.com", "type": "home"}],
     "phoneNumbers": [{"value": "4"}, {"value": "9"}], "addresses": [{"locality": "z"}, {"locality": "A"}],
     "active": False, "externalId": "e1"},
    {"userName": "Ångström", "displayName": "Åse", "title": "", "ims": [{"value": "å@foo.com", "type": "xmpp"}],
     "addresses": [{"locality": "b"}]},
]  # fmt: skip
REST = {"name": "Rest", "email": "rest@example.com"}
ONE, TWO, THREE, FOUR = "bjensen", "Jsmith", "Ångström", "4"
ALL = [ONE, TWO, THREE, FOUR]
"""Four users. The fourth was created by REST, without a username."""

SOON = '"2999-01-01T00:00:00Z"'

FOUND: dict[str, list[str]] = {
    # table 3: operators on attributes that are fields of the user
    'userName eq "BJENSEN"': [ONE],
    'Username Eq "bjensen"': [ONE],
    f'{USER}:userName sw "J"': [TWO],
    'userName ne "bjensen"': [TWO, THREE, FOUR],
    'userName co "STR"': [THREE],
    'userName ew "EN"': [ONE],
    'userName gt "b"': [ONE, TWO, THREE],
    "userName pr": ALL,
    'userName eq "4"': [FOUR],
    'userName ne "4"': [ONE, TWO, THREE],
    'userName eq "04"': [],
    'id eq "2"': [TWO],
    'id ne "2"': [ONE, THREE, FOUR],
    'id eq "x"': [],
    "id pr": ALL,
    'externalId eq "E1"': [ONE],
    'externalId co "1"': [ONE, TWO],
    "externalId pr": [ONE, TWO],
    "externalId eq null": [THREE, FOUR],
    "active eq true": [ONE, THREE, FOUR],
    "active eq false": [TWO],
    "active ne true": [TWO],
    'active eq "False"': [TWO],
    "active eq False": [TWO],
    'displayName eq "rest"': [FOUR],
    'displayName sw "å"': [THREE],
    'displayName ne "john"': [ONE, THREE, FOUR],
    "displayName pr": ALL,
    f"meta.lastModified lt {SOON}": ALL,
    'meta.version eq "W/\\"1\\""': ALL,
    'meta.version ne "W/\\"1\\""': [],
    'meta.version eq "1"': [],
    'meta.location eq "http://localhost/scim/v2/Users/2"': [TWO],
    'meta.location eq "/scim/v2/Users/2"': [TWO],
    'meta.location ne "/scim/v2/Users/2"': [ONE, THREE, FOUR],
    'meta.location eq "/scim/v2/Groups/2"': [],
    'meta.location eq "2"': [],
    "meta.location pr and meta.version pr and meta pr": ALL,
    f"meta.created gt {SOON}": [],
    'meta.created lt "2999-01-01T00:00:00"': ALL,
    'meta.created lt "2999-01-01T00:00:00.5-05:00"': ALL,
    'meta.resourceType eq "User"': ALL,
    'meta.resourceType eq "user"': ALL,
    'meta.resourceType eq "Group"': [],
    'meta.resourceType ne "Group"': ALL,
    f'schemas eq "{USER}"': ALL,
    f'schemas eq "{ENTERPRISE}"': [ONE],
    f'schemas ne "{ENTERPRISE}"': [TWO, THREE, FOUR],
    # on attributes in the SCIM record, ignoring case
    'name.familyName co "o\'malley"': [TWO],
    'NAME.FAMILYNAME eq "JENSEN"': [ONE],
    "name.familyName pr": [ONE, TWO],
    "name pr": [ONE, TWO],
    "title pr": [ONE],
    'title pr and userType eq "Employee"': [ONE],
    'title pr or userType eq "Intern"': [ONE, TWO],
    'title eq ""': [THREE],
    f'{ENTERPRISE}:department eq "sales"': [ONE],
    f'{ENTERPRISE}:employeeNumber lt "9"': [ONE],
    f'{ENTERPRISE}:manager.value eq "9"': [ONE],
    f'{ENTERPRISE}:manager eq "9"': [ONE],
    f"{ENTERPRISE} pr": [ONE],
    # many values: one of them matches
    'emails co "EXAMPLE.com"': [ONE, TWO, FOUR],
    'emails.value co "example.org"': [TWO],
    'emails.type eq "home"': [ONE, TWO],
    'not (emails.type eq "home")': [THREE, FOUR],
    "emails pr": [ONE, TWO, FOUR],
    "emails.primary eq true": [ONE, FOUR],
    'userType ne "Employee" and not (emails co "example.com" or emails.value co "example.org")': [THREE],
    # value paths: all conditions hold for the same value
    'emails[type eq "work" and value co "@example.com"]': [ONE],
    'emails[type eq "WORK" and value co "@EXAMPLE.com"] or ims[type eq "xmpp" and value co "@foo.com"]': [ONE, THREE],
    'emails[type eq "work"]': [ONE, TWO],
    'not (emails[type eq "work"])': [THREE, FOUR],
    'emails[not (type eq "work")]': [ONE, TWO, FOUR],
    'emails[value eq "rest@example.com" and primary eq true]': [FOUR],
    'emails[value sw "rest" and type pr]': [],
    "emails[primary eq false]": [],
    'emails[type eq "work"].value eq "BJ@example.com"': [ONE],
    'ims.value eq "Å@FOO.com"': [THREE],
    'photos[value eq "https://x.org/A"]': [ONE],
    'photos.value eq "https://x.org/a"': [],
    'roles eq "x"': [],
    # an attribute that does not exist matches nobody, never everybody
    'foo eq "x"': [],
    'foo ne "x"': [],
    "foo pr": [],
    'not (foo eq "x")': [],
    'emails[foo eq "x"]': [],
    'not (emails[foo eq "x" or type eq "x"])': [],
    'foo[bar eq "x"]': [],
    'name.foo eq "x"': [],
    'urn:x:y:2.0:User:department ne "x"': [],
    'userName eq "bjensen" or foo eq "x"': [ONE],
    'password eq "secret"': [],
    'password ne "secret"': [],
    "password pr": [],
}


async def people(scim: Scim) -> None:
    for each in PEOPLE:
        await scim.create(**each)
    await scim.http.post("/users/", json=REST)


async def test_3_4_2_2_a_filter_finds_what_matches(everywhere: Scim) -> None:
    await people(everywhere)
    for text, expected in FOUND.items():
        assert await everywhere.found(text) == expected, text


MALFORMED = [
    "", "userName", "userName eq", 'userName regex "x"', 'userName eq "x', "userName eq 5", "userName eq true",
    'active gt "x"', "active gt true", 'active eq "perhaps"', 'id gt "1"', 'meta.created gt "yesterday"',
    f"meta.created co {SOON}", 'x509Certificates.value gt "x"', "title gt null", "(userName pr", "userName pr)",
    'name eq "x"', 'emails[type eq "work"', "emails[]", 'userName[value eq "x"]', 'meta.version gt "x"',
    'meta.location sw "x"', 'meta eq "x"', 'groups.value sw "1"', "foo eq", "foo is 5", "foo eq x", "a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED)
async def test_3_4_2_2_a_filter_that_cannot_be_understood_is_refused(scim: Scim, text: str) -> None:
    await scim.refused(400, "invalidFilter", "GET", f"/Users?filter={quote(text)}")


async def test_3_4_2_a_list_without_matches_is_a_success(scim: Scim) -> None:
    assert await scim.get("/Users", filter='userName eq "nobody"', startIndex=1, count=100) == {
        "schemas": [f"{MESSAGE}ListResponse"], "totalResults": 0, "startIndex": 1, "itemsPerPage": 0, "Resources": [],
    }  # fmt: skip


ORDERS: dict[tuple[str, str | None], list[str]] = {
    ("userName", None): [ONE, TWO, THREE, FOUR],
    ("userName", "descending"): [FOUR, THREE, TWO, ONE],
    ("displayName", "ascending"): [ONE, TWO, FOUR, THREE],
    ("name.familyName", None): [ONE, TWO, THREE, FOUR],
    ("name.familyName", "descending"): [FOUR, THREE, TWO, ONE],
    ("emails", None): [ONE, TWO, FOUR, THREE],
    ("emails.value", "Descending"): [THREE, FOUR, TWO, ONE],
    ("emails.type", None): ALL,
    ("phoneNumbers", None): [TWO, ONE, THREE, FOUR],
    ("phoneNumbers.value", "descending"): [FOUR, THREE, ONE, TWO],
    ("photos", None): ALL,
    ("addresses.locality", None): [THREE, ONE, TWO, FOUR],
    (f"{ENTERPRISE}:manager.value", None): ALL,
    ("externalId", None): [ONE, TWO, THREE, FOUR],
    ("id", "descending"): [FOUR, THREE, TWO, ONE],
    ("meta.created", None): ALL,
    (f"{ENTERPRISE}:department", "ascending"): ALL,
    ("TITLE", None): [THREE, ONE, TWO, FOUR],
}


async def test_3_4_2_3_a_list_is_sorted_with_missing_values_last(everywhere: Scim) -> None:
    await people(everywhere)
    for (by, order), expected in ORDERS.items():
        params = {"sortBy": by, "sortOrder": order} if order else {"sortBy": by}
        listed = await everywhere.get("/Users", **params)
        assert [each["userName"] for each in listed["Resources"]] == expected, (by, order)
        walked = []
        for start in (1, 3):
            page = await everywhere.get("/Users", startIndex=start, count=2, **params)
            walked += [each["userName"] for each in page["Resources"]]
        assert walked == expected, (by, order)
        assert [each["userName"] for each in await by_cursor(everywhere, 3, **params)] == expected, (by, order)


@pytest.mark.parametrize(
    "by", ["foo", "addresses", "name", "password", "emails.foo", "emails.primary", "groups", "schemas", "meta"]
)
async def test_sorting_by_an_attribute_without_an_order_is_refused(scim: Scim, by: str) -> None:
    await scim.refused(400, "invalidPath", "GET", f"/Users?sortBy={by}")


async def test_an_order_is_one_of_two(scim: Scim) -> None:
    await scim.refused(400, "invalidValue", "GET", "/Users?sortBy=userName&sortOrder=up")


async def test_3_4_2_4_pages_by_index(everywhere: Scim) -> None:
    await people(everywhere)

    async def page(**params: Any) -> tuple[Any, ...]:
        body = await everywhere.get("/Users", **params)
        assert body["itemsPerPage"] == len(body["Resources"])
        return body["totalResults"], body["startIndex"], [each["userName"] for each in body["Resources"]]

    assert await page() == (4, 1, ALL)
    assert await page(startIndex=2, count=2) == (4, 2, [TWO, THREE])
    assert await page(startIndex=4, count=2) == (4, 4, [FOUR])
    assert await page(startIndex=5, count=2) == (4, 5, [])
    assert await page(startIndex=10**15, count=2) == (4, 10**15, [])
    assert await page(startIndex=0, count=1) == (4, 1, [ONE])
    assert await page(startIndex=-5, count=1) == (4, 1, [ONE])
    assert await page(count=0) == (4, 1, [])
    assert await page(count=-1) == (4, 1, [])
    assert await page(count=10**9) == (4, 1, ALL)
    assert await page(filter="active eq true", startIndex=2, count=1) == (3, 2, [THREE])


@pytest.mark.parametrize("params", ["startIndex=x", "count=x", "count=1.5", "startIndex=" + "9" * 5000])
async def test_an_index_is_an_integer(scim: Scim, params: str) -> None:
    await scim.refused(400, "invalidValue", "GET", f"/Users?{params}")


async def by_cursor(scim: Scim, count: int, **params: Any) -> list[Any]:
    """All resources of a list, page by page."""
    found: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        body = await scim.get("/Users", cursor=cursor, count=count, **params)
        assert "startIndex" not in body
        assert body["itemsPerPage"] == len(body["Resources"]) <= count
        found += body["Resources"]
        cursor = body.get("nextCursor")
        assert cursor is None or set(cursor) <= set(UNRESERVED)
    return found


UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


async def test_rfc_9865_pages_by_cursor(everywhere: Scim) -> None:
    await people(everywhere)
    for count in (1, 2, 3, 4, 5):
        assert [each["userName"] for each in await by_cursor(everywhere, count)] == ALL
        assert [each["userName"] for each in await by_cursor(everywhere, count, filter="active eq true")] == [
            ONE, THREE, FOUR,
        ]  # fmt: skip
    first = await everywhere.get("/Users?cursor&count=2")
    assert (first["totalResults"], "nextCursor" in first) == (4, True)
    await everywhere.ask("DELETE", f"/Users/{first['Resources'][-1]['id']}")
    second = await everywhere.get("/Users", cursor=first["nextCursor"], count=2)
    assert [each["userName"] for each in second["Resources"]] == [THREE, FOUR]
    assert "nextCursor" not in second


async def test_rfc_9865_a_cursor_of_another_list_and_a_wrong_count_are_refused(scim: Scim) -> None:
    await people(scim)
    cursor = (await scim.get("/Users", cursor="", count=1))["nextCursor"]
    for params in (
        f"cursor={cursor}x",
        "cursor=garbage",
        f"cursor={cursor}&filter=id%20pr",
        f"cursor={cursor}&sortBy=id",
    ):
        await scim.refused(400, "invalidCursor", "GET", f"/Users?{params}")
    await scim.refused(400, "invalidCount", "GET", "/Users?cursor=&count=x")


@pytest.mark.parametrize("count", [0, -1])
async def test_rfc_9865_2_a_count_of_0_or_less_returns_only_the_number_of_resources(scim: Scim, count: int) -> None:
    await people(scim)
    page = await scim.get("/Users", cursor="", count=count)
    assert (page["totalResults"], page["itemsPerPage"], page["Resources"]) == (4, 0, [])
    assert "nextCursor" not in page
    await scim.refused(400, "invalidCursor", "GET", f"/Users?cursor=x&count={count}")


ATTRIBUTES: dict[tuple[str, str], set[str]] = {
    ("attributes", "userName"): {"userName"},
    ("attributes", "USERNAME, title"): {"userName", "title"},
    ("attributes", "emails.value"): {"emails"},
    ("attributes", f"{USER}:name.familyName"): {"name"},
    ("attributes", f"{ENTERPRISE}:department"): {ENTERPRISE},
    ("attributes", "meta"): {"meta"},
    ("attributes", "foo"): set(),
    ("attributes", "password"): set(),
    ("excludedAttributes", "id,schemas,userName,emails,photos,meta"): {
        "displayName", "name", "title", "userType", "externalId", "active", "phoneNumbers", "addresses", ENTERPRISE,
    },
    ("excludedAttributes", f"{ENTERPRISE},foo,emails.type"): {
        "userName", "displayName", "name", "title", "userType", "externalId", "active", "emails", "photos", "meta",
        "phoneNumbers", "addresses",
    },
}  # fmt: skip


async def test_3_4_2_5_an_answer_has_the_requested_attributes(scim: Scim) -> None:
    whole = await scim.create(**PEOPLE[0])
    for (parameter, names), expected in ATTRIBUTES.items():
        params = {parameter: names}
        shown = await scim.get("/Users/1", **params)
        assert shown.keys() == {"schemas", "id", *expected}, names
        assert (await scim.get("/Users", **params))["Resources"] == [shown]
        answer = await scim.ask("PUT", f"/Users/1?{parameter}={quote(names)}", whole)
        assert answer.json() == shown
        search = {"schemas": [f"{MESSAGE}SearchRequest"], parameter: names.split(",")}
        assert (await scim.ask("POST", "/Users/.search", search)).json()["Resources"] == [shown]
    assert (await scim.get("/Users/1", attributes="emails.value"))["emails"] == [
        {"value": "bj@example.com"}, {"value": "b@home.org"},
    ]  # fmt: skip
    kept = (await scim.get("/Users/1", excludedAttributes="emails.type,emails.primary"))["emails"]
    assert kept == [{"value": "bj@example.com"}, {"value": "b@home.org"}]
    assert (await scim.get("/Users/1", attributes=f"{ENTERPRISE}:manager.value"))[ENTERPRISE] == {
        "manager": {"value": "9"}
    }


@pytest.mark.parametrize("path", ["/Users/.search", "/.search"])
async def test_3_4_3_a_search_takes_its_parameters_in_the_body(everywhere: Scim, path: str) -> None:
    await people(everywhere)
    body = {
        "schemas": [f"{MESSAGE}SearchRequest"], "filter": "userName pr", "sortBy": "userName",
        "sortOrder": "descending", "startIndex": 2, "count": 2, "attributes": ["userName"],
    }  # fmt: skip
    answer = (await everywhere.ask("POST", path, body)).json()
    assert (answer["totalResults"], answer["startIndex"]) == (4, 2)
    assert [each["userName"] for each in answer["Resources"]] == [THREE, TWO]
    assert answer["Resources"][0].keys() == {"schemas", "id", "userName"}
    page = (
        await everywhere.ask("POST", path, {"cursor": "", "count": 3, "filter": 'meta.resourceType eq "User"'})
    ).json()
    rest = {"cursor": page["nextCursor"], "count": 3, "filter": 'meta.resourceType eq "User"'}
    assert len((await everywhere.ask("POST", path, rest)).json()["Resources"]) == 1


@pytest.mark.parametrize("body", [{"count": "x"}, {"count": True}, {"filter": 5}, {"startIndex": [1]}])
async def test_a_search_with_a_wrong_value_is_refused(scim: Scim, body: Any) -> None:
    await scim.refused(400, "invalidValue", "POST", "/Users/.search", body)


async def test_3_4_2_unknown_parameters_are_ignored(scim: Scim) -> None:
    await scim.create(userName="b")
    assert (await scim.get("/Users", foo="bar", limit="x"))["totalResults"] == 1


async def test_3_14_a_version_that_the_client_has_is_a_304(everywhere: Scim) -> None:
    await everywhere.create(userName="b")
    answer = await everywhere.ask("GET", "/Users/1", headers={"If-None-Match": 'W/"1"'})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", 'W/"1"')
    assert (await everywhere.ask("GET", "/Users/1", headers={"If-None-Match": 'W/"7"'})).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_3_14_a_write_on_another_version_is_refused(everywhere: Scim, method: str) -> None:
    await everywhere.create(userName="b")
    bodies = {"PUT": {"userName": "c"}, "PATCH": {"Operations": [{"op": "add", "path": "title", "value": "t"}]}}
    body = bodies.get(method)
    for stale in ('W/"2"', '"x"', 'W/"0"'):
        await everywhere.refused(412, None, method, "/Users/1", body, headers={"If-Match": stale})
    assert (await everywhere.get("/Users/1"))["meta"]["version"] == 'W/"1"'
    answer = await everywhere.ask(method, "/Users/1", body, headers={"If-Match": 'W/"1", "9"'})
    assert answer.status_code in {200, 204}
    if method != "DELETE":
        assert answer.headers["etag"] == 'W/"2"'
